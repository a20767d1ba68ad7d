"""The stored tree against its definition: blocks, stacked and dropped plans, restarts, small caches."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tanpo.ledger.statekey import EMPTY, compute_state_root, index_key, path_of, value_hash, wrap_root
from tanpo.ledger.types import Height, StateRoot
from tanpo.storage import Plan, StateTree
from tanpo.storage.database import Database, scan_keys
from tanpo.storage.proving import prove_keys
from tanpo.storage.reading import TreeSource, read_node, read_root
from tanpo.storage.records import EMPTY_SLOT, INNER, INNER_STORED_BYTES, ROOT_PID, Slot, child_slot, root_key

WINDOW = 3
FILE_BYTES = 3_000
"""A file for every block or two, so that they are dropped and what is in use is lifted."""

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
    return database, StateTree.open(
        database, window=WINDOW, cache_records=cache_records, file_bytes=FILE_BYTES
    )


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


def reachable(source: TreeSource, slot: Slot, pid: int) -> dict[int, int]:
    """Return the positions of the records below a slot, each with its length, after checking the slots."""
    count, position, low, digest = slot
    if count == 0:
        assert slot == EMPTY_SLOT
        assert digest == EMPTY
        return {}
    record = read_node(source, pid, slot)
    assert record is not None
    size = INNER_STORED_BYTES if count == INNER else len(record)
    found = {int.from_bytes(position, "big"): size}
    if count == INNER:
        for which in range(4):
            found |= reachable(source, child_slot(record, which), pid << 2 | which)
    assert int.from_bytes(low, "big") == min(found)
    assert int.from_bytes(position, "big") == max(found)
    return found


def check_records(tree: StateTree, height: int, roots: dict[int, StateRoot]) -> None:
    """All nodes of the window's roots are stored, the roots are right, and they count what they reach."""
    database = tree.source.database
    window = range(max(0, height - WINDOW), height + 1)
    for number in window:
        root = read_root(database, number)
        assert root is not None
        assert wrap_root(root.slot[3]) == roots[number]
        found = reachable(tree.source, root.slot, ROOT_PID)
        assert root.live == sum(found.values())
        assert root.low == min(found, default=root.end)
    assert set(scan_keys(database, b"XR", b"XS")) == {root_key(number) for number in window}


def close(database: Database, tree: StateTree) -> None:
    tree.close()
    database.close()


def measure_log(tree: StateTree) -> int:
    return sum(size for _, size in tree.source.log.list_ends(tree.root.end))


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
                close(database, tree)
                database, tree = open_tree(path, cache_records)
            assert tree.state_root == root_of(states[-1])
            check_records(tree, tree.height, roots)
        close(database, tree)


@settings(max_examples=20)
@given(first=fills, second=blocks)
def test_a_dropped_plan_leaves_no_trace(first: Changes, second: Changes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database, tree = open_tree(Path(folder) / "state", 100)
        commit(database, tree, tree.begin(Height(0), first))
        before, size = dict(database.scan_raw(b"", b"\xff")), measure_log(tree)
        parent = tree.begin(Height(1), second)
        tree.begin(Height(2), {b"plain 1": b"x"}, parent)
        assert dict(database.scan_raw(b"", b"\xff")) == before
        assert measure_log(tree) == size
        assert tree.begin(Height(1), {}).state_root == tree.state_root
        assert tree.begin(Height(1), second).state_root == parent.state_root
        close(database, tree)


def test_deleting_everything_leaves_the_root_of_nothing() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database, tree = open_tree(Path(folder) / "state", 100)
        filled: Changes = {b"k%d" % number: b"v" for number in range(500)}
        commit(database, tree, tree.begin(Height(0), filled))
        plan = tree.begin(Height(1), dict.fromkeys(filled))
        assert plan.root.slot == EMPTY_SLOT
        assert plan.update.records == {}
        commit(database, tree, plan)
        assert tree.state_root == root_of({})
        close(database, tree)


def test_the_log_stays_short_although_some_keys_are_never_written_again() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        database, tree = open_tree(path, 1000)
        state: State = {b"k%d" % number: b"first" for number in range(400)}
        commit(database, tree, tree.begin(Height(0), state))
        roots, farthest = {0: tree.state_root}, 0.0
        for height in range(1, 200):
            changes: Changes = {b"k%d" % ((height + number) % 20): b"v%d" % height for number in range(8)}
            commit(database, tree, tree.begin(Height(height), changes))
            state = after(state, changes)
            roots[height] = tree.state_root
            oldest = read_root(database, tree.oldest)
            assert oldest is not None
            # What the window wrote, thirteen times what is in use, and a few blocks and files more.
            behind = measure_log(tree) - (tree.root.end - oldest.end)
            assert behind <= 13 * tree.root.live + 5 * FILE_BYTES
            farthest = max(farthest, behind / tree.root.live)
        check_records(tree, 199, roots)
        # Far more was written, and it did become that long.
        assert tree.root.end > 30 * tree.root.live
        assert farthest > 8
        assert tree.state_root == root_of(state)
        assert sum(file.stat().st_size for file in path.glob("*.nodes")) == measure_log(tree)
        close(database, tree)


def test_the_oldest_file_goes_although_blocks_go_on_writing_all_over_the_tree() -> None:
    """Some keys change all the time and most hardly ever, and a tenth of what is written is new."""
    source, count = random.Random(1), 4_000
    with tempfile.TemporaryDirectory() as folder:
        database, tree = open_tree(Path(folder) / "state", 10_000)
        commit(database, tree, tree.begin(Height(0), {b"k%d" % number: b"first" for number in range(count)}))
        farthest = 0.0
        for height in range(1, 700):
            numbers = [source.randrange(200 if source.random() < 0.8 else count) for _ in range(18)]
            numbers += range(count, count + 2)
            count += 2
            commit(database, tree, tree.begin(Height(height), {b"k%d" % n: b"%d" % height for n in numbers}))
            farthest = max(farthest, measure_log(tree) / tree.root.live)
        assert tree.root.end > 15 * tree.root.live
        assert 8 < farthest < 12
        close(database, tree)


def test_a_block_that_changes_nothing_writes_nothing() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database, tree = open_tree(Path(folder) / "state", 1000)
        commit(database, tree, tree.begin(Height(0), {b"k%d" % number: b"first" for number in range(400)}))
        for height in range(1, 100):
            changes: Changes = {b"k%d" % (height % 20): b"v%d" % height} if height % 2 else {}
            plan = tree.begin(Height(height), changes)
            assert bool(plan.update.parts) == bool(changes)
            commit(database, tree, plan)
        assert prove_keys(tree.source, Height(99), [b"k399"])
        close(database, tree)
