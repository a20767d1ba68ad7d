"""A node that verified a contradiction and says nothing is found; one that reports it is not."""

from __future__ import annotations

from typing import Any

import pytest
from tanpo.consensus import witness
from tanpo.simulator import HostileValidator, Settings, run_seed

EQUIVOCATOR = Settings(
    seed=4, submit_ms=200, hostile=(HostileValidator(node="0", behaviours=("equivocate",)),), chaos_ms=5_000
)


def test_a_node_that_reports_what_it_sees_is_fine() -> None:
    report = run_seed(4, EQUIVOCATOR)

    assert report.violation is None
    assert dict(report.faults)["evidence/DoubleVote"] > 0


def test_a_node_that_reports_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """G4"""

    def overlook(*_: Any) -> None:
        pass

    monkeypatch.setattr(witness, "_report", overlook)

    report = run_seed(4, EQUIVOCATOR)

    assert report.checker == "diligence"
    assert report.violation is not None
    assert "DoubleVote of validator 0" in report.violation
