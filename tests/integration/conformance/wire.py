"""HTTP/1.1 as it is on the wire: nothing between the table and the registry repairs, hides or adds anything."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.integration.conformance.language import Body

from kraken.core.peers import Address

_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back until the connection was closed. `body` is without the chunked coding."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """All lines of a header, joined by commas; None when there is none."""
        lines = [text for given, text in self.headers if given.lower() == name.lower()]
        return ", ".join(lines) if lines else None


async def ask(
    address: Address, method: str, target: str, body: Body = b"", headers: tuple[tuple[str, str], ...] = ()
) -> Answer:
    """Send one request on a connection of its own."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        async with asyncio.timeout(_SECONDS):
            writer.write(_request(address, method, target, body, headers))
            return _answer(await reader.read())
    finally:
        writer.close()


def _request(address: Address, method: str, target: str, body: Body, headers: tuple[tuple[str, str], ...]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {address}", "Connection: close"]
    lines += [f"{name}: {text}" for name, text in headers]
    if isinstance(body, tuple):
        lines.append("Transfer-Encoding: chunked")
        sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in body) + b"0\r\n\r\n"
    else:
        sent = body
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + sent


def _answer(data: bytes) -> Answer:
    status = 100
    while status < 200:  # an interim answer, such as 100 Continue, comes before the real one
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
    headers = tuple((name, text.strip()) for name, _, text in (line.partition(":") for line in lines))
    answer = Answer(status, headers, data)
    if (answer.header("Transfer-Encoding") or "").lower() == "chunked":
        return Answer(status, headers, _without_chunks(data))
    return answer


def _without_chunks(data: bytes) -> bytes:
    parts: list[bytes] = []
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        if not length:
            break
        parts.append(data[:length])
        data = data[length + 2 :]
    return b"".join(parts)
