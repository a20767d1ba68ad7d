"""What a worker expects calls to read, from what calls before them read."""

from __future__ import annotations

from collections.abc import Mapping

from tanpo.ledger.statekey import index_key
from tanpo.ledger.transaction import Call
from tanpo.ledger.types import TxId
from tanpo.ledger.values import Value
from tanpo.node.tasks import Task, TaskKind
from tanpo.node.worker.forecast import BLOCKS_ATTENTIVE, PATTERNS_MAX, Forecast
from tanpo.vm.keycodec import build_key_encoder, slot_prefix
from tanpo.vm.types import INT, STR, TupleOf

encode_pair = build_key_encoder(TupleOf((STR, STR)))
encode_text = build_key_encoder(STR)
encode_int = build_key_encoder(INT)


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


def test_a_key_of_sender_and_argument_is_expected_of_every_such_call() -> None:
    forecast = Forecast()
    first = make_task({"instrument": "bond-1"})
    assert forecast.note_miss(first, plain("positions", encode_pair(("dealer-a", "bond-1"))), []) == []
    later = [make_task({"instrument": "bond-2"}, "dealer-b"), make_task({"instrument": "x"}, entry="look")]
    assert forecast.list_keys(later) == [plain("positions", encode_pair(("dealer-b", "bond-2")))]


def test_the_first_miss_of_its_kind_names_the_keys_of_the_calls_behind_it() -> None:
    forecast = Forecast()
    tasks = [make_task({"account": f"account-{number}"}) for number in range(4)]
    keys = [plain("freezes", encode_pair(("trust-bank", f"account-{number}"))) for number in range(4)]
    assert forecast.note_miss(tasks[0], keys[0], tasks[1:]) == keys[1:]
    assert forecast.note_miss(tasks[1], keys[1], tasks[2:]) == []


def test_of_values_that_stand_at_several_places_those_of_one_item_go_together() -> None:
    def swap(first: str, second: str) -> Task:
        legs = (
            {"giver": first, "instrument": "bond-1", "taker": second},
            {"giver": second, "instrument": "cash-1", "taker": first},
        )
        return make_task({"legs": legs})

    forecast = Forecast()
    for account, instrument in (("a-1", "bond-1"), ("b-1", "bond-1")):
        forecast.note_miss(swap("a-1", "b-1"), plain("positions", encode_pair((account, instrument))), [])
    assert set(forecast.list_keys([swap("c-3", "d-4")])) == {
        plain("positions", encode_pair((account, instrument)))
        for account in ("c-3", "d-4")
        for instrument in ("bond-1", "cash-1")
    }


def test_keys_of_numbers_and_of_indexes_are_expected_too() -> None:
    forecast = Forecast()
    task = make_task({"number": 7, "party": "dealer-a/main"})
    forecast.note_miss(task, plain("proposals", encode_int(7)), [])
    forecast.note_miss(task, indexed("open_of", encode_text("dealer-a/main"), encode_int(7)), [])
    assert forecast.list_keys([make_task({"number": 70_000, "party": "b"})]) == [
        plain("proposals", encode_int(70_000)),
        indexed("open_of", encode_text("b"), encode_int(70_000)),
    ]


def test_a_key_that_owes_nothing_to_the_call_teaches_nothing() -> None:
    forecast = Forecast()
    task = make_task({"text": "something"})
    assert forecast.note_miss(task, plain("count", b""), [task]) == []
    assert forecast.note_miss(task, b"", [task]) == []
    assert forecast.note_miss(task, b"\x01\x01\xff", [task]) == []
    assert forecast.list_keys([task]) == []


def test_patterns_are_bounded_and_the_oldest_goes() -> None:
    forecast = Forecast()
    for number in range(PATTERNS_MAX + 1):
        forecast.note_miss(
            make_task({"key": "some-key"}), plain(f"slot_{number}", encode_text("some-key")), []
        )
    keys = forecast.list_keys([make_task({"key": "other"})])
    assert len(keys) == PATTERNS_MAX
    assert plain("slot_0", encode_text("other")) not in keys


def test_nobody_looks_at_calls_while_everything_is_known() -> None:
    forecast = Forecast()
    task = make_task({"key": "some-key"})
    forecast.note_miss(task, plain("slot", encode_text("some-key")), [])
    for _ in range(BLOCKS_ATTENTIVE):
        assert forecast.list_keys([task])
    assert forecast.list_keys([task]) == []
    forecast.note_miss(task, plain("other", encode_text("some-key")), [])
    assert len(forecast.list_keys([task])) == 2
