"""GET /node: the route by which every component tells what it is."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from kraken.cluster.hosts import NODE_PATH, NodeCard
from kraken.runtime.web import json_response


def add_node_route(app: web.Application, card: Callable[[], NodeCard]) -> None:
    """Answer GET /node with what `card` says at that moment."""

    async def node(_request: web.Request) -> web.Response:
        return json_response(card())

    app.router.add_get(NODE_PATH, node)
