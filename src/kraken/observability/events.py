"""The catalogue of log events: whoever searches the logs finds every name here.

A log line is one event with its values as fields, never a sentence with values inside.
"""

from __future__ import annotations

from enum import StrEnum


class Event(StrEnum):
    """The `event` field of a log line. Names are past tense; fields named in the comments are always there."""

    COMPONENT_STARTED = "component_started"  # http, and peer where there is one
    COMPONENT_STOPPED = "component_stopped"
    COMPONENT_EXITED = "component_exited"  # pid, code: a child of `kraken dev --processes` ended by itself
    DRAIN_STARTED = "drain_started"  # signal
    REQUEST_FAILED = "request_failed"  # method, path, and the exception: a bug of ours
    RESPONSE_CUT = "response_cut"  # method, path, error: it failed after its first bytes had left
    CONNECTION_REFUSED = "connection_refused"  # open, limit
    BAD_HTTP = "bad_http"  # error: bytes that are not HTTP
    TASK_CRASHED = "task_crashed"  # task, and the exception

    PULL_STARTED = "pull_started"
    PULL_FINISHED = "pull_finished"  # digest, bytes, seconds, from_cache, from_peers, from_origins
    PULL_FAILED = "pull_failed"
    PUSH_FINISHED = "push_finished"  # digest, bytes, seconds
    PUSH_FAILED = "push_failed"
    TAG_SERVED_STALE = "tag_served_stale"  # repository, tag, digest, error: no index node answered
    MANIFESTS_NOT_KEPT = "manifests_not_kept"  # error: what tags mean is remembered until the next restart only
    TAG_WRITTEN = "tag_written"  # repository, tag, digest

    DOWNLOAD_STARTED = "download_started"
    DOWNLOAD_FINISHED = "download_finished"
    DOWNLOAD_FAILED = "download_failed"
    DOWNLOAD_STOPPED = "download_stopped"
    PEER_LEFT = "peer_left"
    PEER_REFUSED = "peer_refused"
    PEER_BANNED = "peer_banned"  # peer, reason
    PIECE_CORRUPT = "piece_corrupt"  # digest, piece, and where it came from
    ANNOUNCE_FAILED = "announce_failed"

    BLOB_STORED = "blob_stored"
    BLOB_CORRUPT = "blob_corrupt"  # digest, reason
    BLOB_QUARANTINED = "blob_quarantined"  # digest, reason
    BLOB_REMOVED = "blob_removed"
    EVICTED = "evicted"  # digest, bytes
    OUT_OF_SPACE = "out_of_space"
    UPLOAD_EXPIRED = "upload_expired"
    REPLICA_STORED = "replica_stored"
    REPLICA_FAILED = "replica_failed"  # digest, host, error

    HOST_UP = "host_up"  # kind, host
    HOST_DOWN = "host_down"  # kind, host, error
