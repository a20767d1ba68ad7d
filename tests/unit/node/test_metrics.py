from __future__ import annotations

from pathlib import Path

import tanpo.node
from prometheus_client import Counter, Gauge, Histogram
from tanpo.node.metrics import Metrics


def test_two_nodes_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.commits.inc(3)
    assert b"\ntanpo_commits_total 3.0\n" in first.render()
    assert b"\ntanpo_commits_total 0.0\n" in second.render()


def test_labelled_metrics_are_exported_with_their_labels() -> None:
    metrics = Metrics()
    metrics.transactions.labels("succeeded").inc()
    metrics.rejected.labels("MEMPOOL_FULL").inc(2)
    metrics.peer_queue_bytes.labels("beta/n1").set(17)
    text = metrics.render()
    assert b'tanpo_transactions_total{outcome="succeeded"} 1.0' in text
    assert b'tanpo_rejected_total{reason="MEMPOOL_FULL"} 2.0' in text
    assert b'tanpo_peer_queue_bytes{peer="beta/n1"} 17.0' in text


def test_process_memory_and_time_are_exported() -> None:
    text = Metrics().render()
    assert b"process_resident_memory_bytes" in text
    assert b"process_cpu_seconds_total" in text


def test_every_metric_is_written_somewhere() -> None:
    """An operator must not read 0 for ever off something that nobody counts."""
    folder = Path(tanpo.node.__file__).parent
    sources = "".join(path.read_text() for path in sorted(folder.rglob("*.py")))
    names = [
        name for name, value in vars(Metrics()).items() if isinstance(value, Counter | Gauge | Histogram)
    ]

    assert len(names) > 20
    assert [name for name in names if f".{name}." not in sources] == []


def test_what_an_alert_watches_begins_at_zero() -> None:
    """Prometheus sees no increase in a series that appears with its first event."""
    metrics = Metrics()
    metrics.begin_peer("beta/n1")
    text = metrics.render()
    assert b'tanpo_peer_faults_total{peer="beta/n1"} 0.0' in text
    assert b'tanpo_peer_dropped_total{kind="gossip",peer="beta/n1"} 0.0' in text
    assert b'tanpo_call_errors_total{reason="INTERNAL"} 0.0' in text
    assert b'tanpo_transactions_total{outcome="failed"} 0.0' in text

    metrics.peer_faults.labels("beta/n1").inc()
    metrics.begin_peer("beta/n1")
    assert b'tanpo_peer_faults_total{peer="beta/n1"} 1.0' in metrics.render()
