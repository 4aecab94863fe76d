"""How many files and sockets this process may have open."""

from __future__ import annotations

import resource

from kraken.core.errors import BadConfig

_OTHERS = 256
"""Descriptors for what is neither a peer nor a client nor a blob: databases, logs, the event loop, libraries."""


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


def require_descriptors(peers: int, http: int, client: int) -> None:
    """Let this process open what a component that speaks to peers may need by its settings.

    Args: peers, files and sockets of its peer port; http, client, the connections that it accepts and makes. Each one
    that it accepts may read a blob of its own, which is two files while that is partial.
    Raises: BadConfig, when the hard limit is lower. Better than a process that fails under load.
    """
    wanted = peers + 3 * http + client + _OTHERS
    allowed = allow_descriptors(wanted)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        raise BadConfig(
            f"this process may open {allowed} files, and its settings may need {wanted}: raise the hard limit (ulimit "
            f"-Hn, LimitNOFILE= in a unit of systemd), or lower http.max_connections ({http}, of which each counts for "
            "three), peer.max_connections, peer.max_seeded or client.max_connections"
        )
