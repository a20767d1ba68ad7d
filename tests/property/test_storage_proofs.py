"""Proofs from the stored tree, verified against the definition of the state at every root of the window."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tanpo.ledger.errors import PeerFault, UsageError
from tanpo.ledger.statekey import compute_state_root, group_of, index_key, path_of, value_hash
from tanpo.ledger.stateproof import PathRange, group_range, verify_partial_tree
from tanpo.ledger.types import Height, StateRoot
from tanpo.storage.database import Database
from tanpo.storage.proving import prove_group, prove_keys, prove_ranges
from tanpo.storage.reading import TreeSource
from tanpo.storage.tree import StateTree

WINDOW = 3
State = dict[bytes, bytes]
Changes = dict[bytes, bytes | None]

keys = st.one_of(
    st.integers(0, 120).map(lambda n: b"plain %d" % n),
    st.tuples(st.integers(0, 2), st.integers(0, 40)).map(lambda n: index_key(b"g%d" % n[0], b"%d" % n[1])),
)
values = st.one_of(st.none(), st.integers(0, 3).map(lambda n: b"v" * n))


def clear_members(block: Changes) -> Changes:
    """Members of an index have no value."""
    return {key: b"" if value and group_of(key) else value for key, value in block.items()}


blocks = st.dictionaries(keys, values, max_size=60).map(clear_members)


@contextmanager
def chain(changes: list[Changes]) -> Iterator[tuple[TreeSource, list[State]]]:
    """A tree after these blocks, and the state after each."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(
            Path(folder) / "state", remedy="none", cache_bytes=1 << 20, write_buffer_bytes=1 << 20
        )
        tree = StateTree.open(database, window=WINDOW, cache_records=100)
        states: list[State] = []
        for height, block in enumerate(changes):
            puts: dict[bytes, bytes] = {}
            deletes: list[bytes] = []
            plan = tree.begin(Height(height), block)
            tree.stage(plan, puts, deletes)
            database.write(puts, deletes)
            tree.publish(plan)
            merged = {**(states[-1] if states else {}), **block}
            states.append({key: value for key, value in merged.items() if value is not None})
        yield tree.source, states
        tree.close()
        database.close()


def root_of(state: State) -> StateRoot:
    return compute_state_root((path_of(key), value_hash(value)) for key, value in state.items())


@settings(max_examples=40)
@given(changes=st.lists(blocks, min_size=1, max_size=7), asked=st.lists(keys, min_size=1, max_size=12))
def test_what_a_proof_shows_of_each_key_is_what_the_state_held(
    changes: list[Changes], asked: list[bytes]
) -> None:
    with chain(changes) as (source, states):
        for height in range(max(0, len(states) - 1 - WINDOW), len(states)):
            state = states[height]
            tree = verify_partial_tree(prove_keys(source, Height(height), asked), root_of(state))
            for key in asked:
                tree.verify_value(key, state.get(key))
                with pytest.raises(PeerFault, match="shows"):
                    tree.verify_value(key, state.get(key, b"") + b"!")


@settings(max_examples=40)
@given(changes=st.lists(blocks, min_size=1, max_size=3), group=st.sampled_from([b"g0", b"g1", b"g2", b"g3"]))
def test_listing_of_a_group_is_complete(changes: list[Changes], group: bytes) -> None:
    with chain(changes) as (source, states):
        state = states[-1]
        tree = verify_partial_tree(prove_group(source, Height(len(states) - 1), group), root_of(state))
        in_range = [key for key in state if group_range(group).contains(path_of(key))]
        shown = [key for key in in_range if not state[key]]
        members = sorted(key for key in state if group_of(key) == group)
        assert tree.verify_group(group, shown) == members
        for key in members:
            with pytest.raises(PeerFault, match="raw keys"):
                tree.verify_group(group, [other for other in shown if other != key])
        for key in set(in_range) - set(shown):
            with pytest.raises(PeerFault, match="raw keys"):
                tree.verify_group(group, [*shown, key])


@settings(max_examples=40)
@given(block=blocks, start=st.integers(0, 255), length=st.integers(1, 256))
def test_range_shows_every_entry_in_it_and_hides_none(block: Changes, start: int, length: int) -> None:
    wanted = PathRange(start=start << 248, stop=min(start + length, 256) << 248)
    with chain([block]) as (source, states):
        state = states[0]
        tree = verify_partial_tree(prove_ranges(source, Height(0), [wanted]), root_of(state))
        assert not tree.hides(wanted)
        found = {path: digest for path, digest in tree.entries.items() if wanted.contains(path)}
        assert found == {
            path_of(key): value_hash(value) for key, value in state.items() if wanted.contains(path_of(key))
        }


@settings(max_examples=8)
@given(block=st.dictionaries(keys, st.just(b"v"), min_size=1, max_size=40), asked=keys)
def test_no_bit_of_a_proof_can_change(block: Changes, asked: bytes) -> None:
    with chain([block]) as (source, states):
        root = root_of(states[0])
        proof = prove_keys(source, Height(0), [asked])
        for bit in range(8 * len(proof)):
            forged = bytearray(proof)
            forged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(PeerFault):
                verify_partial_tree(bytes(forged), root)


@settings(max_examples=300)
@given(encoded=st.binary(max_size=300))
def test_any_bytes_are_a_partial_tree_or_refused(encoded: bytes) -> None:
    with pytest.raises(PeerFault):
        verify_partial_tree(encoded, StateRoot(bytes(32)))


def test_height_that_left_the_window_is_refused_with_its_number() -> None:
    with chain([{b"k%d" % height: b"v"} for height in range(6)]) as (source, _):
        with pytest.raises(UsageError, match="height 1 is not held") as refusal:
            prove_keys(source, Height(1), [b"k0"])
        assert refusal.value.reason == "HEIGHT_PRUNED"
        with pytest.raises(UsageError, match="height 6 is not held"):
            prove_keys(source, Height(6), [b"k0"])


def test_an_ordinary_key_in_the_range_of_a_group_needs_no_name() -> None:
    """Of a million keys some fifteen lie in each range; nodes find keys by group, and not by path."""
    wanted = group_range(b"g0")
    stranger = next(key for key in (b"plain %d" % n for n in range(1 << 22)) if wanted.contains(path_of(key)))
    members = [index_key(b"g0", b"%d" % number) for number in range(3)]
    with chain([{stranger: b"v", **dict.fromkeys(members, b"")}]) as (source, states):
        tree = verify_partial_tree(prove_group(source, Height(0), b"g0"), root_of(states[0]))

        assert path_of(stranger) in tree.entries
        assert tree.verify_group(b"g0", members) == members
        with pytest.raises(PeerFault, match="raw keys"):
            tree.verify_group(b"g0", [*members, stranger])
