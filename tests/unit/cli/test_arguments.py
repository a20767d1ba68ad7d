"""Arguments are typed by the contract's interface, across contracts, and wrong ones are named."""

from __future__ import annotations

import pytest
from tanpo.cli.arguments import Interfaces, split_types
from tanpo.ledger.errors import Reason, TransactionRejected

INTERFACES = Interfaces(
    {
        "register": {
            "contract": "register",
            "entries": [],
            "views": [{"name": "free", "parameters": [{"name": "account", "type": "str"}], "returns": "int"}],
            "records": [
                {
                    "name": "Leg",
                    "fields": [{"name": "to", "type": "str"}, {"name": "tag", "type": "Tag"}],
                },
                {"name": "Tag", "fields": [{"name": "hash", "type": "bytes"}]},
            ],
        },
        "market": {
            "contract": "market",
            "entries": [
                {
                    "name": "swap",
                    "parameters": [
                        {"name": "legs", "type": "list[register.Leg]"},
                        {"name": "limit", "type": "int"},
                        {"name": "firm", "type": "bool"},
                    ],
                    "returns": "None",
                },
                {
                    "name": "shapes",
                    "parameters": [
                        {"name": "pair", "type": "tuple[int, str]"},
                        {"name": "table", "type": "dict[str, list[int]]"},
                    ],
                    "returns": "None",
                },
            ],
            "views": [],
            "records": [],
        },
    }
)


def test_records_of_another_contract_are_found_where_they_are_declared() -> None:
    legs = '[{"to": "dealer-a", "tag": {"hash": "00ff"}}]'
    found = INTERFACES.parse_arguments(
        "market", "entries", "swap", [f"legs={legs}", "limit=1_000", "firm=true"]
    )
    assert found == {"legs": ({"to": "dealer-a", "tag": {"hash": b"\x00\xff"}},), "limit": 1000, "firm": True}


def test_tuples_and_tables_take_json() -> None:
    found = INTERFACES.parse_arguments(
        "market", "entries", "shapes", ['pair=[1, "x"]', 'table={"a": [1, 2], "b": []}']
    )
    assert found == {"pair": (1, "x"), "table": {"a": (1, 2), "b": ()}}


def test_text_is_taken_as_it_stands() -> None:
    found = INTERFACES.parse_arguments("register", "views", "free", ["account=12=x"])
    assert found == {"account": "12=x"}


@pytest.mark.parametrize(
    ("given", "reason", "value"),
    [
        (["limit"], Reason.ARGUMENT_TYPE, "limit"),
        (["limt=1"], Reason.ARGUMENT_UNKNOWN, "limt"),
        (["limit=1", "limit=2"], Reason.ARGUMENT_UNKNOWN, "limit"),
        (["limit=1"], Reason.ARGUMENT_MISSING, "legs, firm"),
        (["limit=1.5"], Reason.ARGUMENT_TYPE, "1.5"),
        (["limit=" + "9" * 89], Reason.ARGUMENT_RANGE, "296 bits"),
        (["limit=" + "9" * 5000], Reason.ARGUMENT_RANGE, "5000 characters"),
        (["limit=\uff11"], Reason.ARGUMENT_TYPE, "\uff11"),
        (["firm=yes"], Reason.ARGUMENT_TYPE, "yes"),
        (["legs=[1.5]"], Reason.ARGUMENT_TYPE, "[1.5]"),
        (["legs={"], Reason.ARGUMENT_TYPE, "{"),
        (["legs=" + "[" * 100_000], Reason.ARGUMENT_TYPE, None),
        (["legs=[1]"], Reason.ARGUMENT_TYPE, "1"),
        (["legs={}"], Reason.ARGUMENT_TYPE, "{}"),
        (['legs=[{"to": "a"}]'], Reason.ARGUMENT_TYPE, "tag"),
        (['legs=[{"to": "a", "tag": {"hash": "00"}, "more": 1}]'], Reason.ARGUMENT_TYPE, "more"),
        (['legs=[{"to": "a", "tag": {"hash": "0"}}]'], Reason.ARGUMENT_TYPE, "0"),
        (['legs=[{"to": true, "tag": {"hash": "00"}}]'], Reason.ARGUMENT_TYPE, "true"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_value(
    given: list[str], reason: Reason, value: str | None
) -> None:
    with pytest.raises(TransactionRejected) as refused:
        INTERFACES.parse_arguments("market", "entries", "swap", given)
    assert refused.value.reason is reason
    assert refused.value.limit
    assert refused.value.remedy
    if value is not None:
        assert refused.value.value == value


@pytest.mark.parametrize(
    ("contract", "kind", "function", "reason"),
    [
        ("casino", "entries", "swap", Reason.CONTRACT_UNKNOWN),
        ("market", "entries", "buy", Reason.ENTRY_UNKNOWN),
        ("market", "views", "swap", Reason.ENTRY_UNKNOWN),
    ],
)
def test_an_unknown_contract_or_function_is_refused(
    contract: str, kind: str, function: str, reason: Reason
) -> None:
    with pytest.raises(TransactionRejected) as refused:
        INTERFACES.parse_arguments(contract, kind, function, [])
    assert refused.value.reason is reason


def test_types_are_split_at_the_outer_commas_only() -> None:
    assert split_types("str, list[tuple[int, str]], int") == ["str", "list[tuple[int, str]]", "int"]
