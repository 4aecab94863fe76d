"""An HTTP request as events tell it."""

from __future__ import annotations

import uuid

from aiohttp import web

from kraken.notifications.envelope import RequestRecord


def request_record(request: web.Request) -> RequestRecord:
    """What caused an event. The address is that of the connection: a header could claim anything."""
    peer = None if request.transport is None else request.transport.get_extra_info("peername")
    host, port = peer[:2] if isinstance(peer, tuple) else ("", "")
    return RequestRecord(
        id=str(uuid.uuid4()),
        address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}" if host else "",
        scheme=request.scheme,
        host=request.headers.get("Host", ""),
        method=request.method,
        user_agent=request.headers.get("User-Agent", ""),
    )
