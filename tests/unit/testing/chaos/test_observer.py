from __future__ import annotations

from tanpo.testing.chaos.observer import NAMED_S, Missing, StallSample, check_stalls


def make(*reasons: str, missing: tuple[str, ...] = ("bank", "fund")) -> StallSample:
    return StallSample(faults=("kill",), missing=missing, node="desk", seconds=4.0, reasons=reasons)


def test_a_stall_that_leaves_out_a_missing_node_is_a_violation() -> None:
    good = make("no link to bank/node-1", "nothing came from fund/node-1")
    bad = make("no link to bank/node-1")
    (violation,) = check_stalls([good, bad])
    assert violation.check == "why stalled"
    assert "not all of ('bank', 'fund') are named" in violation.what


def test_a_stall_in_which_all_nodes_run_needs_no_names() -> None:
    assert check_stalls([make("gave up on term 3", missing=())]) == []


def test_a_node_ought_to_be_named_once_its_silence_can_show() -> None:
    missing = Missing()
    missing.note_broken(["bank"], 10.0)
    missing.note_broken(["bank", "fund"], 11.0)
    assert missing.list_due(10.0 + NAMED_S - 0.1) == ()
    assert missing.list_due(10.0 + NAMED_S) == ("bank",)
    assert missing.list_due(11.0 + NAMED_S) == ("bank", "fund")
    missing.note_mended()
    assert missing.list_due(20.0) == ()
