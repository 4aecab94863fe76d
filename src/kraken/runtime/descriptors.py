"""How many files and sockets this process may have open."""

from __future__ import annotations

import resource


def allow_descriptors(wanted: int) -> int:
    """Raise the soft limit of open descriptors to `wanted`, or as far as the hard limit goes; never lower it.

    The usual soft limit of 1,024 is there for programs that use select(), which nothing here does.
    Returns: the limit that is in force now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
