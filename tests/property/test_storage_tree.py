"""The stored tree against its definition: blocks, stacked and dropped plans, restarts, small caches."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tanpo.ledger.statekey import EMPTY, compute_state_root, index_key, path_of, value_hash, wrap_root
from tanpo.ledger.types import Height, StateRoot
from tanpo.storage import Plan, StateTree
from tanpo.storage.database import Database, scan_keys
from tanpo.storage.records import (
    EMPTY_SLOT,
    HASHES_AT,
    INNER,
    ROOT_PID,
    VERSIONS_AT,
    Slot,
    decode_root,
    node_key,
    root_key,
)

WINDOW = 3
State = dict[bytes, bytes]
Changes = dict[bytes, bytes | None]

# Few groups, so that their members crowd under one-child branches and split and collapse there.
keys = st.one_of(
    st.integers(0, 120).map(lambda n: b"plain %d" % n),
    st.tuples(st.integers(0, 2), st.integers(0, 40)).map(lambda n: index_key(b"g%d" % n[0], b"%d" % n[1])),
)
values = st.one_of(st.none(), st.none(), st.none(), st.integers(0, 3).map(lambda n: b"v" * n))
blocks = st.dictionaries(keys, values, max_size=40)
fills = st.dictionaries(keys, st.just(b"filled"), min_size=20, max_size=120)
steps = st.lists(
    st.tuples(st.sampled_from(["commit", "stack", "drop", "restart"]), st.one_of(blocks, blocks, fills)),
    min_size=1,
    max_size=14,
)


def open_tree(path: Path, cache_records: int) -> tuple[Database, StateTree]:
    database = Database.open(path, remedy="none", cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
    return database, StateTree.open(database, window=WINDOW, cache_records=cache_records)


def commit(database: Database, tree: StateTree, plan: Plan) -> None:
    puts: dict[bytes, bytes] = {}
    deletes: list[bytes] = []
    tree.stage(plan, puts, deletes)
    database.write(puts, deletes)
    tree.publish(plan)


def after(state: State, changes: Changes) -> State:
    merged = {**state, **changes}
    return {key: value for key, value in merged.items() if value is not None}


def root_of(state: State) -> StateRoot:
    return compute_state_root((path_of(key), value_hash(value)) for key, value in state.items())


def reachable(database: Database, slot: Slot, pid: int) -> set[bytes]:
    count, version, digest = slot
    if count == 0:
        assert digest == EMPTY
        return set()
    key = node_key(pid, version)
    record = database.get(key)
    assert record is not None
    if count != INNER:
        assert len(record) == 64 * count
        return {key}
    found = {key}
    for which in range(4):
        at_version, at_hash = VERSIONS_AT + 4 * which, HASHES_AT + 32 * which
        child = (
            record[which],
            int.from_bytes(record[at_version : at_version + 4], "big"),
            record[at_hash : at_hash + 32],
        )
        found |= reachable(database, child, pid << 2 | which)
    return found


def check_records(database: Database, height: int, roots: dict[int, StateRoot]) -> None:
    """The stored nodes are exactly those reachable from the window's roots, and the roots are right."""
    expected: set[bytes] = set()
    window = range(max(0, height - WINDOW), height + 1)
    for number in window:
        record = database.get_sealed(root_key(number))
        assert record is not None
        slot = decode_root(record)
        assert slot is not None
        assert wrap_root(slot[2]) == roots[number]
        expected |= reachable(database, slot, ROOT_PID)
    assert set(scan_keys(database, b"XN", b"XO")) == expected
    assert set(scan_keys(database, b"XR", b"XS")) == {root_key(number) for number in window}


@settings(max_examples=40)
@given(genesis=st.one_of(blocks, fills), steps=steps, cache_records=st.sampled_from([0, 5, 1000]))
def test_the_stored_tree_agrees_with_its_definition(
    genesis: Changes, steps: list[tuple[str, Changes]], cache_records: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        database, tree = open_tree(path, cache_records)
        commit(database, tree, tree.begin(Height(0), genesis))
        states = [after({}, genesis)]
        roots = {0: tree.state_root}
        pending: list[Plan] = []
        for action, changes in steps:
            parent = pending[-1] if pending else None
            # `states` ends with the state that the newest plan leads to.
            plan = tree.begin(Height(tree.height + len(pending) + 1), changes, parent)
            expected = after(states[-1], changes)
            assert plan.state_root == root_of(expected)
            if action == "drop":
                continue
            pending.append(plan)
            states.append(expected)
            if action == "stack" and len(pending) < 4:
                continue
            for ready in pending:
                commit(database, tree, ready)
                roots[ready.height] = ready.state_root
            pending.clear()
            if action == "restart":
                database.close()
                database, tree = open_tree(path, cache_records)
            assert tree.state_root == root_of(states[-1])
            check_records(database, tree.height, roots)
        database.close()


@settings(max_examples=20)
@given(first=fills, second=blocks)
def test_a_dropped_plan_leaves_no_trace(first: Changes, second: Changes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database, tree = open_tree(Path(folder) / "state", 100)
        commit(database, tree, tree.begin(Height(0), first))
        before = dict(database.scan_raw(b"", b"\xff"))
        parent = tree.begin(Height(1), second)
        tree.begin(Height(2), {b"plain 1": b"x"}, parent)
        assert dict(database.scan_raw(b"", b"\xff")) == before
        assert tree.begin(Height(1), {}).state_root == tree.state_root
        assert tree.begin(Height(1), second).state_root == parent.state_root
        database.close()


def test_deleting_everything_leaves_the_root_of_nothing() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database, tree = open_tree(Path(folder) / "state", 100)
        filled: Changes = {b"k%d" % number: b"v" for number in range(500)}
        commit(database, tree, tree.begin(Height(0), filled))
        plan = tree.begin(Height(1), dict.fromkeys(filled))
        assert plan.root == EMPTY_SLOT
        assert plan.update.records == {}
        commit(database, tree, plan)
        assert tree.state_root == root_of({})
        database.close()
