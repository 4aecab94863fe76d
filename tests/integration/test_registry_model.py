"""A registry under random sequences of pushes, mounts, deletes, collections and restarts is what a simple model says.

Each step is made at one proxy, and then looked at through a proxy or the agent. A sequence that fails is printed as the
steps that it consists of, with the requests that they made. The same few sequences are drawn in each run, and
`MODEL_SEQUENCES=2000 pytest tests/integration/test_registry_model.py` draws so many others, one in a second or two, and
shortens one that fails.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.helpers.registry_model import GONE, HERE, MAYBE
from tests.helpers.registry_player import SIZES, TAGS, Answer, Player, Site
from tests.helpers.registry_world import AGENT, GRACE, INDEXES, ORIGINS, PROXIES, registry_world

from kraken.core.digest import Digest

SEQUENCES: Final = int(os.environ.get("MODEL_SEQUENCES", "0"))
MODEL: Final = settings(
    max_examples=SEQUENCES or 8,
    stateful_step_count=40,
    derandomize=not SEQUENCES,
    print_blob=True,
    database=None,
    phases=(Phase.generate, Phase.shrink) if SEQUENCES else (Phase.generate,),
    suppress_health_check=list(HealthCheck),
)

REPOSITORIES: Final = ("one", "two/parts")
SOME_TIME: Final = 0.4 * GRACE
LONG: Final = 2 * GRACE

repositories = st.sampled_from(REPOSITORIES)
blobs = st.integers(0, len(SIZES) - 1)
documents = st.integers(0, 3)
proxies = st.sampled_from(PROXIES)
tags = st.sampled_from(TAGS)

_sequences = count()


@pytest.fixture(params=[False, True], ids=["untagged manifests stay", "untagged manifests go"])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Site, bool]]:
    """A cluster, and whether its index nodes collect manifests that nothing needs."""
    loop = asyncio.new_event_loop()
    context = registry_world(tmp_path, untagged=request.param)
    world, client = loop.run_until_complete(context.__aenter__())
    try:
        yield Site(loop, world, client), request.param
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()


@pytest.mark.timeout(0 if SEQUENCES else 240)  # a sequence that fails takes minutes to be shortened
def test_the_registry_is_what_the_model_says(site: tuple[Site, bool]) -> None:
    built, untagged = site
    try:
        run_state_machine_as_test(lambda: Machine(built, untagged), settings=MODEL)  # type: ignore[arg-type] # any factory
    except BaseException as error:
        error.add_note("\n".join(["What was done last, until it failed:", *Machine.failed]))
        raise


@dataclass(slots=True)
class Upload:
    """An upload under way: of which blob, where it goes on, and how many of its bytes have arrived."""

    repository: str
    digest: Digest
    location: str
    held: int = 0


def step(**drawn: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule whose use is told in the story."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def told(machine: Machine, **chosen: Any) -> None:
            arguments = ", ".join(f"{name}={text!r}" for name, text in chosen.items())
            machine.player.story.append(f"{function.__name__}({arguments})")
            function(machine, **chosen)

        return cast("Callable[..., None]", rule(**drawn)(told))  # type: ignore[call-overload] # bundles are not used

    return decorate


class Machine(RuleBasedStateMachine):
    """One sequence of steps."""

    failed: ClassVar[list[str]] = []
    """The story of the sequence that failed last."""

    def __init__(self, site: Site, untagged: bool) -> None:
        super().__init__()
        self.untagged = untagged
        self.player = Player(site, next(_sequences), untagged=untagged)
        self.player.touched = REPOSITORIES[0]
        self.model, self.world = self.player.model, site.world
        self.uploads: list[Upload] = []
        self.looks = 0

    # What clients do.

    @step(repository=repositories, blob=blobs, how=st.sampled_from(("post", "put", "stream", "chunks")), proxy=proxies)
    def push_blob(self, repository: str, blob: int, how: str, proxy: str) -> None:
        self.player.push(repository, self.player.digests[blob], how, proxy)

    @step(repository=repositories, blob=blobs, source=st.none() | repositories, proxy=proxies)
    def mount(self, repository: str, blob: int, source: str | None, proxy: str) -> None:
        digest = self.player.digests[blob]
        there = self.model.anywhere(digest) if source is None else self.model[source].blob(digest)
        if source is None and there is GONE:
            there = MAYBE  # a node that has not heard of a delete may still know of somebody
        wanted = f"?mount={digest}" + ("" if source is None else f"&from={self.player.name(source)}")
        answer = self.player.ask(proxy, "POST", f"{self.player.uploads(repository)}{wanted}")

        assert answer.status in (201, 202)
        assert there.allows(answer.status == 201), there
        if answer.status == 201:
            self.player.has_blob(repository, digest)

    @step(
        repository=repositories, tag=st.none() | tags, layers=st.sets(blobs, max_size=3), note=st.integers(0, 1),
        about=st.none() | documents, polite=st.booleans(), proxy=proxies, other=proxies,
    )  # fmt: skip
    def push_image(
        self, repository: str, tag: str | None, layers: set[int], note: int, about: int | None, polite: bool,
        proxy: str, other: str,
    ) -> None:  # fmt: skip
        """Args: polite, whether what is not found is pushed before the manifest, as all clients do it."""
        image = self.player.image(layers, note, self.player.document(repository, about))
        if polite:
            for digest in image.blobs:
                if not self.player.find(repository, digest, proxy):
                    self.player.push(repository, digest, "post", proxy)
        self.player.put(repository, image, tag, other)

    @step(repository=repositories, tag=st.none() | tags, children=st.sets(documents, max_size=2), proxy=proxies)
    def push_index(self, repository: str, tag: str | None, children: set[int], proxy: str) -> None:
        known = (self.player.document(repository, number) for number in sorted(children))
        index = self.player.index([child for child in known if child is not None])
        self.player.put(repository, index, tag, proxy)

    @step(repository=repositories, manifest=documents, tag=tags, proxy=proxies)
    def retag(self, repository: str, manifest: int, tag: str, proxy: str) -> None:
        document = self.player.document(repository, manifest)
        if document is not None:
            self.player.put(repository, document, tag, proxy)

    @step(repository=repositories, tag=tags, proxy=proxies)
    def delete_tag(self, repository: str, tag: str, proxy: str) -> None:
        presence = HERE if tag in self.model[repository].tags else GONE
        if self.player.delete(proxy, self.player.manifest(repository, tag), presence):
            self.player.wrote(repository)
            self.model.delete_tag(repository, tag)

    @step(repository=repositories, manifest=documents, proxy=proxies)
    def delete_manifest(self, repository: str, manifest: int, proxy: str) -> None:
        document = self.player.document(repository, manifest)
        if document is not None:
            presence = self.model[repository].manifest(document.digest)
            if self.player.delete(proxy, self.player.manifest(repository, document.digest), presence):
                self.player.wrote(repository)
                self.model.delete_manifest(repository, document.digest)

    @step(repository=repositories, blob=blobs, proxy=proxies)
    def delete_blob(self, repository: str, blob: int, proxy: str) -> None:
        digest = self.player.digests[blob]
        if self.player.delete(proxy, self.player.blob(repository, digest), self.model[repository].blob(digest)):
            self.player.wrote(repository)
            self.model.delete_blob(repository, digest)

    # Uploads that take their time.

    @precondition(lambda self: len(self.uploads) < 3)
    @step(repository=repositories, blob=blobs, proxy=proxies)
    def begin_upload(self, repository: str, blob: int, proxy: str) -> None:
        answer = self.player.ask(proxy, "POST", self.player.uploads(repository))

        assert answer.status == 202
        self.uploads.append(Upload(repository, self.player.digests[blob], answer.headers["Location"]))

    @precondition(lambda self: self.uploads)
    @step(upload=st.integers(0, 2), where=st.sampled_from(("right", "right", "right", "ahead", "back")), proxy=proxies)
    def send_chunk(self, upload: int, where: str, proxy: str) -> None:
        it = self.uploads[upload % len(self.uploads)]
        data = self.player.data(it.digest)
        start = {"right": it.held, "ahead": it.held + 1, "back": it.held - 1}[where]
        part = data[it.held : it.held + max(1, len(data) // 3)]
        if start < 0 or not part:
            return
        headers = {"Content-Range": f"{start}-{start + len(part) - 1}"}
        answer = self._about(it, proxy, "PATCH", data=part, headers=headers)
        if answer is not None:
            assert answer.status == (202 if where == "right" else 416)
            it.held += len(part) if where == "right" else 0
            status = self.player.ask(PROXIES[0], "GET", it.location)
            assert status.status == 204
            assert {answer.headers["Range"], status.headers["Range"]} == {f"0-{max(it.held - 1, 0)}"}

    @precondition(lambda self: self.uploads)
    @step(upload=st.integers(0, 2), how=st.sampled_from(("right", "right", "wrong", "cancel")), proxy=proxies)
    def end_upload(self, upload: int, how: str, proxy: str) -> None:
        """Whatever comes of it: what can be drawn next must not depend on where an upload happened to land."""
        it = self.uploads.pop(upload % len(self.uploads))
        rest = self.player.data(it.digest)[it.held :]
        if how == "cancel":
            answer = self._about(it, proxy, "DELETE")
        else:
            digest = it.digest if how == "right" else Digest.of(b"something else")
            answer = self._about(it, proxy, "PUT", f"?digest={digest}", data=rest)
        if answer is not None:
            assert answer.status == {"right": 201, "wrong": 400, "cancel": 204}[how]
            if how == "right":
                self.player.has_blob(it.repository, it.digest)
            again = self._about(it, proxy, "GET")
            assert again is None or again.status == 404

    # What happens to the cluster.

    @step(seconds=st.sampled_from((0.0, SOME_TIME, LONG)), nodes=st.sampled_from(("all", "all", *INDEXES)))
    def collect(self, seconds: float, nodes: str) -> None:
        """Args: seconds, how much time passes before that; nodes, which of the index nodes."""
        self.world.moved += seconds
        self.model.move_time(seconds)
        asked = [name for name in INDEXES if self.world.is_up(name) and nodes in ("all", name)]
        self.player.settle()
        self.player.site.run(self.player.collecting(asked))
        self._collected(asked, seconds)

    @step(seconds=st.sampled_from((0.0, LONG)))
    def collect_bytes(self, seconds: float) -> None:
        """Args: seconds, how much time passes before that."""
        self.world.moved += seconds
        self.model.move_time(seconds)
        asked = [name for name in ORIGINS if self.world.is_up(name)]
        self.player.settle()
        self.player.site.run(self.player.collecting(asked))
        if not self.player.behind and all(map(self.world.is_up, INDEXES)):
            for digest in self.player.needless():
                assert set(self.world.holders(digest)).isdisjoint(asked), f"nobody needs {digest}"

    @step(repository=repositories, layers=st.sets(blobs, min_size=1), proxy=proxies)
    def collect_while_somebody_pushes(self, repository: str, layers: set[int], proxy: str) -> None:
        """What a push has been told is there stays there, also what is old enough to be garbage until then."""
        player, image = self.player, self.player.image(layers, 2)
        nodes = [name for name in (*INDEXES, *ORIGINS) if self.world.is_up(name)]

        async def push() -> None:
            for digest in image.blobs:
                found = await player.asking(proxy, "HEAD", player.blob(repository, digest))
                if found.status == 404:
                    target = f"{player.uploads(repository)}?digest={digest}"
                    assert (await player.asking(proxy, "POST", target, data=player.data(digest))).status == 201
            place, headers = player.manifest(repository, "v1"), {"Content-Type": image.media_type}
            put = await player.asking(proxy, "PUT", place, data=image.data, headers=headers)
            assert put.status == 201, put.body

        async def both() -> None:
            await asyncio.gather(push(), player.collecting(nodes))

        player.settle()
        for digest in image.blobs:
            player.has_blob(repository, digest)
        player.site.run(both())
        self._collected([name for name in nodes if name in INDEXES], 0.0)
        self.model.put_manifest(repository, image, "v1")
        player.used(image.digest)

    @step(name=st.sampled_from((*INDEXES, *ORIGINS, *PROXIES, AGENT)))
    def restart(self, name: str) -> None:
        if self.world.is_up(name):
            self.player.site.run(self.world.stop(name))
        self.player.site.run(self.world.start(name))

    @precondition(lambda self: all(map(self.world.is_up, INDEXES)))
    @step(name=st.sampled_from(INDEXES))
    def lose_index_node(self, name: str) -> None:
        self.player.site.run(self.world.stop(name))

    @precondition(lambda self: all(map(self.world.is_up, ORIGINS)))
    @step(name=st.sampled_from(ORIGINS))
    def lose_origin(self, name: str) -> None:
        self.player.site.run(self.world.stop(name))

    @precondition(lambda self: not self.world.is_whole)
    @step()
    def all_come_back(self) -> None:
        self._start_all()

    # What has to be so at every moment.

    @invariant()
    def what_was_touched_is_as_the_model_says(self) -> None:
        self.looks += 1
        self.player.look(self.player.touched, (*PROXIES, AGENT)[self.looks % 3])

    def teardown(self) -> None:
        if isinstance(error := sys.exc_info()[1], AssertionError):
            Machine.failed = [*self.player.story, f"and then: {error}"]
        self._start_all()
        for upload in self.uploads:
            self.player.ask(PROXIES[0], "DELETE", upload.location)
        self.player.settle()
        for repository in REPOSITORIES:
            for reader in (AGENT, *PROXIES):
                self.player.look(repository, reader, of_blobs=reader, settled=not self.player.behind)

    def _about(self, upload: Upload, proxy: str, method: str, query: str = "", **told: Any) -> Answer | None:
        """None when it cannot be known now, because the origin is away that has the upload."""
        answer = self.player.ask(proxy, method, f"{upload.location}{query}", **told)
        if answer.status == 503 and not all(map(self.world.is_up, ORIGINS)):
            return None
        return answer

    def _collected(self, nodes: list[str], seconds: float) -> None:
        """These nodes have asked all that are up.

        One that knows everything finds all garbage. Who is behind may have heard later than others of what made it so,
        and counts its grace from then: from a step before this one, which waited for `seconds`, or from now, when it
        collects what others did when it was away.
        """
        up, behind = set(filter(self.world.is_up, INDEXES)), self.player.behind
        agree = not up & behind or (seconds > GRACE and not set(nodes) & behind)
        if nodes:
            self.model.collect(surely=agree and not set(nodes) <= behind)

    def _start_all(self) -> None:
        for name in (*INDEXES, *ORIGINS):
            if not self.world.is_up(name):
                self.player.site.run(self.world.start(name))
