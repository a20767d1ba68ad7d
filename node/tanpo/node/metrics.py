"""The Prometheus metrics of one node, in a registry that is handed around.

Nothing here is module-level state: two nodes in one process (tests) count apart. Children of labelled
metrics are looked up once where that happens per transaction.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
"""The media type of `Metrics.render`."""

INTERNAL: Final = "INTERNAL"
"""The reason under which a call is counted that met a fault of the node itself."""
PEER_QUEUES: Final = ("consensus", "gossip")

_FSYNC_BUCKETS: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)
_SIZE_BUCKETS: Final = (0, 1, 5, 10, 25, 50, 100, 200, 300, 400, 500)


class Metrics:
    """Every metric a node exports, as attributes; unlabelled unless a comment names the labels."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

        self._add_chain(registry)
        self._add_consensus(registry)
        self._add_transactions(registry)
        self._add_stages(registry)
        self._add_execution(registry)
        self._add_peers(registry)
        self._add_snapshots(registry)
        self._add_disk(registry)
        self._add_clock(registry)
        self._add_backups(registry)
        self._add_retention(registry)
        self._add_calls(registry)
        self._add_certificates(registry)
        self._add_build(registry)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def begin_peer(self, peer: str) -> None:
        """Export what is counted of a peer as 0, unless something was counted.

        A series that only appears with its first event shows Prometheus no increase, and the alert on it
        would miss that event.
        """
        self.peer_faults.labels(peer)
        for kind in PEER_QUEUES:
            self.peer_dropped.labels(peer, kind)

    def _add_chain(self, registry: CollectorRegistry) -> None:
        self.height = Gauge("tanpo_height", "Height of the latest executed block", registry=registry)
        self.certified_height = Gauge(
            "tanpo_certified_height", "Height of the latest block known to be final", registry=registry
        )
        self.epoch = Gauge("tanpo_epoch", "Epoch of the validator set", registry=registry)
        self.term = Gauge("tanpo_term", "Current term", registry=registry)
        self.is_leader = Gauge("tanpo_is_leader", "1 while this node leads its term", registry=registry)
        self.has_amnesia = Gauge(
            "tanpo_has_amnesia",
            "1 while this validator may not sign: it forgot what it signed",
            registry=registry,
        )
        self.is_validator = Gauge(
            "tanpo_is_validator",
            "1 while this epoch's validators name this node, with its key",
            registry=registry,
        )
        self.is_ready = Gauge("tanpo_is_ready", "1 while this node admits transactions", registry=registry)
        self.block_time_ms = Gauge(
            "tanpo_block_time_ms", "Time of the latest executed block, Unix ms", registry=registry
        )

    def _add_consensus(self, registry: CollectorRegistry) -> None:
        self.commits = Counter("tanpo_commits", "Blocks committed", registry=registry)
        self.blocks_executed = Counter("tanpo_blocks_executed", "Blocks executed", registry=registry)
        self.proposals = Counter("tanpo_proposals", "Proposals this node sent to all", registry=registry)
        self.term_changes = Counter("tanpo_term_changes", "Terms entered", registry=registry)
        self.suspicions = Counter(
            "tanpo_suspicions", "Complaints about leaders that this node sent", registry=registry
        )
        self.evidence = Counter(  # accused: member/node; kind: an EvidenceKind
            "tanpo_evidence",
            "Proofs that a validator broke the protocol, known to this node",
            ["accused", "kind"],
            registry=registry,
        )
        self.consensus_messages = Counter(
            "tanpo_consensus_messages", "Consensus messages received", registry=registry
        )

    def _add_transactions(self, registry: CollectorRegistry) -> None:
        self.transactions = Counter(  # outcome: succeeded | failed
            "tanpo_transactions", "Transactions by outcome", ["outcome"], registry=registry
        )
        for outcome in ("succeeded", "failed"):
            self.transactions.labels(outcome)
        self.rejected = Counter(  # reason: a Reason
            "tanpo_rejected", "Envelopes and calls refused, by reason", ["reason"], registry=registry
        )
        self.admitted = Counter("tanpo_admitted", "Envelopes admitted from clients", registry=registry)
        self.block_transactions = Histogram(
            "tanpo_block_transactions", "Transactions in a block", buckets=_SIZE_BUCKETS, registry=registry
        )
        self.mempool_transactions = Gauge(
            "tanpo_mempool_transactions", "Transactions waiting for a block", registry=registry
        )
        self.mempool_bytes = Gauge("tanpo_mempool_bytes", "Bytes waiting for a block", registry=registry)

    def _add_stages(self, registry: CollectorRegistry) -> None:
        # Where the CPU time goes, for `tanpo bench`, by each thread's own clock; no two count the same time.
        # What process_cpu_seconds_total has beyond their sum is RPC and the event loop.
        self.decode_seconds = Counter("tanpo_decode_seconds", "Decoding transactions", registry=registry)
        self.verify_seconds = Counter("tanpo_verify_seconds", "Checking signatures", registry=registry)
        self.execute_seconds = Counter("tanpo_execute_seconds", "Running contracts", registry=registry)
        # By the worker's clock, where contracts run in one: no part of this process' time.
        self.worker_seconds = Counter(
            "tanpo_worker_seconds", "Running contracts in a worker", registry=registry
        )
        self.tree_seconds = Counter("tanpo_tree_seconds", "Computing state roots", registry=registry)
        self.store_seconds = Counter("tanpo_store_seconds", "Writing blocks and state", registry=registry)
        self.consensus_seconds = Counter(
            "tanpo_consensus_seconds", "Agreeing on the order of blocks", registry=registry
        )
        self.signatures_verified = Counter(
            "tanpo_signatures_verified", "Transaction signatures checked", registry=registry
        )
        self.fsync_seconds = Histogram(
            "tanpo_fsync_seconds", "Duration of one fsync", buckets=_FSYNC_BUCKETS, registry=registry
        )

    def _add_execution(self, registry: CollectorRegistry) -> None:
        self.workers_lost = Counter(
            "tanpo_workers_lost", "Workers that ended, met a fault or fell silent", registry=registry
        )
        self.is_execution_stalled = Gauge(
            "tanpo_is_execution_stalled",
            "1 while this node does not vote because no worker gets through a block",
            registry=registry,
        )

    def _add_peers(self, registry: CollectorRegistry) -> None:
        self.peers_connected = Gauge("tanpo_peers_connected", "Peers we can send to", registry=registry)
        self.peer_queue_bytes = Gauge(  # peer: member/node
            "tanpo_peer_queue_bytes", "Bytes waiting to be sent", ["peer"], registry=registry
        )
        self.peer_dropped = Counter(  # peer: member/node; kind: consensus | gossip
            "tanpo_peer_dropped",
            "Messages dropped because a queue was full",
            ["peer", "kind"],
            registry=registry,
        )
        self.peer_faults = Counter(  # peer: member/node
            "tanpo_peer_faults", "Frames refused because they break the protocol", ["peer"], registry=registry
        )
        self.peer_reconnects = Counter(  # peer: member/node
            "tanpo_peer_reconnects", "Streams opened again", ["peer"], registry=registry
        )

    def _add_snapshots(self, registry: CollectorRegistry) -> None:
        self.snapshot_height = Gauge(
            "tanpo_snapshot_height", "Height of the latest snapshot offered, 0 if none", registry=registry
        )
        self.joins = Counter(
            "tanpo_joins", "Times this process joined by a snapshot without being told to", registry=registry
        )
        self.join_chunks = Gauge(
            "tanpo_join_chunks", "Chunks of the snapshot that this node joins by", registry=registry
        )
        self.join_chunks_missing = Gauge(
            "tanpo_join_chunks_missing", "Those of them that are still to be fetched", registry=registry
        )

    def _add_disk(self, registry: CollectorRegistry) -> None:
        self.disk_free_bytes = Gauge(
            "tanpo_disk_free_bytes",
            "Room left on the disk of the data directory, for this user",
            registry=registry,
        )

    def _add_clock(self, registry: CollectorRegistry) -> None:
        self.clock_skew_seconds = Gauge(
            "tanpo_clock_skew_seconds",
            "How far this machine's clock is ahead of the peers' clocks, at least; negative if behind",
            registry=registry,
        )

    def _add_backups(self, registry: CollectorRegistry) -> None:
        self.backup_seconds = Gauge(
            "tanpo_backup_timestamp_seconds",
            "When the latest backup was read to its end, Unix seconds, 0 if none is known",
            registry=registry,
        )

    def _add_retention(self, registry: CollectorRegistry) -> None:
        self.first_height = Gauge(
            "tanpo_first_height", "First height whose block and results this node holds", registry=registry
        )
        self.blocks_bytes = Gauge("tanpo_blocks_bytes", "Bytes of the files of blocks", registry=registry)
        self.state_bytes = Gauge("tanpo_state_bytes", "Bytes of the files of the state", registry=registry)
        self.prune_seconds = Histogram(
            "tanpo_prune_seconds",
            "Duration of one write that prunes, while nothing else is done",
            buckets=_FSYNC_BUCKETS,
            registry=registry,
        )

    def _add_calls(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(  # method: Service/Method; code: a gRPC code
            "tanpo_calls", "gRPC calls answered, by code", ["method", "code"], registry=registry
        )
        self.call_errors = Counter(  # reason: a Reason, or INTERNAL
            "tanpo_call_errors", "gRPC calls that ended in an error, by reason", ["reason"], registry=registry
        )
        self.call_errors.labels(INTERNAL)  # See `begin_peer`: an alert watches it.
        self.streams = Gauge(  # method: Service/Method
            "tanpo_streams", "Streams open now", ["method"], registry=registry
        )

    def _add_build(self, registry: CollectorRegistry) -> None:
        build = Gauge(  # version: of tanpo; python: of the interpreter
            "tanpo_build_info",
            "Always 1; what runs is in the labels",
            ["version", "python"],
            registry=registry,
        )
        build.labels(version("tanpo"), platform.python_version()).set(1)

    def _add_certificates(self, registry: CollectorRegistry) -> None:
        self.certificate_expiry_seconds = Gauge(  # certificate: node | authority
            "tanpo_certificate_expiry_timestamp_seconds",
            "When a certificate of this node expires, Unix seconds",
            ["certificate"],
            registry=registry,
        )
