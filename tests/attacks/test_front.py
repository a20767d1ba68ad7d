"""The fuzzer of the checker: a short run finds nothing, replays, and would find what it looks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from tanpo.testing.front import Campaign, Mutator, check_one, load_corpus
from tanpo.testing.front.fuzzing import find_flaw

SEEDS = load_corpus(Path(__file__).parent)[::40]
STEPS = 150
CONTRACT = b"@entry\ndef main(a: int) -> int:\n    return a / 2 + nothing\n"


def run(seed: int, steps: int = STEPS) -> Campaign:
    campaign = Campaign(seed, SEEDS, {})
    campaign.run_seeds()
    for _ in range(steps):
        campaign.step()
    campaign.close()
    return campaign


def test_short_run_finds_nothing_and_goes_where_the_seeds_did_not() -> None:
    campaign = run(1)
    assert campaign.findings == []
    assert campaign.executions == len(SEEDS) + STEPS
    assert len(campaign.corpus) > len(SEEDS)
    assert campaign.branches > run(1, steps=0).branches > 0
    assert 0 < campaign.accepted < campaign.executions


def test_same_seed_makes_the_same_sources() -> None:
    first, second = (Mutator(Random(7)) for _ in range(2))
    made = [[one.mutate(SEEDS[i], SEEDS[-i]) for i in range(1, 30)] for one in (first, second)]
    assert made[0] == made[1]
    assert made[0] != [Mutator(Random(8)).mutate(SEEDS[i], SEEDS[-i]) for i in range(1, 30)]


def test_error_that_is_no_refusal_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fall(*_: object, **__: object) -> None:
        raise RecursionError("planted")

    monkeypatch.setattr("tanpo.vm.compiler.check_structure", fall)
    campaign = Campaign(1, [CONTRACT], {})
    campaign.run_seeds()
    campaign.close()
    assert [finding.what for finding in campaign.findings] == ["RecursionError: planted"]


def test_faults_that_break_their_promises_are_findings() -> None:
    faults = check_one(CONTRACT, {})
    assert [fault.code for fault in faults] == ["DIVISION", "NAME_UNKNOWN"]
    assert find_flaw(faults, CONTRACT) == ""
    assert find_flaw(faults[::-1], CONTRACT) == "faults are out of order"
    assert "outside" in find_flaw((replace(faults[0], line=9),), CONTRACT)
    assert "remedy" in find_flaw((replace(faults[0], remedy=""),), CONTRACT)
    assert "catalogue" in find_flaw((replace(faults[0], code="SIN"),), CONTRACT)
    assert "ASCII" in find_flaw((replace(faults[0], message="\xe9"),), CONTRACT)


def test_any_bytes_are_answered() -> None:
    for source in (b"", b"\x00", b"\xff\xfe", bytes(range(256)), b"\xed\xa0\x80", b"\n" * 70_000):
        assert check_one(source, {})
