"""The five components: their names, settings classes and classes. Imported only when asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Any, assert_never

from kraken.runtime.component import Component


class Kind(StrEnum):
    """A component, as the command line and the files name it."""

    AGENT = "agent"
    ORIGIN = "origin"
    TRACKER = "tracker"
    INDEX = "index"
    PROXY = "proxy"


def settings_class(kind: Kind) -> type[Any]:
    """The root of a component's settings."""
    match kind:
        case Kind.AGENT:
            from kraken.agent.settings import AgentSettings

            return AgentSettings
        case Kind.ORIGIN:
            from kraken.origin.settings import OriginSettings

            return OriginSettings
        case Kind.TRACKER:
            from kraken.tracker.settings import TrackerSettings

            return TrackerSettings
        case Kind.INDEX:
            from kraken.index.settings import IndexSettings

            return IndexSettings
        case Kind.PROXY:
            from kraken.proxy.settings import ProxySettings

            return ProxySettings
    assert_never(kind)


def event_loop(kind: Kind) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop of a process that is one component; None for Python's own.

    uvloop takes a crowd's connections at a quarter of the cost, but has no sendfile, which all live by that send blobs.
    """
    if kind is not Kind.TRACKER:
        return None
    import uvloop

    return uvloop.new_event_loop


def component(kind: Kind, settings: Any) -> Component:
    """A component that has not started yet.

    Args: settings, an instance of `settings_class(kind)`.
    """
    match kind:
        case Kind.AGENT:
            from kraken.agent.app import Agent

            return Agent(settings)
        case Kind.ORIGIN:
            from kraken.origin.app import Origin

            return Origin(settings)
        case Kind.TRACKER:
            from kraken.tracker.app import Tracker

            return Tracker(settings)
        case Kind.INDEX:
            from kraken.index.app import Index

            return Index(settings)
        case Kind.PROXY:
            from kraken.proxy.app import Proxy

            return Proxy(settings)
    assert_never(kind)
