"""A dry run tells what the last blocks would have done under another source, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tanpo.ledger.block import Block, decode_block
from tanpo.ledger.errors import CorruptState, UsageError
from tanpo.ledger.types import Height, MerkleRoot, StateRoot
from tanpo.node.installing import InstallationRefused
from tanpo.node.rehearsing import Replay, describe_key
from tanpo.testing.chain import Chain, make_plan

COUNTER = """
counts: Map[str, int]
held: Index[str, int]

@entry
def add(name: str, by: int) -> int:
    require(by > 0, "TOO_LITTLE", by=by)
    counts[name] = counts.get(name, 0) + by
    held.add(name, counts[name])
    for one in held.first(name, 3):
        emit("Added", name=name, by=by, to=one)
    return counts[name]
"""

STRICT = COUNTER.replace("by > 0", "0 < by < 5").replace('emit("Added"', 'emit("Counted"')


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    chain = Chain(tmp_path / "data", has_validators=True)
    chain.install("counter", COUNTER)
    yield chain
    chain.close()


def add(chain: Chain, *amounts: int) -> None:
    """Add amounts in a block of their own, and seal it with an empty one."""
    calls = [
        chain.make_transaction("counter", "add", {"name": "a", "by": amount}, "dealer-a")
        for amount in amounts
    ]
    chain.run(*calls)
    chain.run()


def read_blocks(chain: Chain) -> list[Block]:
    store = chain.execution.store
    heights = range(1, store.executed_height + 1)
    return [decode_block(store.read_block(Height(height)).block) for height in heights]


def replay(chain: Chain, blocks: list[Block]) -> Replay:
    replay = Replay(chain.genesis)
    for block in blocks:
        replay.execute(block)
    return replay


def test_a_replay_comes_to_the_state_of_the_chain(chain: Chain) -> None:
    add(chain, 1, 2, 0, 9)
    found = replay(chain, read_blocks(chain))
    assert found.compute_root() == chain.execution.store.state_root
    assert found.contracts.versions == chain.execution.contracts.versions


def test_the_same_source_but_for_its_comments_differs_in_nothing(chain: Chain) -> None:
    add(chain, 1, 2, 0, 9)
    blocks, source = read_blocks(chain), COUNTER + "\n# the same\n"
    found = replay(chain, blocks[:-2]).rehearse(
        make_plan(chain, "counter", source), source.encode(), blocks[-2:]
    )
    assert (found.first_height, found.last_height) == (len(blocks) - 1, len(blocks))
    assert (found.transaction_count, found.differences) == (4, ())


def test_every_difference_is_told_by_transaction_and_aspect(chain: Chain) -> None:
    add(chain, 1)
    add(chain, 2, 9, 0, 3)
    blocks, before = read_blocks(chain), chain.execution.store.state_root
    found = replay(chain, blocks[:-2]).rehearse(
        make_plan(chain, "counter", STRICT), STRICT.encode(), blocks[-2:]
    )
    assert [(one.height, one.index) for one in found.differences] == [
        (len(blocks) - 1, 0),
        (len(blocks) - 1, 1),
        (len(blocks) - 1, 2),
        (len(blocks) - 1, 3),
    ]
    first, second, third, fourth = (one.changed for one in found.differences)
    assert sorted(first) == ["events", "gas"]
    assert first["events"] == (
        "counter.Added(by=2, name='a', to=1); counter.Added(by=2, name='a', to=3)",
        "counter.Counted(by=2, name='a', to=1); counter.Counted(by=2, name='a', to=3)",
    )
    assert second["outcome"] == ("succeeded", "TOO_LITTLE(by=9) at counter:7")
    assert second["value"] == ("12", "()")
    assert [name for name in second if name.startswith("writes counter.counts")] != []
    assert all(would == "nothing" for name, (_, would) in second.items() if name.startswith("writes"))
    assert sorted(third) == ["gas"]
    assert fourth["value"] == ("15", "6")
    assert chain.execution.store.state_root == before


def test_an_upgrade_that_would_be_refused_is_refused_in_the_dry_run(chain: Chain) -> None:
    add(chain, 1)
    source = (
        COUNTER.replace("counts: Map[str, int]", "counts: Map[str, str]\nnumbers: Map[str, int]")
        .replace("counts[", "numbers[")
        .replace("counts.get", "numbers.get")
    )
    with pytest.raises(InstallationRefused) as caught:
        replay(chain, read_blocks(chain)).rehearse(make_plan(chain, "counter", source), source.encode(), [])
    assert caught.value.code == "STATE_CHANGED"


def test_an_installation_is_rehearsed_with_its_arguments(chain: Chain) -> None:
    source = "x: int\n\n@init\ndef setup(start: int) -> None:\n    x = start\n    emit('Begun', at=start)\n\n"
    source += "@view\ndef get() -> int:\n    return x\n"
    plan = make_plan(chain, "other", source, arguments=(("start", 3),))
    found = replay(chain, read_blocks(chain)).rehearse(plan, source.encode(), [])
    assert [event.fields for event in found.setup_events] == [(("at", 3),)]
    assert found.setup_gas > 0


def test_blocks_that_do_not_agree_with_their_results_are_found_out(chain: Chain) -> None:
    add(chain, 1, 2)
    *below, last = read_blocks(chain)
    forged = Block.create(replace(last.header, receipts_root=MerkleRoot(bytes(32))), last.envelopes)
    with pytest.raises(CorruptState, match="another set of receipts"):
        replay(chain, [*below, forged])
    forged = Block.create(replace(last.header, state_root=StateRoot(bytes(32))), last.envelopes)
    plan = make_plan(chain, "counter", STRICT)
    with pytest.raises(CorruptState, match="another state"):
        replay(chain, below).rehearse(plan, STRICT.encode(), [forged])
    with pytest.raises(UsageError, match="is executed after block"):
        replay(chain, [below[0], below[2]])


def test_keys_are_told_by_contract_and_variable() -> None:
    assert describe_key(b"\x01\x00\x04cash\x05total") == "cash.total"
    assert describe_key(b"\x01\x00\x04cash\x01m\x00\x02ab") == "cash.m 00026162"
    assert describe_key(b"\x01\x01\x00\x0a\x04cash\x02ix\x00\x09") == "cash.ix 0009"
    assert describe_key(b"\x02") == "."
