"""What a worker expects calls to read, from what calls before them read, and what it may spend on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
from tanpo.ledger.statekey import index_key
from tanpo.ledger.transaction import Call
from tanpo.ledger.types import TxId
from tanpo.ledger.values import Value
from tanpo.node.tasks import Task, TaskKind
from tanpo.node.worker import patterns
from tanpo.node.worker.forecast import (
    BLOCKS_ATTENTIVE,
    KEYS_BASE,
    KEYS_PER_TASK,
    LESSONS_MAX,
    PATTERNS_MAX,
    WORK_BASE,
    WORK_PER_TASK,
    Forecast,
)
from tanpo.node.worker.patterns import KEY_BYTES_MAX, TURNS_MAX, VALUES_MAX, list_values
from tanpo.vm.keycodec import build_key_encoder, slot_prefix
from tanpo.vm.types import INT, STR, TupleOf

encode_pair = build_key_encoder(TupleOf((STR, STR)))
encode_text = build_key_encoder(STR)
encode_int = build_key_encoder(INT)


class Counted(Mapping[str, Value]):
    """A record that counts how many of its fields were looked at."""

    def __init__(self, fields: dict[str, Value]) -> None:
        self.fields = fields
        self.looks = 0

    def __getitem__(self, name: str) -> Value:
        self.looks += 1
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)


def make_task(arguments: Mapping[str, Value], sender: str = "dealer-a", entry: str = "move") -> Task:
    call = Call.create("register", entry, arguments)
    return Task(
        kind=TaskKind.ENTRY,
        call=call,
        encoded_call=b"",
        sender=sender,
        signers=(sender,),
        tx_id=TxId(bytes(32)),
        gas_limit=1,
    )


def plain(slot: str, spelled: bytes) -> bytes:
    return b"\x01\x00" + slot_prefix("register", slot) + spelled


def indexed(slot: str, group: bytes, member: bytes) -> bytes:
    return index_key(slot_prefix("register", slot) + len(group).to_bytes(2, "big") + group, member)


def teach(forecast: Forecast, task: Task, *keys: bytes) -> None:
    """Let a block of one task miss these keys."""
    forecast.begin([task])
    for key in keys:
        assert forecast.note_miss(0, key) == []


def test_a_key_of_sender_and_argument_is_expected_of_every_such_call() -> None:
    forecast = Forecast()
    first = make_task({"instrument": "bond-1"})
    teach(forecast, first, plain("positions", encode_pair(("dealer-a", "bond-1"))))
    later = [make_task({"instrument": "bond-2"}, "dealer-b"), make_task({"instrument": "x"}, entry="look")]
    assert forecast.begin(later) == [plain("positions", encode_pair(("dealer-b", "bond-2")))]


def test_the_first_miss_of_its_kind_names_the_keys_of_the_calls_behind_it() -> None:
    forecast = Forecast()
    tasks = [make_task({"account": f"account-{number}"}) for number in range(4)]
    keys = [plain("freezes", encode_pair(("trust-bank", f"account-{number}"))) for number in range(4)]
    forecast.begin(tasks)
    assert forecast.note_miss(0, keys[0]) == keys[1:]
    assert forecast.note_miss(1, keys[1]) == []


def test_of_values_that_stand_at_several_places_those_of_one_item_go_together() -> None:
    def swap(first: str, second: str) -> Task:
        legs = (
            {"giver": first, "instrument": "bond-1", "taker": second},
            {"giver": second, "instrument": "cash-1", "taker": first},
        )
        return make_task({"legs": legs})

    forecast = Forecast()
    accounts = ("a-1", "b-1")
    teach(
        forecast,
        swap(*accounts),
        *(plain("positions", encode_pair((account, "bond-1"))) for account in accounts),
    )
    assert set(forecast.begin([swap("c-3", "d-4")])) == {
        plain("positions", encode_pair((account, instrument)))
        for account in ("c-3", "d-4")
        for instrument in ("bond-1", "cash-1")
    }


def test_keys_of_numbers_and_of_indexes_are_expected_too() -> None:
    forecast = Forecast()
    teach(
        forecast,
        make_task({"number": 7, "party": "dealer-a/main"}),
        plain("proposals", encode_int(7)),
        indexed("open_of", encode_text("dealer-a/main"), encode_int(7)),
    )
    assert forecast.begin([make_task({"number": 70_000, "party": "b"})]) == [
        plain("proposals", encode_int(70_000)),
        indexed("open_of", encode_text("b"), encode_int(70_000)),
    ]


def test_a_key_that_owes_nothing_to_the_call_teaches_nothing() -> None:
    forecast = Forecast()
    task = make_task({"text": "something"})
    teach(forecast, task, plain("count", b""), b"", b"\x01\x01\xff")
    assert forecast.begin([task]) == []


def test_patterns_are_bounded_and_the_oldest_goes() -> None:
    forecast = Forecast()
    slots = [f"slot_{number}" for number in range(PATTERNS_MAX + 1)]
    teach(forecast, make_task({"key": "some-key"}), *(plain(slot, encode_text("some-key")) for slot in slots))
    keys = forecast.begin([make_task({"key": "other"})])
    assert len(keys) == PATTERNS_MAX
    assert plain("slot_0", encode_text("other")) not in keys


def test_nobody_looks_at_calls_while_everything_is_known() -> None:
    forecast = Forecast()
    task = make_task({"key": "some-key"})
    teach(forecast, task, plain("slot", encode_text("some-key")))
    for _ in range(BLOCKS_ATTENTIVE):
        assert forecast.begin([task])
    assert forecast.begin([task]) == []
    teach(forecast, task, plain("other", encode_text("some-key")))
    assert len(forecast.begin([task])) == 2


def test_guesses_that_were_not_known_keep_the_worker_attentive() -> None:
    forecast = Forecast()
    task = make_task({"key": "some-key"})
    teach(forecast, task, plain("slot", encode_text("some-key")))
    for _ in range(3 * BLOCKS_ATTENTIVE):
        assert forecast.take(forecast.begin([task]))


def test_a_key_too_long_to_be_one_is_not_expected() -> None:
    forecast = Forecast()
    teach(forecast, make_task({"key": "some-key"}), plain("slot", encode_text("some-key")))
    long = "x" * (KEY_BYTES_MAX - len(plain("slot", b"")) - 1)
    assert forecast.begin([make_task({"key": long})]) == []
    assert forecast.begin([make_task({"key": long[:-1]})]) == [plain("slot", encode_text(long[:-1]))]


@pytest.mark.parametrize(
    "arguments",
    [
        {"items": tuple(range(4_096))},
        {"items": tuple(tuple(range(50)) for _ in range(80))},
        {"items": tuple(() for _ in range(4_096))},
        {"items": tuple(True for _ in range(4_096))},
        {f"name_{number}": "same" for number in range(4_096)},
    ],
)
def test_of_a_call_the_first_values_are_looked_at_whatever_is_in_it(arguments: dict[str, Value]) -> None:
    values, count = list_values(make_task(arguments))
    assert count == VALUES_MAX
    assert sum(len(several) for name, several in values.items() if name[0] == "arguments") <= VALUES_MAX


def test_a_record_is_not_walked_past_the_last_value_that_counts() -> None:
    fields = Counted({f"name_{number}": "text" for number in range(4_096)})
    list_values(make_task({"record": fields}))
    assert fields.looks <= VALUES_MAX


def test_a_call_is_looked_at_once_a_block_however_much_it_misses() -> None:
    forecast = Forecast()
    fields = Counted({"key": "some-key", "other": "something"})
    keys = [plain(f"slot_{number}", encode_text("some-key")) for number in range(LESSONS_MAX)]
    teach(forecast, make_task({"record": fields}), *keys)
    assert fields.looks == len(fields)


def test_lessons_of_a_block_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    studied: list[bytes] = []

    def find_pattern(key: bytes, values: patterns.Values) -> patterns.Pattern | None:
        studied.append(key)
        return patterns.find_pattern(key, values)

    monkeypatch.setattr("tanpo.node.worker.forecast.find_pattern", find_pattern)
    forecast = Forecast()
    tasks = [make_task({"key": f"key-{number}"}) for number in range(20)]
    for block in range(1, 3):
        forecast.begin(tasks)
        for miss in range(50 * len(tasks)):
            forecast.note_miss(miss // 50, plain(f"slot_{block}_{miss}", encode_text(f"key-{miss // 50}")))
        assert len(studied) == block * LESSONS_MAX


def name_many(number: int) -> dict[str, Value]:
    """Return arguments of many names, at which the same values stand in another order."""
    return {f"name_{place:03d}": f"value-{(number + place) % 100}" for place in range(2 * VALUES_MAX)}


def list_many(number: int) -> dict[str, Value]:
    return {"name": f"value-{number}", "keys": tuple(f"{number}-{place}" for place in range(VALUES_MAX))}


@pytest.mark.parametrize("arguments_of", [name_many, list_many])
@pytest.mark.parametrize("count", [1, 20, 200])
def test_what_a_block_is_expected_to_read_is_bounded_by_its_count_of_calls(
    arguments_of: Callable[[int], dict[str, Value]], count: int
) -> None:
    forecast = Forecast()
    tasks = [make_task(arguments_of(number)) for number in range(count)]
    spelled = [encode_text("value-0"), encode_text("0-0")]
    work = WORK_BASE + WORK_PER_TASK * count
    forecast.begin(tasks)
    learned = [forecast.note_miss(0, plain(f"slot_{miss}", spelled[miss % 2])) for miss in range(1_000)]
    assert sum(map(len, learned)) <= work
    expected = forecast.begin(tasks)
    assert 0 < len(expected) <= min(work, TURNS_MAX * PATTERNS_MAX * count)
    taken = [*forecast.take(expected), *forecast.take(expected)]
    assert len(taken) == min(2 * len(expected), KEYS_BASE + KEYS_PER_TASK * count)
