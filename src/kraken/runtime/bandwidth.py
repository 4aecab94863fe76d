"""Limits of bandwidth: how many bytes may move now, so that over a second no more move than were allowed.

A bucket fills at the rate that was set and holds little: 20 ms of it. Whoever wants to move bytes takes from it, first
come first served, and gives back what did not move. Without a rate everything is granted at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from kraken.core.pieces import KIB
from kraken.core.settings import Unit, setting

_BURST_SECONDS: Final = 0.02
_LEAST_BURST: Final = 16 * KIB
_LEAST_GRANT: Final = 4 * KIB
"""Less than this is not worth a call to the kernel, unless less is wanted or the rate is that low."""


@dataclass(frozen=True, slots=True)
class BandwidthSettings:
    """How much this host may use of its link. Read again on SIGHUP, without any connection being lost.

    Counted are payload and control messages of peers, and blobs over HTTP from and to other hosts.
    """

    receive_bytes_per_second: int | None = setting(
        None, unit=Unit.BYTES, low=64 * KIB, meaning="What may come in, in a second; null for no limit."
    )
    send_bytes_per_second: int | None = setting(
        None, unit=Unit.BYTES, low=64 * KIB, meaning="What may go out, in a second; null for no limit."
    )


class TokenBucket:
    """The arithmetic. Times are seconds of any clock that does not go back."""

    def __init__(self, rate: float | None, now: float) -> None:
        """Args: rate, bytes per second; None for no limit."""
        self._rate = rate
        self._tokens = 0.0
        self._at = now

    def set_rate(self, rate: float | None, now: float) -> None:
        """Grant at another rate from now on."""
        self._fill(now)
        self._rate = rate
        self._tokens = min(self._tokens, self._burst) if rate is not None else 0.0

    def take(self, want: int, now: float) -> int:
        """How many of `want` bytes may move now; 0 when too few to be worth it."""
        if self._rate is None:
            return want
        self._fill(now)
        granted = min(want, int(self._tokens))
        if granted < min(want, _LEAST_GRANT):
            return 0
        self._tokens -= granted
        return granted

    def spend(self, count: int, now: float) -> None:
        """Bytes have moved that nobody could hold back; who takes next waits for them."""
        if self._rate is not None:
            self._fill(now)
            self._tokens -= count

    def wait_seconds(self, now: float) -> float:
        """Seconds until something is granted."""
        if self._rate is None:
            return 0.0
        self._fill(now)
        return max(0.0, (min(self._burst, 2 * _LEAST_GRANT) - self._tokens) / self._rate)

    @property
    def _burst(self) -> float:
        return max(_LEAST_BURST, (self._rate or 0.0) * _BURST_SECONDS)

    def _fill(self, now: float) -> None:
        if self._rate is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now


class Bandwidth:
    """One direction of a host's link, shared by all that move bytes there. Belongs to one event loop."""

    def __init__(self, bytes_per_second: float | None = None) -> None:
        self._bucket: TokenBucket | None = None if bytes_per_second is None else TokenBucket(bytes_per_second, 0.0)
        self._waiting: deque[Callable[[], None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._serving = False

    @property
    def is_limited(self) -> bool:
        return self._bucket is not None

    def set_rate(self, bytes_per_second: float | None) -> None:
        """Change the limit while bytes move; None takes it away."""
        now = _now()
        if bytes_per_second is None:
            self._bucket = None
        elif self._bucket is None:
            self._bucket = TokenBucket(bytes_per_second, now)
        else:
            self._bucket.set_rate(bytes_per_second, now)
        self._serve()

    def take(self, want: int, again: Callable[[], None]) -> int:
        """How many of `want` bytes the caller may move now. With 0, `again` is called once when it may ask again."""
        bucket = self._bucket
        if bucket is None:
            return want
        granted = 0 if self._waiting and not self._serving else bucket.take(want, _now())
        if not granted:
            self._waiting.append(again)
            self._wake_later(bucket)
        return granted

    def spend(self, count: int) -> None:
        """Count bytes that have moved already: too few to be held back, or not to be."""
        if self._bucket is not None:
            self._bucket.spend(count, _now())

    def give_back(self, count: int) -> None:
        """Bytes that were granted and did not move."""
        self.spend(-count)

    async def acquire(self, want: int) -> int:
        """How many of `want` bytes may move, once it is some."""
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def again() -> None:
            if not turn.done() and (granted := self.take(want, again)):
                turn.set_result(granted)

        return self.take(want, again) or await turn

    async def paced(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks of a stream, no faster than the limit."""
        async for chunk in chunks:
            left = len(chunk)
            while left > 0:
                left -= await self.acquire(left)
            yield chunk

    def _wake_later(self, bucket: TokenBucket) -> None:
        if self._timer is None and not self._serving:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(bucket.wait_seconds(loop.time()), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._serve()

    def _serve(self) -> None:
        """Let those who wait ask again, in their order, as long as there is something to grant."""
        self._serving = True
        try:
            for _ in range(len(self._waiting)):
                bucket = self._bucket
                if bucket is not None and bucket.wait_seconds(_now()) > 0:
                    break
                self._waiting.popleft()()
        finally:
            self._serving = False
        if self._waiting and self._bucket is not None:
            self._wake_later(self._bucket)


@dataclass(slots=True)
class Traffic:
    """Both directions of a host's link."""

    received: Bandwidth = field(default_factory=Bandwidth)
    sent: Bandwidth = field(default_factory=Bandwidth)

    @classmethod
    def of(cls, settings: BandwidthSettings) -> Traffic:
        return cls(Bandwidth(settings.receive_bytes_per_second), Bandwidth(settings.send_bytes_per_second))

    def set_limits(self, settings: BandwidthSettings) -> None:
        """Change both limits while bytes move."""
        self.received.set_rate(settings.receive_bytes_per_second)
        self.sent.set_rate(settings.send_bytes_per_second)


def _now() -> float:
    return asyncio.get_running_loop().time()
