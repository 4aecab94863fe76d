"""The catalogue of metrics: every family that Kraken exports is declared here, and nowhere else.

Each component owns its registry, so that several of them can share one process and each still
answers /metrics for itself alone. Label values come from closed sets: no repository, digest, host of a
client or path from outside ever becomes a label.
"""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from kraken import __version__
from kraken.observability.tally import CountFamily, SpreadFamily

CONTENT_TYPE = CONTENT_TYPE_LATEST

_LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """The metrics of one component. Attributes are named like the families, without `kraken_` and `_total`."""

    def __init__(self, kind: str, name: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._about(kind, name)
        self._http()
        self._pushes_and_pulls()
        self._p2p()
        self._tracker()
        self._storage()
        self._cluster()
        self._upstreams()
        self._notifications()

    def render(self) -> bytes:
        """All families in the text format of Prometheus; send it as `CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def value(self, family: str, **labels: str) -> float:
        """The present value of one sample, 0.0 when it was never touched.

        Args: family, the sample's name as /metrics shows it, e.g. `kraken_pull_bytes_total`.
        """
        return self.registry.get_sample_value(family, labels) or 0.0

    def _about(self, kind: str, name: str) -> None:
        about = self._gauge("build_info", "Always 1; the labels tell what runs here.", "version", "component", "name")
        about.labels(version=__version__, component=kind, name=name).set(1)
        self.task_crashes = self._counter("task_crashes", "Background tasks that ended by an exception.", "task")

    def _http(self) -> None:
        self.http_requests = self._counts("http_requests", "HTTP requests answered.", "route", "method", "status")
        self.http_request_seconds = self._spreads(
            "http_request_seconds", "Seconds from a request's header to the end of its answer.", "route"
        )
        self.http_connections = self._gauge("http_connections", "HTTP connections open now.")
        self.http_connections_refused = self._counter("http_connections_refused", "Refused: too many were open.")

    def _pushes_and_pulls(self) -> None:
        self.pushes = self._counter("pushes", "Pushes of a blob or manifest, by how they ended.", "kind", "result")
        self.push_bytes = self._counter("push_bytes", "Bytes of blobs and manifests pushed.")
        self.pulls = self._counter("pulls", "Blobs and manifests asked for, by how it ended.", "result")
        self.pull_bytes = self._counter("pull_bytes", "Bytes of pulled blobs, by where they came from.", "source")
        self.first_byte_seconds = self._histogram("first_byte_seconds", "Seconds to the first byte of a pulled blob.")

    def _p2p(self) -> None:
        self.p2p_bytes = self._counter(
            "p2p_bytes", "Payload bytes, by direction and the other side's role.", "direction", "role"
        )
        self.p2p_pieces = self._counter("p2p_pieces", "Pieces that arrived, by what they turned out to be.", "result")
        self.p2p_peers = self._gauge("p2p_peers", "Peers connected now.")
        self.p2p_connections_displaced = self._counter(
            "p2p_connections_displaced", "Peers parted from because another swarm needed the connection more."
        )
        self.p2p_peers_encrypted = self._gauge("p2p_peers_encrypted", "Of the peers connected now, those over TLS.")
        self.p2p_tls_refused = self._counter(
            "p2p_tls_refused", "Connections between peers that TLS did not let be, either way.", "reason"
        )
        self.p2p_certificate_seconds_left = self._gauge(
            "p2p_certificate_seconds_left", "Seconds until this node's own certificate expires; infinite without TLS."
        )
        self.p2p_certificate_seconds_left.set(math.inf)
        self.p2p_swarms = self._gauge("p2p_swarms", "Swarms open now.")
        self.p2p_bans = self._counter("p2p_bans", "Peers banned.", "reason")
        self.p2p_uploads = self._gauge("p2p_uploads", "Pieces sent now, and pieces that wait for a slot.", "state")
        self.p2p_writes_waiting = self._gauge("p2p_writes_waiting", "Pieces that wait to be hashed and written.")
        self.p2p_requested_bytes = self._gauge(
            "p2p_requested_bytes", "Bytes of pieces asked of peers, and not come yet."
        )
        self.p2p_requests_rejected = self._counter("p2p_requests_rejected", "Requests of peers that were turned down.")

    def _tracker(self) -> None:
        self.announces = self._counts("announces", "Announces sent (agent, origin) or answered (tracker).", "result")
        self.tracker_swarms = self._gauge("tracker_swarms", "Swarms that the tracker knows.")
        self.tracker_peers = self._gauge("tracker_peers", "Peers in all swarms of the tracker together.")
        self.tracker_metainfo = self._counter("tracker_metainfo", "Metainfo answered, by where it was found.", "source")

    def _storage(self) -> None:
        self.store_bytes = self._gauge("store_bytes", "Bytes of complete blobs on disk.")
        self.store_blobs = self._gauge("store_blobs", "Complete blobs on disk.")
        self.evictions = self._counter("evictions", "Blobs removed to make room.")
        self.quarantined = self._counter("quarantined", "Blobs set aside because their bytes were wrong.")
        self.collected = self._counter("collected", "Garbage removed.", "kind")
        self.uploads_open = self._gauge("uploads_open", "Upload sessions that are neither committed nor abandoned.")
        self.backend_reads = self._counter("backend_reads", "Blobs read from the backend.")

    def _cluster(self) -> None:
        self.replicas = self._counter("replicas", "Copies sent to other origins, by how it ended.", "result")
        self.cluster_hosts_up = self._gauge("cluster_hosts_up", "Hosts that answer, by component.", "kind")

    def _upstreams(self) -> None:
        self.upstream_requests = self._counter(
            "upstream_requests", "Requests to registries that are mirrored, by how they ended.", "upstream", "result"
        )
        self.upstream_bytes = self._counter("upstream_bytes", "Bytes of blobs that came from upstreams.", "upstream")
        self.upstream_stale = self._counter(
            "upstream_stale", "Tags answered from memory because their upstream could not be asked.", "upstream"
        )
        self.upstream_up = self._gauge("upstream_up", "1 while an upstream is asked, 0 while it is down.", "upstream")
        self.upstream_fetches = self._gauge("upstream_fetches", "Blobs being fetched from upstreams now.")

    def _notifications(self) -> None:
        self.notifications = self._counter(
            "notifications", "Events for webhooks, by what became of them or of one try.", "endpoint", "result"
        )
        self.notification_queue_events = self._gauge("notification_queue_events", "Events that wait.", "endpoint")

    def _counts(self, name: str, meaning: str, *labels: str) -> CountFamily:
        """A family of counters that only the event loop's thread touches, very often."""
        family = CountFamily(f"kraken_{name}", meaning, labels)
        self.registry.register(family)
        return family

    def _spreads(self, name: str, meaning: str, label: str) -> SpreadFamily:
        """A family of histograms that only the event loop's thread touches, very often."""
        family = SpreadFamily(f"kraken_{name}", meaning, label, _LATENCY_SECONDS)
        self.registry.register(family)
        return family

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"kraken_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"kraken_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, *labels: str) -> Histogram:
        return Histogram(f"kraken_{name}", meaning, labels, registry=self.registry, buckets=_LATENCY_SECONDS)
