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
    SETTINGS_READ = "settings_read"  # after SIGHUP: what can be changed while it runs was taken over
    SETTINGS_REFUSED = "settings_refused"  # error: nothing was changed
    REQUEST_FAILED = "request_failed"  # method, path, and the exception: a bug of ours
    RESPONSE_CUT = "response_cut"  # method, path, error: it failed after its first bytes had left
    CONNECTION_REFUSED = "connection_refused"  # open, limit
    CONNECTIONS_LIMITED = "connections_limited"  # allowed, wanted: the hard limit of open files is lower than that
    BAD_HTTP = "bad_http"  # error: bytes that are not HTTP
    TASK_CRASHED = "task_crashed"  # task, and the exception

    PULL_STARTED = "pull_started"
    PULL_FINISHED = "pull_finished"  # digest, bytes, seconds, from_cache, from_peers, from_origins
    PULL_FAILED = "pull_failed"
    PUSH_FINISHED = "push_finished"  # digest, bytes, seconds
    PUSH_FAILED = "push_failed"
    TAG_SERVED_STALE = "tag_served_stale"  # repository, tag, digest, error: no index node answered
    BLOB_SERVED_UNCONFIRMED = "blob_served_unconfirmed"  # repository, digest, error: no index node answered
    MANIFESTS_NOT_KEPT = "manifests_not_kept"  # error: what tags mean is remembered until the next restart only
    TAG_WRITTEN = "tag_written"  # repository, tag, digest
    DELETED = "deleted"  # kind (tag, manifest or blob), repository, name
    BLOB_MOUNTED = "blob_mounted"  # repository, digest

    DOWNLOAD_STARTED = "download_started"
    DOWNLOAD_FINISHED = "download_finished"
    DOWNLOAD_FAILED = "download_failed"
    DOWNLOAD_STOPPED = "download_stopped"
    PREFETCH_FAILED = "prefetch_failed"  # digest, error: before anybody asked for the blob
    PEER_LEFT = "peer_left"
    PEER_REFUSED = "peer_refused"
    PEER_TLS_REFUSED = "peer_tls_refused"  # peer, reason, error; of each reason one in 10 s is a warning
    CERTIFICATES_READ = "certificates_read"  # mode, days_left: new connections between peers use them
    CERTIFICATES_REFUSED = "certificates_refused"  # error: those that were read before go on
    CERTIFICATE_EXPIRES = "certificate_expires"  # file, days_left: it lasts 30 days or less
    PEER_BANNED = "peer_banned"  # peer, reason
    PIECE_CORRUPT = "piece_corrupt"  # digest, piece, and where it came from
    ANNOUNCE_FAILED = "announce_failed"

    BLOB_STORED = "blob_stored"
    BLOB_CORRUPT = "blob_corrupt"  # digest, reason
    BLOB_QUARANTINED = "blob_quarantined"  # digest, reason
    BLOB_REMOVED = "blob_removed"
    COLLECTED = "collected"  # kind, and what it was: garbage was removed
    COLLECTION_FAILED = "collection_failed"  # error: what is garbage is not known, or cannot be removed now
    EVICTED = "evicted"  # digest, bytes
    OUT_OF_SPACE = "out_of_space"
    UPLOAD_EXPIRED = "upload_expired"
    REPLICA_STORED = "replica_stored"
    REPLICA_FAILED = "replica_failed"  # digest, host, error

    UPSTREAM_UP = "upstream_up"  # upstream
    UPSTREAM_DOWN = "upstream_down"  # upstream, error: it is left alone for a while
    UPSTREAM_THROTTLED = "upstream_throttled"  # upstream, seconds, error: it asked to be left alone
    UPSTREAM_LOGIN_REFUSED = "upstream_login_refused"  # upstream, error
    UPSTREAM_UNVERIFIED = "upstream_unverified"  # upstream, url: its certificate is not checked, as it was set
    UPSTREAM_BLOB_BROKEN = "upstream_blob_broken"  # upstream, digest, at, error: it is gone on with
    MIRROR_FETCHED = "mirror_fetched"  # repository, digest, bytes, seconds
    MIRROR_FETCH_FAILED = "mirror_fetch_failed"  # repository, reference, error
    MIRROR_SERVED_STALE = "mirror_served_stale"  # repository, tag, digest, error: its upstream could not be asked

    NOTIFICATIONS_FAILED = "notifications_failed"  # endpoint, error, failures, waiting, retry_seconds: nothing is lost
    NOTIFICATIONS_RESUMED = "notifications_resumed"  # endpoint, failures: it takes events again
    NOTIFICATIONS_DROPPED = "notifications_dropped"  # endpoint, events, reason: these will never be sent
    NOTIFICATIONS_DISCARDED = "notifications_discarded"  # endpoint, events: they waited for one no longer configured

    HOST_UP = "host_up"  # kind, host
    HOST_DOWN = "host_down"  # kind, host, error
