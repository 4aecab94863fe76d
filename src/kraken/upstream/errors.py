"""What an upstream can make of a request, beyond what every component can.

Each is one of the core errors to those who do not care.
"""

from __future__ import annotations

from kraken.core.errors import NotFound, Unavailable


class Denied(NotFound):
    """The upstream does not let us read it.

    Registries say the same of what does not exist, so that nobody can find out by asking; to a client it is absent.
    """


class LoginRefused(Unavailable):
    """The upstream does not take our credentials, or we do not send them where it wants them. An operator must act."""


class LeftAlone(Unavailable):
    """Nothing was sent: the upstream is not to be asked for a while."""


class Throttled(Unavailable):
    """The upstream told us to come back later."""


class Unreachable(Unavailable):
    """The upstream, or somebody it sent us to, gave no answer that can be used."""
