"""What a registry has to hold, as a few dictionaries: no quorum, no version, no file.

Garbage collection is the only thing that acts by itself, so the model knows of each blob and manifest since when it is
not needed. What is younger than the time of grace must be there, however much is collected, and whatever the nodes that
do it have missed. What is older must be gone once a node that knows everything collected it; else it may be gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from kraken.core.digest import Digest


class Presence(Enum):
    """Whether a repository has something."""

    HERE = "here"
    MAYBE = "maybe"
    GONE = "gone"

    def allows(self, found: bool) -> bool:
        """Whether somebody who looks may find it, or not."""
        return self is Presence.MAYBE or found is (self is Presence.HERE)


HERE, MAYBE, GONE = Presence


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest: its bytes, and what they refer to."""

    data: bytes
    media_type: str
    digest: Digest
    blobs: tuple[Digest, ...] = ()
    children: tuple[Digest, ...] = ()
    subject: Digest | None = None


@dataclass(slots=True)
class Item:
    """A blob or a manifest of a repository, and until when it was written, surely needed, perhaps needed."""

    presence: Presence
    written_at: float
    surely_until: float = -1.0
    perhaps_until: float = -1.0


@dataclass(slots=True)
class Repository:
    """What one repository has."""

    blobs: dict[Digest, Item] = field(default_factory=dict)
    manifests: dict[Digest, Item] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)
    documents: dict[Digest, Document] = field(default_factory=dict)

    def blob(self, digest: Digest) -> Presence:
        return self.blobs[digest].presence if digest in self.blobs else GONE

    def manifest(self, digest: Digest) -> Presence:
        return self.manifests[digest].presence if digest in self.manifests else GONE

    def lacks(self, document: Document) -> tuple[set[Digest], set[Digest]]:
        """What a manifest names that is surely, and that is perhaps, not here."""
        named = {it: self.blob(it) for it in document.blobs} | {it: self.manifest(it) for it in document.children}
        gone, maybe = ({it for it, presence in named.items() if presence is wanted} for wanted in (GONE, MAYBE))
        return gone, maybe

    def referrers(self, subject: Digest, *presences: Presence) -> set[Digest]:
        """The manifests that are about another one."""
        return {it.digest for it in self._documents(presences) if it.subject == subject}

    @property
    def exists(self) -> Presence:
        """Whether there is a manifest in it."""
        presences = {item.presence for item in self.manifests.values()}
        return next((presence for presence in (HERE, MAYBE) if presence in presences), GONE)

    def note_needs(self, now: float) -> None:
        """Write down what is needed now; this is about to change."""
        for presences, until in (((HERE,), "surely_until"), ((HERE, MAYBE), "perhaps_until")):
            needed = set(self._needed(presences))
            for digest, item in (*self.blobs.items(), *self.manifests.items()):
                if digest in needed:
                    setattr(item, until, now)

    def _needed(self, presences: Collection[Presence]) -> Iterator[Digest]:
        yield from self.tags.values()
        there = {it.digest for it in self._documents(presences)}
        for document in self._documents(presences):
            yield from document.blobs
            yield from document.children
            if document.subject in there:
                yield document.digest

    def _documents(self, presences: Collection[Presence]) -> list[Document]:
        return [self.documents[it] for it, item in self.manifests.items() if item.presence in presences]


class Registry:
    """All repositories. Args: grace, seconds; untagged, whether manifests are collected that nothing needs."""

    def __init__(self, grace: float, *, untagged: bool) -> None:
        self.now = 0.0
        self._grace = grace
        self._untagged = untagged
        self._repositories: dict[str, Repository] = {}

    def __getitem__(self, name: str) -> Repository:
        return self._repositories.setdefault(name, Repository())

    @property
    def names(self) -> list[str]:
        return sorted(self._repositories)

    def anywhere(self, blob: Digest) -> Presence:
        """Whether any repository has a blob."""
        presences = {repository.blob(blob) for repository in self._repositories.values()}
        return next((presence for presence in (HERE, MAYBE) if presence in presences), GONE)

    def has_no_use_for(self, digest: Digest) -> bool:
        """Whether no repository has it, as a blob or a manifest."""
        return all(it.blob(digest) is GONE and it.manifest(digest) is GONE for it in self._repositories.values())

    def put_blob(self, name: str, digest: Digest) -> None:
        """It was pushed or mounted, or found by somebody who will not push it then."""
        self._note()
        self._write(self[name].blobs, digest)

    def find_blob(self, name: str, digest: Digest, renewed_after: float) -> None:
        """Somebody looked for a blob that is or may be here, and was told yes. Args: renewed_after, seconds."""
        item = self[name].blobs[digest]
        if self.now - item.written_at > renewed_after:
            self.put_blob(name, digest)

    def put_manifest(self, name: str, document: Document, tag: str | None = None) -> None:
        """It was taken: then all that it names is here."""
        self._note()
        repository = self[name]
        repository.documents[document.digest] = document
        self._write(repository.manifests, document.digest)
        for blob in document.blobs:
            self._write(repository.blobs, blob)
        for child in document.children:
            self._write(repository.manifests, child)
        if tag is not None:
            repository.tags[tag] = document.digest

    def delete_tag(self, name: str, tag: str) -> None:
        self._note()
        del self[name].tags[tag]

    def delete_manifest(self, name: str, digest: Digest) -> None:
        self._note()
        repository = self[name]
        repository.manifests[digest].presence = GONE
        repository.tags = {tag: meant for tag, meant in repository.tags.items() if meant != digest}

    def delete_blob(self, name: str, digest: Digest) -> None:
        self._note()
        self[name].blobs[digest].presence = GONE

    def move_time(self, seconds: float) -> None:
        self._note()
        self.now += seconds

    def collect(self, *, surely: bool) -> None:
        """Garbage was collected. Args: surely, by an index node that knows everything, and that others agreed with."""
        self._note()
        for repository in self._repositories.values():
            kinds = [repository.blobs, *([repository.manifests] if self._untagged else [])]
            for item in (item for kind in kinds for item in kind.values() if item.presence is not GONE):
                if surely and self._is_old(max(item.written_at, item.perhaps_until)):
                    item.presence = GONE
                elif self._is_old(max(item.written_at, item.surely_until)):
                    item.presence = MAYBE

    def _is_old(self, at: float) -> bool:
        return self.now - at > self._grace

    def _write(self, items: dict[Digest, Item], digest: Digest) -> None:
        items[digest] = Item(HERE, self.now)

    def _note(self) -> None:
        for repository in self._repositories.values():
            repository.note_needs(self.now)


def in_some_order(found: Iterable[Digest], required: set[Digest], allowed: set[Digest]) -> bool:
    """Whether what was found is all that is required, and nothing but that and what is allowed."""
    return required <= set(found) <= required | allowed
