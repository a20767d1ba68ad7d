"""The state of a contract against a model: any calls, failures and block ends give the same contents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value
from tanpo.vm import ENGINES, GAS_LIMIT_MAX, CallContext, Machine, Session, compile_contract, gas
from tanpo.vm.border import build_exporter, build_importer, export_value
from tanpo.vm.keycodec import build_key_encoder, build_member_codec
from tanpo.vm.types import BOOL, BYTES, INT, STR, DictOf, ListOf, Record, TupleOf
from tanpo.vm.valuecodec import build_decoder, build_encoder

SOURCE = """
@record
class Item:
    count: int
    tags: list[str]

items: Map[str, Item]
numbers: Map[tuple[int, str], int]
held: Index[str, int]
total: int

@entry
def put(key: str, count: int, fails: bool) -> None:
    item = items.get(key, Item(0, []))
    item.count += count
    item.tags.append(key)
    items[key] = item
    numbers[(count, key)] = count
    held.add("g", count)
    total = count
    require(not fails, "FAILS")

@entry
def drop(key: str, count: int, fails: bool) -> None:
    if key in items:
        del items[key]
    if (count, key) in numbers:
        del numbers[(count, key)]
    held.remove("g", count)
    require(not fails, "FAILS")

@view
def look(key: str) -> Item:
    return items.get(key, Item(-1, []))

@view
def count_of(key: str, count: int) -> int:
    return numbers.get((count, key), -1)

@view
def page(after: int, limit: int) -> list[int]:
    return held.page("g", after, limit)

@view
def first(limit: int) -> list[int]:
    return held.first("g", limit)
"""
COMPILED = compile_contract(SOURCE, name="t", interfaces={})
MACHINES = [Machine({"t": COMPILED}, engine=engine) for engine in ENGINES.values()]
CONTEXT = CallContext(sender="alice", signers=("alice",), time_ms=1, height=1, tx_id=bytes(32))


class MemoryState:
    """A committed state in a dict."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return sorted(item for item in self.entries.items() if start <= item[0] < stop)[:limit]


class Model:
    """What the contract should hold."""

    def __init__(self) -> None:
        self.items: dict[str, tuple[int, tuple[str, ...]]] = {}
        self.numbers: dict[tuple[int, str], int] = {}
        self.held: set[int] = set()

    def put(self, key: str, count: int) -> None:
        old, tags = self.items.get(key, (0, ()))
        self.items[key] = (old + count, (*tags, key))
        self.numbers[count, key] = count
        self.held.add(count)

    def drop(self, key: str, count: int) -> None:
        self.items.pop(key, None)
        self.numbers.pop((count, key), None)
        self.held.discard(count)


def view(session: Session, name: str, arguments: dict[str, Value]) -> Value | None:
    outcome = session.view(Call.create("t", name, arguments), CONTEXT, 1_000_000)
    assert outcome.ok, outcome
    return outcome.value


def compare(session: Session, model: Model, keys: list[str], counts: list[int]) -> None:
    for key in keys:
        count, tags = model.items.get(key, (-1, ()))
        assert view(session, "look", {"key": key}) == {"count": count, "tags": tags}
        for number in counts:
            found = view(session, "count_of", {"key": key, "count": number})
            assert found == model.numbers.get((number, key), -1)
    listed = sorted(model.held)
    assert view(session, "first", {"limit": 3}) == tuple(listed[:3])
    for after in counts:
        wanted = tuple(number for number in listed if number > after)[:2]
        assert view(session, "page", {"after": after, "limit": 2}) == wanted


KEYS = ["", "a", "a:b", "é"]
COUNTS = [-(2**70), -256, -1, 0, 1, 2**61 - 1, 2**200]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "drop", "commit"]),
        st.sampled_from(KEYS),
        st.sampled_from(COUNTS),
        st.booleans(),
    ),
    max_size=25,
)


@pytest.mark.parametrize("machine", MACHINES, ids=list(ENGINES))
@given(STEPS)
def test_any_history_agrees_with_the_model(machine: Machine, steps: list[tuple[str, str, int, bool]]) -> None:
    state, model = MemoryState(), Model()
    session = machine.open_session(state)
    for step, key, count, fails in steps:
        if step == "commit":
            for name, value in session.collect_changes().items():
                if value is None:
                    state.entries.pop(name, None)
                else:
                    state.entries[name] = value
            session = machine.open_session(state)
            continue
        arguments: dict[str, Value] = {"key": key, "count": count, "fails": fails}
        outcome = session.run(Call.create("t", step, arguments), CONTEXT, 1_000_000)
        assert outcome.ok is not fails, outcome
        if not fails:
            (model.put if step == "put" else model.drop)(key, count)
    compare(session, model, KEYS, COUNTS)


@pytest.mark.parametrize("machine", MACHINES, ids=list(ENGINES))
@given(STEPS)
def test_a_restarted_session_is_as_good_as_a_new_one(
    machine: Machine, steps: list[tuple[str, str, int, bool]]
) -> None:
    """A node that has run for a year and one that has just started must agree, gas included."""
    state = MemoryState()
    kept, fresh = machine.open_session(state), machine.open_session(state)
    for step, key, count, fails in steps:
        if step == "commit":
            changes = kept.collect_changes()
            assert changes == fresh.collect_changes()
            after = MemoryState()
            after.entries.update(state.entries)
            for name, value in changes.items():
                if value is None:
                    after.entries.pop(name, None)
                else:
                    after.entries[name] = value
            state.entries.clear()  # Nothing may still be read from the state before.
            state = after
            kept.restart(state)
            fresh = machine.open_session(state)
            continue
        call = Call.create("t", step, {"key": key, "count": count, "fails": fails})
        assert kept.run(call, CONTEXT, 1_000_000) == fresh.run(call, CONTEXT, 1_000_000)
        listing = Call.create("t", "first", {"limit": 3})
        assert kept.view(listing, CONTEXT, 1_000_000) == fresh.view(listing, CONTEXT, 1_000_000)
    kept.restart(state)  # What was not collected is gone.
    assert kept.collect_changes() == {}


INNER = Record("t", "Inner", (("name", STR), ("raw", BYTES)))
OUTER = Record(
    "t",
    "Outer",
    (("flag", BOOL), ("rows", ListOf(INNER)), ("by", DictOf(INT, STR)), ("pair", TupleOf((INT, STR)))),
)
NAMES = st.text(max_size=8).filter(
    lambda text: text.isascii() or text.encode("utf-8", "ignore").decode() == text
)
NUMBERS = st.integers(-(2**60), 2**60)
OUTERS = st.builds(
    lambda flag, rows, by, pair: [flag, rows, by, pair],
    st.booleans(),
    st.lists(st.builds(lambda name, raw: [name, raw], NAMES, st.binary(max_size=5)), max_size=4),
    st.dictionaries(NUMBERS, NAMES, max_size=4),
    st.tuples(st.integers(-(2**255) + 1, 2**255 - 1), NAMES),
)


@given(OUTERS)
def test_values_survive_the_state_and_the_border(value: list[object]) -> None:
    assert build_decoder(OUTER)(build_encoder(OUTER)(value)) == value
    outside = export_value(build_exporter(OUTER), value)
    meter = [GAS_LIMIT_MAX]
    assert build_importer(OUTER)(outside, meter) == value
    assert GAS_LIMIT_MAX - meter[0] == gas.CALL_WEIGHT * (gas.weigher(OUTER)(value, GAS_LIMIT_MAX) - 1)


MEMBER = TupleOf((INT, STR, BYTES, BOOL))
MEMBERS = st.tuples(st.integers(-(2**255), 2**255), NAMES, st.binary(max_size=4), st.booleans())


@given(st.lists(MEMBERS, max_size=8))
def test_members_keep_their_order_and_keys_stay_distinct(members: list[tuple[int, str, bytes, bool]]) -> None:
    encode, decode = build_member_codec(MEMBER)
    assert [decode(data) for data in sorted(encode(member) for member in members)] == sorted(members)
    spell = build_key_encoder(MEMBER)
    assert len({spell(member) for member in members}) == len(set(members))
