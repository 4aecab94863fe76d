"""When an upstream is left alone: after failures in a row, and when it asks for it. An engine.

Who asks for permission and gets it reports what became of the request, exactly once: `answered`, `failed`,
`told_to_wait`, or `gave_up` when nobody will ever know.
"""

from __future__ import annotations

from dataclasses import dataclass

_LONGEST = 12.0
"""Times the first rest: so long is the longest one."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """No request now. `seconds` until it makes sense to ask for permission again."""

    seconds: float
    reason: str


class Breaker:
    """Permits requests to one upstream.

    After `failures_to_open` failures in a row it rests: no request for `open_seconds`, then a single one as a trial.
    If that fails, the rest is twice as long, up to twelve times the first one; if it is answered, all is well again.
    """

    def __init__(self, failures_to_open: int, open_seconds: float) -> None:
        self._failures_to_open = failures_to_open
        self._open_seconds = open_seconds
        self._failures = 0
        self._rest = open_seconds
        self._open_until = 0.0
        self._waits_until = 0.0
        self._has_trial = False
        self._reason = ""
        self._wait_reason = ""

    @property
    def is_open(self) -> bool:
        """Whether the upstream counts as down."""
        return self._failures >= self._failures_to_open

    def ask(self, now: float) -> Refusal | None:
        """Permission to send one request now; it is given unless there is a refusal."""
        if now < self._waits_until:
            return Refusal(self._waits_until - now, self._wait_reason)
        if not self.is_open:
            return None
        if now < self._open_until:
            return Refusal(self._open_until - now, self._reason)
        if self._has_trial:
            return Refusal(self._open_seconds, self._reason)
        self._has_trial = True
        return None

    def answered(self) -> bool:
        """A request got an answer, whatever it says. Returns: whether the upstream was down until now."""
        was_open = self.is_open
        self._failures = 0
        self._rest = self._open_seconds
        self._has_trial = False
        return was_open

    def failed(self, reason: str, now: float) -> bool:
        """A request got no answer. Returns: whether the upstream is down from now on, and was not before."""
        was_open = self.is_open
        if was_open and not self._has_trial:
            return False  # it was sent before the rest began, and says nothing new
        self._failures += 1
        self._reason = reason
        if not self.is_open:
            return False
        if was_open:
            self._rest = min(2 * self._rest, _LONGEST * self._open_seconds)
        self._has_trial = False
        self._open_until = now + self._rest
        return not was_open

    def told_to_wait(self, seconds: float, reason: str, now: float) -> bool:
        """The upstream asked to be left alone for so long. Returns: as `answered` does, for that is an answer."""
        if now + seconds > self._waits_until:
            self._waits_until = now + seconds
            self._wait_reason = reason
        return self.answered()

    def gave_up(self) -> None:
        """A request was broken off by ourselves: if it was the trial, the next one is."""
        self._has_trial = False
