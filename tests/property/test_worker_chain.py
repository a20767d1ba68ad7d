"""A worker's memory of the state is exact or absent, whatever blocks are executed, committed and dropped."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from tanpo.ledger.types import BlockHash
from tanpo.node.worker.chain import ENTRY_BYTES, ChainState

KEYS = tuple(b"key-%d" % number for number in range(6))
GENESIS = BlockHash(b"genesis")

State = dict[bytes, "bytes | None"]


@dataclass
class Node:
    """What a node knows: the state behind every block that is final or may become so."""

    states: dict[BlockHash, State] = field(default_factory=lambda: {GENESIS: {}})
    parents: dict[BlockHash, BlockHash] = field(default_factory=dict)
    committed: BlockHash = GENESIS
    count: int = 0

    def commit(self, block_hash: BlockHash) -> None:
        """Make a child of the committed block final; what does not descend from it is dead."""
        self.committed = block_hash
        living = {block_hash}
        for child, parent in self.parents.items():
            if parent in living:
                living.add(child)
        self.states = {one: state for one, state in self.states.items() if one in living}


changes = st.dictionaries(st.sampled_from(KEYS), st.one_of(st.none(), st.binary(max_size=3)), max_size=4)
steps: st.SearchStrategy[tuple[str, int, State, list[bytes]]] = st.one_of(
    st.tuples(st.just("execute"), st.integers(0, 9), changes, st.lists(st.sampled_from(KEYS), max_size=5)),
    st.tuples(st.just("give up"), st.integers(0, 9), changes, st.lists(st.sampled_from(KEYS), max_size=5)),
    st.tuples(st.just("elsewhere"), st.integers(0, 9), changes, st.just([])),
    st.tuples(st.just("commit"), st.integers(0, 9), st.just({}), st.just([])),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=25), st.sampled_from((4 * ENTRY_BYTES, 1 << 20)))
def test_every_known_value_is_the_one_of_the_state_stood_on(
    plays: list[tuple[str, int, State, list[bytes]]], cache_bytes: int
) -> None:
    node, chain = Node(), ChainState(cache_bytes)
    for what, choice, written, read in plays:
        if what == "commit":
            children = [one for one, parent in node.parents.items() if parent == node.committed]
            living = [one for one in children if one in node.states]
            if living:
                node.commit(living[choice % len(living)])
            continue
        parent = sorted(node.states)[choice % len(node.states)]
        node.count += 1
        block_hash = BlockHash(b"block-%03d" % node.count)
        state = node.states[parent]
        if what != "elsewhere":  # Executed by another worker, before this one began.
            chain.begin(parent_hash=parent, committed_hash=node.committed)
            for key in read:
                is_known, value = chain.find(key)
                if is_known:
                    assert value == state.get(key)
                else:
                    chain.fill(key, state.get(key))
                    assert chain.find(key) == (True, state.get(key))
        if what == "give up":
            continue
        if what == "execute":
            chain.end(block_hash, parent, written)
        node.states[block_hash] = {**state, **written}
        node.parents[block_hash] = parent


def test_what_a_chain_has_read_and_written_stays_known_while_blocks_become_final() -> None:
    chain = ChainState()
    chain.begin(parent_hash=GENESIS, committed_hash=GENESIS)
    chain.fill(b"read", b"1")
    previous, committed = GENESIS, GENESIS
    for number in range(20):
        block_hash = BlockHash(b"block-%d" % number)
        chain.begin(parent_hash=previous, committed_hash=committed)
        assert chain.find(b"read") == (True, b"1")
        assert number == 0 or chain.find(b"written-%d" % (number - 1)) == (True, b"2")
        chain.end(block_hash, previous, {b"written-%d" % number: b"2"})
        previous, committed = block_hash, previous


def test_what_nobody_asks_for_is_forgotten_and_what_is_used_stays() -> None:
    chain = ChainState(100 * ENTRY_BYTES)
    chain.begin(parent_hash=GENESIS, committed_hash=GENESIS)
    chain.fill(b"used", b"1")
    chain.fill(b"unused", b"1")
    for number in range(500):
        chain.fill(b"other-%d" % number, b"")
        assert chain.find(b"used") == (True, b"1")
    assert chain.find(b"unused") == (False, None)
    assert sum(chain.find(b"other-%d" % number)[0] for number in range(500)) <= 110
