"""A component from start to drain: what `kraken <kind>` and `kraken dev` run."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from kraken.core.peers import Address
from kraken.observability.events import Event
from kraken.observability.logs import get_logger
from kraken.runtime.allocator import keep_freed_buffers

_STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Component(Protocol):
    """One agent, origin, tracker, index or proxy. Addresses are the real ones once it has started."""

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def data(self) -> Path | None:
        """Where it keeps what must survive; None for a component that keeps nothing."""
        ...

    @property
    def http(self) -> Address: ...

    @property
    def peer(self) -> Address | None:
        """Where it speaks to peers; None for a component that is no peer."""
        ...

    async def start(self) -> None:
        """Serve. Raises BadConfig when the machine or the configuration does not allow it."""
        ...

    async def stop(self) -> None:
        """Drain, then let go of everything. Also right after a start that failed half way."""
        ...


@runtime_checkable
class Retunable(Protocol):
    """A component some of whose settings can be changed while it runs."""

    def retune(self, settings: Any) -> None:
        """Take those over. Args: settings, of the component's own class, read anew."""
        ...


@asynccontextmanager
async def running(components: Sequence[Component]) -> AsyncIterator[None]:
    """Start components one after the other; stop them in reverse order at the end, however it comes."""
    keep_freed_buffers()
    touched: list[Component] = []
    started: set[str] = set()
    try:
        for component in components:
            touched.append(component)
            await component.start()
            started.add(component.name)
            peer = {} if component.peer is None else {"peer": str(component.peer)}
            log = get_logger(component.kind, component.name)
            log.info(Event.COMPONENT_STARTED, http=str(component.http), **peer)
        yield
    finally:
        for component in reversed(touched):
            await _stop(component)
            if component.name in started:
                get_logger(component.kind, component.name).info(Event.COMPONENT_STOPPED)


async def serve(
    components: Sequence[Component],
    ready: Callable[[], Awaitable[None]] | None = None,
    on_hangup: Callable[[], None] | None = None,
) -> None:
    """Run components until SIGTERM or SIGINT, then drain.

    Args: ready, awaited once, when all of them have started; on_hangup, called at each SIGHUP, which is ignored
    without it.
    A second signal ends the process at once, without drain.
    """
    work = asyncio.create_task(_run(components, ready), name="serve")
    loop = asyncio.get_running_loop()
    for number in _STOPPING_SIGNALS:
        loop.add_signal_handler(number, _on_signal, number, work, components)
    loop.add_signal_handler(signal.SIGHUP, on_hangup or _ignore)
    try:
        await asyncio.wait({work})
        if not work.cancelled():
            work.result()  # raises what a start raised
    finally:
        for number in _STOPPING_SIGNALS:
            loop.remove_signal_handler(number)
        loop.remove_signal_handler(signal.SIGHUP)


async def _run(components: Sequence[Component], ready: Callable[[], Awaitable[None]] | None) -> None:
    async with running(components):
        if ready is not None:
            await ready()
        await asyncio.get_running_loop().create_future()  # until the signal cancels this task


async def _stop(component: Component) -> None:
    try:
        await component.stop()
    except Exception as error:  # one component that fails to stop must not keep the others running
        log = get_logger(component.kind, component.name)
        log.exception(Event.TASK_CRASHED, task="stop", error=str(error))


def _on_signal(number: signal.Signals, work: asyncio.Task[None], components: Sequence[Component]) -> None:
    if work.cancelling():
        os._exit(128 + number)
    for component in components:
        get_logger(component.kind, component.name).info(Event.DRAIN_STARTED, signal=number.name)
    work.cancel()


def _ignore() -> None:
    """A SIGHUP that changes nothing: the terminal that is gone was not ours."""
