"""A client of a cluster that tells a model what it did, and compares what it sees with what the model says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiohttp
from tests.helpers.pulling import seeded_bytes
from tests.helpers.registry_model import GONE, HERE, MAYBE, Document, Presence, Registry, in_some_order
from tests.helpers.registry_world import AGENT, GRACE, INDEXES, ORIGINS, RENEW, RegistryWorld
from yarl import URL

from kraken.core.digest import Algorithm, Digest
from kraken.core.pieces import KIB
from kraken.oci.manifests import OCI_INDEX, OCI_MANIFEST

T = TypeVar("T")

SIZES: Final = (10, 70, 300 * KIB, 1)
"""Of the blobs that there are, in bytes; one is too large to travel whole. The second is known by its sha512."""

TAGS: Final = ("v1", "v2")
_SECONDS: Final = 60.0
_TOO_LATE: Final = (b"no answer in time", b"did not answer within")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a registry said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def was_too_busy(self) -> bool:
        """Whether it is 503 only because this machine did other things for seconds."""
        return self.status == 503 and any(said in self.body for said in _TOO_LATE)


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster, a client of it, and the loop that both live in."""

    loop: asyncio.AbstractEventLoop
    world: RegistryWorld
    client: aiohttp.ClientSession

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, _SECONDS))


class Player:
    """What one sequence of steps does. Args: number, of the sequence: repositories and blobs are its own.

    `story` says what was done, `touched` which repository was written last, `behind` which index nodes were away while
    something was written.
    """

    def __init__(self, site: Site, number: int, *, untagged: bool) -> None:
        self.site, self.world, self.number = site, site.world, number
        self.model = Registry(GRACE, untagged=untagged)
        data = [f"{number} ".encode() + seeded_bytes(size, seed=size) for size in SIZES]
        algorithms = [Algorithm.SHA256, Algorithm.SHA512, Algorithm.SHA256, Algorithm.SHA256]
        self.digests = [Digest.of(each, algorithm) for each, algorithm in zip(data, algorithms, strict=True)]
        self._bytes = dict(zip(self.digests, data, strict=True))
        self._used_at = dict.fromkeys(self.digests, 0.0)
        self.story: list[str] = []
        self.touched = ""
        self.behind: set[str] = set()

    # Names.

    def name(self, repository: str) -> str:
        return f"s{self.number:05}/{repository}"

    def uploads(self, repository: str) -> str:
        return f"/v2/{self.name(repository)}/blobs/uploads/"

    def blob(self, repository: str, digest: Digest) -> str:
        return f"/v2/{self.name(repository)}/blobs/{digest}"

    def manifest(self, repository: str, reference: object) -> str:
        return f"/v2/{self.name(repository)}/manifests/{reference}"

    def data(self, digest: Digest) -> bytes:
        """The bytes of a blob."""
        return self._bytes[digest]

    def document(self, repository: str, number: int | None) -> Document | None:
        """One of the manifests that were ever pushed to a repository."""
        documents = list(self.model[repository].documents.values())
        return documents[number % len(documents)] if documents and number is not None else None

    def image(self, layers: Iterable[int], note: int, subject: Document | None = None) -> Document:
        """An image of some of the blobs."""
        config = json.dumps({"n": f"{self.number} {note}"}).encode()
        self._bytes[Digest.of(config)] = config
        named = [Digest.of(config), *(self.digests[layer] for layer in sorted(layers))]
        body: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self._described("application/vnd.oci.image.config.v1+json", named[0]),
            "layers": [self._described("application/vnd.oci.image.layer.v1.tar", digest) for digest in named[1:]],
        }
        if subject is not None:
            body["subject"] = _descriptor(subject)
        data = json.dumps(body).encode()
        about = None if subject is None else subject.digest
        return Document(data, OCI_MANIFEST, Digest.of(data), tuple(named), subject=about)

    def index(self, children: Sequence[Document]) -> Document:
        """An index of manifests."""
        own = {"n": f"{self.number}"}
        described = [_descriptor(child) for child in children]
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": described, "annotations": own}
        data = json.dumps(body).encode()
        return Document(data, OCI_INDEX, Digest.of(data), children=tuple(child.digest for child in children))

    # Requests.

    def ask(self, member: str, method: str, target: str, **told: Any) -> Answer:
        return self.site.run(self.asking(member, method, target, **told))

    async def asking(self, member: str, method: str, target: str, **told: Any) -> Answer:
        """An answer. Who reads asks again when nobody is away, and yet somebody did not answer in time."""
        answer = await self._asked(member, method, target, **told)
        while method in ("GET", "HEAD") and self.world.is_whole and answer.was_too_busy:
            await asyncio.sleep(1.0)
            answer = await self._asked(member, method, target, **told)
        return answer

    async def _asked(self, member: str, method: str, target: str, **told: Any) -> Answer:
        url = URL(f"http://{self.world.address(member)}{target}", encoded=True)
        async with self.site.client.request(method, url, **told) as answer:
            body = await answer.read()
        self.story.append(f"    {member}: {method} {target} -> {answer.status}")
        assert answer.status < 500 or answer.status == 503, body
        return Answer(answer.status, answer.headers, body)

    async def collecting(self, members: Iterable[str]) -> None:
        """Collect garbage at index nodes or origins."""

        async def collect(name: str) -> None:
            answer = await self._asked(name, "POST", "/garbage")
            while answer.was_too_busy:
                answer = await self._asked(name, "POST", "/garbage")
            assert answer.status == 200, answer

        await asyncio.gather(*map(collect, members))

    def settle(self) -> None:
        """Wait until all nodes that are up have heard of everything."""
        self.site.run(self.world.settle())

    # Steps, and what they are to be answered.

    def push(self, repository: str, digest: Digest, how: str, proxy: str) -> None:
        """Push a blob. Args: how, by `post`, `put`, `stream` or `chunks`."""
        data = rest = self.data(digest)
        if how == "post":
            answer = self.ask(proxy, "POST", f"{self.uploads(repository)}?digest={digest}", data=data)
        else:
            location = self.ask(proxy, "POST", self.uploads(repository)).headers["Location"]
            half = len(data) // 2
            if how == "stream":
                assert self.ask(proxy, "PATCH", location, data=data).status == 202
                rest = b""
            elif how == "chunks" and half:
                told = {"Content-Range": f"0-{half - 1}"}
                assert self.ask(proxy, "PATCH", location, data=data[:half], headers=told).status == 202
                rest = data[half:]
            answer = self.ask(proxy, "PUT", f"{location}?digest={digest}", data=rest)
        assert (answer.status, answer.headers.get("Location")) == (201, self.blob(repository, digest)), answer.body
        self.has_blob(repository, digest)

    def put(self, repository: str, document: Document, tag: str | None, proxy: str) -> None:
        """Push a manifest: it is taken if all that it names is here, else told what is not."""
        gone, maybe = self.model[repository].lacks(document)
        headers = {"Content-Type": document.media_type}
        answer = self.ask(
            proxy, "PUT", self.manifest(repository, tag or document.digest), data=document.data, headers=headers
        )
        self.used(document.digest)
        if answer.status == 201:
            assert not gone, "it names what is not here"
            assert answer.headers.get("OCI-Subject") == (None if document.subject is None else str(document.subject))
            self.wrote(repository)
            self.model.put_manifest(repository, document, tag)
            self.used(*document.blobs)
        else:
            assert answer.status == 400, answer
            named = [Digest.parse(it["detail"]["digest"]) for it in answer.json["errors"]]
            assert named
            assert in_some_order(named, gone, maybe)

    def find(self, repository: str, digest: Digest, member: str) -> bool:
        """Whether a blob is told to be here."""
        return self._found(repository, digest, member, self.ask(member, "HEAD", self.blob(repository, digest)))

    def delete(self, proxy: str, target: str, presence: Presence) -> bool:
        """Whether something was there to be deleted."""
        answer = self.ask(proxy, "DELETE", target)
        _is_as(presence, answer, 202)
        return answer.status == 202

    def has_blob(self, repository: str, digest: Digest) -> None:
        """A repository has been told to have a blob."""
        self.wrote(repository)
        self.model.put_blob(repository, digest)
        self.used(digest)

    def wrote(self, repository: str) -> None:
        """Something was written: who is away now has not heard of it."""
        self.touched = repository
        self.behind |= {name for name in INDEXES if not self.world.is_up(name)}

    def used(self, *digests: Digest) -> None:
        self._used_at |= dict.fromkeys(digests, self.model.now)

    def needless(self) -> list[Digest]:
        """Of what nobody has had for longer than the time of grace, and nobody has asked for."""
        old = (digest for digest, used_at in self._used_at.items() if self.model.now - used_at > GRACE)
        return [digest for digest in old if self.model.has_no_use_for(digest)]

    # Looks.

    def look(self, repository: str, reader: str, *, of_blobs: str = AGENT, settled: bool = False) -> None:
        """Compare everything in a repository.

        Args: of_blobs, who is asked for blobs: a proxy takes a look for a promise to keep them, an agent does not;
        settled, whether all nodes know everything.
        """
        model = self.model[repository]
        subjects = sorted({it.subject for it in model.documents.values() if it.subject is not None}, key=str)
        tags = [self.manifest(repository, tag) for tag in TAGS]
        manifests = [self.manifest(repository, digest) for digest in model.documents]
        blobs = [self.blob(repository, digest) for digest in self.digests]
        about = [f"/v2/{self.name(repository)}/referrers/{subject}" for subject in subjects]
        lists = [f"/v2/{self.name(repository)}/tags/list", f"/v2/_catalog?n=10&last=s{self.number:05}"]
        answers = self._seen([(reader, [*tags, *manifests, *about, *lists])]) | self._blobs_seen(of_blobs, blobs)

        # A node that has not heard of a delete yet still counts the repository among those that there are.
        exists = MAYBE if model.exists is GONE and model.documents and not settled else model.exists
        self._compare_lists(repository, exists, *(answers[place] for place in lists))
        for tag, place in zip(TAGS, tags, strict=True):
            self._compare_tag(model.tags.get(tag), answers[place])
        for document, place in zip(model.documents.values(), manifests, strict=True):
            _compare_manifest(document, model.manifest(document.digest), answers[place])
            self.used(document.digest)
        for digest, place in zip(self.digests, blobs, strict=True):
            if self._found(repository, digest, of_blobs, answers[place]):
                assert answers[place].body == self.data(digest)
        for subject, place in zip(subjects, about, strict=True):
            listed = [Digest.parse(it["digest"]) for it in answers[place].json["manifests"]]
            assert in_some_order(listed, model.referrers(subject, HERE), model.referrers(subject, MAYBE)), place

    def _seen(self, places: Iterable[tuple[str, Sequence[str]]]) -> dict[str, Answer]:
        """What is answered at all these places. Args: places, each with whom to ask."""
        asked = [(reader, place) for reader, several in places for place in several]

        async def see() -> list[Answer]:
            return await asyncio.gather(*(self.asking(reader, "GET", place) for reader, place in asked))

        return {place: answer for (_, place), answer in zip(asked, self.site.run(see()), strict=True)}

    def _blobs_seen(self, reader: str, places: Sequence[str]) -> dict[str, Answer]:
        """Asked again when no index node answered an agent in time: then it gives what it has, as it should."""
        unanswered = -1
        while unanswered < self.world.unanswered:
            unanswered = self.world.unanswered
            answers = self._seen([(reader, places)])
        return answers

    def _compare_lists(self, repository: str, exists: Presence, tags: Answer, catalog: Answer) -> None:
        _is_as(exists, tags, 200)
        if tags.status == 200:
            assert tags.json == {"name": self.name(repository), "tags": sorted(self.model[repository].tags)}
        assert exists.allows(self.name(repository) in catalog.json["repositories"]), "the catalog"

    def _compare_tag(self, meant: Digest | None, answer: Answer) -> None:
        told = answer.headers.get("Docker-Content-Digest")
        assert (answer.status, told) == ((404, None) if meant is None else (200, str(meant)))

    def _found(self, repository: str, digest: Digest, member: str, answer: Answer) -> bool:
        presence = self.model[repository].blob(digest)
        if presence is MAYBE and answer.status == 503 and not all(map(self.world.is_up, ORIGINS)):
            return False  # an origin that is away may have the bytes
        _is_as(presence, answer, 200)
        if answer.status == 200:
            self.used(digest)
            if member != AGENT:
                self.behind |= {name for name in INDEXES if not self.world.is_up(name)}
                self.model.find_blob(repository, digest, RENEW)
        return answer.status == 200

    def _described(self, media_type: str, digest: Digest) -> dict[str, object]:
        return {"mediaType": media_type, "digest": str(digest), "size": len(self.data(digest))}


def _compare_manifest(document: Document, presence: Presence, answer: Answer) -> None:
    _is_as(presence, answer, 200)
    if answer.status == 200:
        assert (answer.body, answer.headers["Content-Type"]) == (document.data, document.media_type)


def _is_as(presence: Presence, answer: Answer, found: int) -> None:
    assert answer.status in (found, 404), f"it should be {presence.value}: {answer}"
    assert presence.allows(answer.status == found), f"it should be {presence.value}: {answer}"


def _descriptor(document: Document) -> dict[str, object]:
    return {"mediaType": document.media_type, "digest": str(document.digest), "size": len(document.data)}
