"""What can go wrong, by who must act on it.

The class tells who must act, the message gives the values, the cause is chained. Core and the
engines raise `Invalid`; the edge that let the value in turns it into one of the others.
"""

from __future__ import annotations


class KrakenError(Exception):
    """Base of every error that Kraken raises on purpose; its message is fit for an operator."""


class Invalid(KrakenError, ValueError):
    """A value breaks a rule. Raised where the value is checked, far from who is to blame."""


class Rejected(KrakenError):
    """The caller asked for something wrong: a 4xx. Asking again the same way will fail again."""


class NotFound(KrakenError):
    """What was asked for does not exist, and that is nobody's fault."""


class Unavailable(KrakenError):
    """It cannot be done now. `retry_after` says in seconds when to try again."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OutOfSpace(Unavailable):
    """The disk or the byte budget is full; an operator must make room."""


class OffsetMismatch(KrakenError):
    """A chunk does not begin where the upload ends. `offset` is where it must begin."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the upload continues at byte {offset}")
        self.offset = offset


class Corrupt(KrakenError):
    """Stored bytes are not what their digest says. The file is to be quarantined."""


class PeerMisbehaved(KrakenError):
    """A peer broke the protocol or sent a bad piece. It is dropped, and banned where proven."""


class BadConfig(KrakenError):
    """The configuration, or the machine it is run on, does not allow a start. Exit code 2."""
