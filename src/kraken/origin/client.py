"""How other components speak to the origins.

A blob is asked for at its owners first, then at everybody else: while hosts come and go it may still be
where it landed. "Not found" is said only when all origins said so; if one was not reached, it might have
the blob, and the answer is "unavailable".
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeVar

import msgspec

from kraken.cluster.hashring import rank
from kraken.cluster.io.members import Members
from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, NotFound, OutOfSpace, Unavailable
from kraken.core.metainfo import Metainfo
from kraken.core.peers import Address
from kraken.core.pieces import ByteRange
from kraken.origin.messages import (
    INLINE_LENGTH_HEADER,
    MAX_INLINE_BYTES,
    MAX_METAINFO_BYTES,
    MAX_STAT_DIGESTS,
    CommitAnswer,
    OffsetAnswer,
    StatAnswer,
    StatRequest,
    split_metainfo,
)
from kraken.runtime.web_client import Data, HttpClient

T = TypeVar("T")

_SESSIONS_REMEMBERED: Final = 16384
_SESSION_TRIES: Final = 64


class OriginClient:
    """Blobs and upload sessions, wherever in the cluster they are."""

    def __init__(self, http: HttpClient, members: Members) -> None:
        self._http = http
        self._members = members
        self._landed: OrderedDict[str, Address] = OrderedDict()  # where sessions are; losing it costs one request

    def new_session(self) -> str:
        """The name of an upload session that will land on a living origin.

        The name alone decides where, by rank over all origins, so that any proxy finds the session again.
        """
        session = uuid.uuid4().hex
        for _ in range(_SESSION_TRIES):
            if not self._members.hosts or self._members.is_healthy(rank(session, self._members.hosts)[0]):
                break
            session = uuid.uuid4().hex
        return session

    async def begin(self, session: str) -> None:
        """Open a session at the first origin of its rank that can be reached. Raises: Unavailable."""

        async def begin_at(host: Address) -> Address:
            await self._http.json("POST", host, f"/uploads/{session}", into=OffsetAnswer)
            return host

        self._remember(session, await self._search(session, begin_at, f"upload session {session}"))

    async def offset(self, session: str) -> int:
        """How many bytes of the session have arrived. Raises: NotFound, Unavailable."""

        async def ask(host: Address) -> tuple[Address, int]:
            return host, (await self._http.json("GET", host, f"/uploads/{session}", into=OffsetAnswer)).offset

        host, offset = await self._search(session, ask, f"upload session {session}", first=self._landed.get(session))
        self._remember(session, host)
        return offset

    async def append(self, session: str, chunks: Data, offset: int | None = None) -> int:
        """Send the next bytes, which are streamed through.

        Args: offset, where they begin; None to append wherever the session ends.
        Returns: the new offset.
        Raises: NotFound; OffsetMismatch; OutOfSpace; Unavailable, and then `offset` tells what arrived.
        """
        params = {} if offset is None else {"offset": offset}
        host = await self._host_of(session)
        answer = await self._http.bytes("PATCH", host, f"/uploads/{session}", params=params, data=chunks)
        return _decoded(host, answer, OffsetAnswer).offset

    async def commit(
        self, session: str, digest: Digest, chunks: Data | None = None, offset: int | None = None
    ) -> CommitAnswer:
        """End the session, after a last chunk if there is one.

        Raises: NotFound; Rejected, when the bytes have another digest; OffsetMismatch; OutOfSpace; Unavailable,
        when too few owners could store the blob.
        """
        params: dict[str, str | int] = {"digest": str(digest)}
        if offset is not None:
            params["offset"] = offset
        host = await self._host_of(session)
        answer = await self._http.bytes("PUT", host, f"/uploads/{session}", params=params, data=chunks)
        self._landed.pop(session, None)
        return _decoded(host, answer, CommitAnswer)

    async def abandon(self, session: str) -> None:
        """Drop a session and its bytes. Raises: NotFound, Unavailable."""
        host = await self._host_of(session)
        self._landed.pop(session, None)
        await self._http.bytes("DELETE", host, f"/uploads/{session}")

    async def put_blob(self, digest: Digest, data: bytes) -> CommitAnswer:
        """Store a small blob, a manifest for example, at its owners. Raises: Rejected; OutOfSpace; Unavailable."""

        async def put_at(host: Address) -> CommitAnswer:
            return _decoded(host, await self._http.bytes("PUT", host, f"/blobs/{digest}", data=data), CommitAnswer)

        return await self._search(str(digest), put_at, f"blob {digest}")

    async def size(self, digest: Digest) -> int:
        """Bytes of a blob. Raises: NotFound, Unavailable."""
        sizes = await self.stat([digest])
        if digest not in sizes:
            raise NotFound(f"no origin has blob {digest}")
        return sizes[digest]

    async def stat(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        """The sizes of those blobs that exist. One request to each origin is enough where all is in its place.

        Raises: Unavailable, when a blob was not found and some origin could not be asked.
        """
        found: dict[Digest, int] = {}
        wanted = list(dict.fromkeys(digests))
        unreached: Unavailable | None = None
        ranks = {digest: self._members.ranked(str(digest)) for digest in wanted}  # now: health changes as we ask
        for turn in range(len(self._members.hosts)):
            batches = _stat_batches({digest: ranks[digest][turn] for digest in wanted})
            outcomes = await asyncio.gather(*(self._stat_at(*batch) for batch in batches))
            for outcome in outcomes:
                if isinstance(outcome, Unavailable):
                    unreached = outcome
                else:
                    found |= outcome
            wanted = [digest for digest in wanted if digest not in found]
            if not wanted:
                return found
        if unreached is not None or not self._members.hosts:
            raise unreached or Unavailable("no origin is configured")
        return found

    async def stream(self, digest: Digest, span: ByteRange) -> AsyncIterator[bytes]:
        """These bytes of a blob, in chunks as they come.

        An origin that fails in the middle is replaced by the next one, which goes on at that byte. The bytes
        are checked against piece hashes at the origin and not again here. Close it if you do not exhaust it.

        Raises: NotFound, Unavailable; before the first byte or after any.
        """
        at = span.start
        unreached: Unavailable | None = None
        for host in self._members.ranked(str(digest)):
            if at == span.stop:
                return
            wanted = {"Range": f"bytes={at}-{span.stop - 1}"}
            try:
                async with self._http.stream("GET", host, f"/blobs/{digest}", headers=wanted) as answer:
                    async for chunk in answer.content.iter_any():
                        at += len(chunk)
                        yield chunk
            except NotFound:
                continue
            except (Unavailable, Corrupt) as error:
                unreached = self._note(host, error)
        if at != span.stop:
            raise unreached or NotFound(f"no origin has blob {digest}")

    async def metainfo(self, digest: Digest) -> tuple[Metainfo, bytes | None]:
        """The metainfo of a blob; with it the blob's own bytes, checked, when they are few.

        Raises: NotFound, Unavailable.
        """

        async def ask(host: Address) -> tuple[Metainfo, bytes | None]:
            path = f"/metainfo/{digest}"
            async with self._http.stream("GET", host, path, params={"content": 1}) as answer:
                inline = answer.headers.get(INLINE_LENGTH_HEADER)
                data = bytearray()
                async for chunk in answer.content.iter_any():
                    data += chunk
                    if len(data) > MAX_METAINFO_BYTES + MAX_INLINE_BYTES:
                        raise Unavailable(f"{host} answered {len(data)} bytes as the metainfo of {digest}")
            try:
                return split_metainfo(digest, bytes(data), None if inline is None else int(inline[:9]))
            except ValueError as error:
                raise Unavailable(f"{host}: {error}") from error

        return await self._search(str(digest), ask, f"blob {digest}")

    async def _search(
        self, key: str, ask: Callable[[Address], Awaitable[T]], what: str, first: Address | None = None
    ) -> T:
        """The first answer in rank order.

        Raises: NotFound, when all origins said so; Unavailable, when one of them could not say.
        """
        unreached: Unavailable | None = None
        hosts = self._members.ranked(key)
        if first is not None:
            hosts = [first, *(host for host in hosts if host != first)]
        for host in hosts:
            try:
                return await ask(host)
            except NotFound:
                continue
            except (Unavailable, Corrupt) as error:
                unreached = self._note(host, error)
        if unreached is None and not hosts:
            unreached = Unavailable("no origin is configured")
        raise unreached or NotFound(f"no origin has {what}")

    def _note(self, host: Address, error: Unavailable | Corrupt) -> Unavailable:
        """What a failure of one origin means for the caller, if no other origin does better."""
        if isinstance(error, Corrupt):
            return Unavailable(f"{host} has bad bytes: {error}")
        if not isinstance(error, OutOfSpace):
            self._members.report_failure(host, str(error))
        return error

    async def _host_of(self, session: str) -> Address:
        if session not in self._landed:
            await self.offset(session)
        return self._landed[session]

    def _remember(self, session: str, host: Address) -> None:
        self._landed[session] = host
        self._landed.move_to_end(session)
        if len(self._landed) > _SESSIONS_REMEMBERED:
            self._landed.popitem(last=False)

    async def _stat_at(self, host: Address, digests: list[Digest]) -> dict[Digest, int] | Unavailable:
        request = StatRequest([str(digest) for digest in digests])
        try:
            answer = await self._http.json("POST", host, "/stat", body=request, into=StatAnswer)
        except (Unavailable, Corrupt) as error:
            return self._note(host, error)
        return {digest: answer.sizes[str(digest)] for digest in digests if str(digest) in answer.sizes}


def _stat_batches(hosts: Mapping[Digest, Address]) -> list[tuple[Address, list[Digest]]]:
    """Whom to ask about which digests together. Args: hosts, whom to ask about each."""
    by_host: dict[Address, list[Digest]] = {}
    for digest, host in hosts.items():
        by_host.setdefault(host, []).append(digest)
    return [
        (host, group[at : at + MAX_STAT_DIGESTS])
        for host, group in by_host.items()
        for at in range(0, len(group), MAX_STAT_DIGESTS)
    ]


def _decoded(host: Address, answer: bytes, into: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=into)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unavailable(f"{host} answered something unexpected: {error}") from error
