"""A node that verified a contradiction and says nothing is found; one that reports it is not."""

from __future__ import annotations

from typing import Any

import pytest
from tanpo.consensus import CommitBlock, witness
from tanpo.node.agenda import Turn
from tanpo.simulator import HostileValidator, Settings, Violation, run_seed
from tanpo.simulator.checks import check_write
from tanpo.storage import SafetyWrite

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


def test_a_block_let_go_with_its_commit_is_found(forge: Any) -> None:
    """D4"""
    block = forge.block(1, 1)
    commit = CommitBlock(block=block, proof=forge.proof(block))
    write = SafetyWrite(record=b"", blocks={}, dropped=(block.block_hash,))
    check_write("1", Turn(write=write, effects=()))

    with pytest.raises(Violation, match="before it is stored"):
        check_write("1", Turn(write=write, effects=(commit,)))
