"""Clients at work on a real network while it is broken: no promise may be broken with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tanpo.testing.chaos.nemesis import Script
from tanpo.testing.chaos.processes import Load
from tanpo.testing.chaos.run import Plan, run_plan
from tanpo.testing.chaos.steps import Behaviour, Cut, CutLinks, Kill, Pause, Substitute, TurnByzantine

pytestmark = pytest.mark.timeout(400)

OTHERS = {
    "trust-bank": "dealer-a",
    "dealer-a": "dealer-b",
    "dealer-b": "custody-bank",
    "custody-bank": "trust-bank",
}


async def test_histories_hold_while_leaders_die_links_fail_and_a_node_lies(
    tmp_path: Path, faulty_node: Path
) -> None:
    def skew(leader: str) -> Substitute:
        options = ("--skew-ms", "-5000")
        return Substitute(name="skew", program=faulty_node, options=options, victims=(OTHERS[leader],))

    def lie(leader: str) -> TurnByzantine:
        return TurnByzantine(program=faulty_node, behaviour=Behaviour.EQUIVOCATE, victims=(leader,))

    script = Script(
        faults=[
            lambda leader: Pause(victims=(leader,)),
            lambda leader: CutLinks(how=Cut.ONE_WAY, pairs=((leader, OTHERS[leader]),)),
            skew,
            lie,
            lambda leader: Kill(victims=(leader, OTHERS[leader])),
        ]
    )
    plan = Plan(
        folder=tmp_path,
        faulty_node=faulty_node,
        seconds=200.0,
        seed=1,
        fault_s=(1.5, 4.0),
        load=Load(rate=20.0, seconds_max=280.0),
        proofs_max=10_000,
        term_changes=1,  # The first fault: the leader is killed and started again.
    )
    result = await run_plan(plan, script)
    # How soon a leader is replaced is judged by `make chaos`, which has the machine to itself.
    assert [one for one in result.violations if one.check != "leader death"] == []
    assert script.is_done
    assert result.operations["ok"] > 200
    assert result.audit.proofs == result.audit.transactions > 100
    assert len(result.registers) >= 3
    assert set(result.faults) == {"kill", "pause", "one-way", "skew", "byzantine"}
