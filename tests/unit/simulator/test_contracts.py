"""Real contracts in the simulator: blocks move assets, fail alike everywhere, and nothing is made or lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tanpo.ledger.block import Block
from tanpo.simulator.application import State
from tanpo.simulator.contracts import ContractApplication


@pytest.fixture(scope="module")
def application() -> ContractApplication:
    return ContractApplication()


def _execute(application: ContractApplication, forge: Any, count: int) -> list[State]:
    states, parent = [application.genesis], None
    for height in range(1, count + 1):
        header = forge.block(1, height, parent).header
        block = Block.create(header, [application.make_envelope(height * 10 + i) for i in range(4)])
        states.append(application.execute(block, states[-1]))
        parent = block
    return states


def test_blocks_change_the_state_and_keep_what_was_issued(
    application: ContractApplication, forge: Any
) -> None:
    states = _execute(application, forge, 12)

    assert len({state.roots.state_root for state in states}) == 13
    assert [application.find_fault(state) for state in states] == [None] * 13


def test_every_node_comes_to_the_same_roots(application: ContractApplication, forge: Any) -> None:
    other = ContractApplication()

    assert _execute(application, forge, 3)[-1].roots == _execute(other, forge, 3)[-1].roots


def test_assets_that_vanish_are_found(application: ContractApplication, forge: Any) -> None:
    state = _execute(application, forge, 2)[-1]
    genesis = application.genesis.pairs
    changed = [key for key in state.pairs if state.pairs[key] != genesis.get(key) and b"dealer" in key]
    poorer = {key: value for key, value in state.pairs.items() if key != changed[0]}

    fault = application.find_fault(replace(state, pairs=poorer))

    assert fault is not None
    assert "300 were issued" in fault
