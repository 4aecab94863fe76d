"""What a path under /v2/ names.

A repository name may itself contain `blobs`, `manifests` or `tags` as a component, so paths are read
from their right end.
"""

from __future__ import annotations

from dataclasses import dataclass

from kraken.core.digest import Digest
from kraken.core.errors import Invalid
from kraken.oci.errors import Code, RegistryError
from kraken.oci.references import Reference, RepositoryName, parse_reference
from kraken.oci.sessions import SessionId


@dataclass(frozen=True, slots=True)
class Base:
    """/v2/ itself: clients ask it whether this is a registry."""


@dataclass(frozen=True, slots=True)
class BlobPath:
    repository: RepositoryName
    digest: Digest


@dataclass(frozen=True, slots=True)
class ManifestPath:
    repository: RepositoryName
    reference: Reference


@dataclass(frozen=True, slots=True)
class UploadsPath:
    """Where upload sessions begin."""

    repository: RepositoryName


@dataclass(frozen=True, slots=True)
class UploadPath:
    """One upload session."""

    repository: RepositoryName
    session: SessionId


@dataclass(frozen=True, slots=True)
class TagsPath:
    repository: RepositoryName


@dataclass(frozen=True, slots=True)
class ReferrersPath:
    """The manifests of a repository that are about the one with this digest."""

    repository: RepositoryName
    subject: Digest


@dataclass(frozen=True, slots=True)
class CatalogPath:
    """All repositories. Source: Docker Registry HTTP API V2, Listing Repositories."""


Endpoint = CatalogPath | ReferrersPath | Base | BlobPath | ManifestPath | UploadsPath | UploadPath | TagsPath


def parse_path(path: str) -> Endpoint:
    """Admit the decoded path of a request.

    Raises: RegistryError, with the code that belongs to the part that is wrong.
    """
    parts = path.split("/")
    if parts[:2] != ["", "v2"]:
        raise _unknown(path)
    match parts[2:]:
        case [] | [""]:
            return Base()
        case ["_catalog"]:
            return CatalogPath()
        case [*name, "tags", "list"]:
            return TagsPath(_repository(name))
        case [*name, "referrers", subject]:
            return ReferrersPath(_repository(name), _digest(subject))
        case [*name, "manifests", reference]:
            return ManifestPath(_repository(name), _reference(reference))
        case [*name, "blobs", "uploads", ""] | [*name, "blobs", "uploads"]:
            return UploadsPath(_repository(name))
        case [*name, "blobs", digest]:
            return BlobPath(_repository(name), _digest(digest))
        case [*name, "blobs", "uploads", session]:
            return UploadPath(_repository(name), _session(session))
        case _:
            raise _unknown(path)


def blob_location(repository: RepositoryName, digest: Digest) -> str:
    """Where the blob can be pulled; relative, so that it is right behind any proxy."""
    return f"/v2/{repository}/blobs/{digest}"


def referrers_location(repository: RepositoryName, subject: Digest) -> str:
    """Where the referrers of a manifest are listed."""
    return f"/v2/{repository}/referrers/{subject}"


def manifest_location(repository: RepositoryName, reference: Reference) -> str:
    """Where the manifest can be pulled."""
    return f"/v2/{repository}/manifests/{reference}"


def upload_location(repository: RepositoryName, session: SessionId) -> str:
    """Where an upload session goes on. Clients append `?digest=` to it."""
    return f"/v2/{repository}/blobs/uploads/{session}"


def _unknown(path: str) -> RegistryError:
    return RegistryError(Code.NAME_UNKNOWN, f"{path[:160]} is no path of this registry")


def _repository(parts: list[str]) -> RepositoryName:
    try:
        return RepositoryName("/".join(parts))
    except Invalid as error:
        raise RegistryError(Code.NAME_INVALID, str(error)) from error


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except Invalid as error:
        raise RegistryError(Code.DIGEST_INVALID, str(error)) from error


def _reference(text: str) -> Reference:
    if ":" in text:
        return _digest(text)
    try:
        return parse_reference(text)
    except Invalid as error:
        # The list of codes has none for a tag; this is the one that reference registries send.
        raise RegistryError(Code.MANIFEST_INVALID, str(error)) from error


def _session(text: str) -> SessionId:
    try:
        return SessionId(text)
    except Invalid as error:
        raise RegistryError(Code.BLOB_UPLOAD_UNKNOWN, str(error)) from error
