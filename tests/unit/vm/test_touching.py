"""The first touch of a key: each transaction pays for it once, whatever happened before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tanpo.ledger.errors import CorruptState
from tanpo.vm import gas

if TYPE_CHECKING:
    Chain = Any

SOURCE = """
total: int
m: Map[str, int]
by_number: Map[int, int]
members: Index[int, int]

@entry
def prepare() -> None:
    total = 1
    for i in range(5):
        m[str(i)] = i
        by_number[i] = i
        members.add(1, i)

@entry
def main(k: str, n: int, breaks: bool) -> int:
    {}
    require(not breaks, "BROKEN")
    return 1
"""

WORK = [
    "total = total + 1",
    "x = m[k]",
    "x = m.get(k, 1)",
    "x = k in m",
    "m[k] = 1",
    "m[k] += 1",
    "m[k] = 7\n    del m[k]\n    m[k] = 7",
    "x = by_number[n]",
    "by_number[n] = 1",
    "x = n in by_number",
    "x = members.contains(1, n)",
    "members.add(1, n)\n    members.remove(1, n)\n    members.add(1, n)",
]


@pytest.fixture
def prepared(chain: Chain, request: pytest.FixtureRequest) -> Chain:
    chain.deploy(SOURCE.format(request.param))
    assert chain.run("prepare").ok
    chain.commit()
    return chain


def spend(chain: Chain, *, k: str = "1", n: int = 1, breaks: bool = False) -> int:
    outcome = chain.run("main", k=k, n=n, breaks=breaks)
    assert outcome.code == ("BROKEN" if breaks else "")
    return int(outcome.gas_used)


@pytest.mark.parametrize("prepared", WORK, indirect=True)
def test_key_costs_the_same_whatever_was_read_or_written_before(prepared: Chain) -> None:
    first = spend(prepared)
    assert spend(prepared) == first
    spend(prepared, breaks=True)
    assert spend(prepared) == first
    prepared.commit()
    assert spend(prepared) == first


@pytest.mark.parametrize("prepared", [f"{one}\n    {one}" for one in WORK], indirect=True)
def test_key_is_paid_for_once_in_a_transaction(prepared: Chain) -> None:
    twice = spend(prepared)
    prepared.deploy(SOURCE.format("pass"))
    nothing = spend(prepared)
    assert gas.TOUCH < twice - nothing < 2 * gas.TOUCH


PAIRS = [
    ("x = m[k]", 'x = m["2"]'),
    ("m[k] = 1", 'm["2"] = 1'),
    ("x = k in m", 'm["none"] = 1'),
    ("by_number[n] = 1", "x = 2 in by_number"),
    ("x = members.contains(1, n)", "members.add(2, 1)"),
    ("x = members.contains(1, n)", "x = members.contains(2, n)"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_each_key_is_paid_for(chain: Chain, one: str, other: str) -> None:
    used = []
    for work in ("pass", f"{one}\n    {one}", f"{one}\n    {other}"):
        chain.deploy(SOURCE.format(work))
        chain.run("prepare")
        used.append(spend(chain))
    assert [(each - used[0]) // gas.TOUCH for each in used] == [0, 1, 2]


@pytest.mark.parametrize("prepared", ["m[k] = 9\n    members.add(9, n)\n    total = 9"], indirect=True)
def test_what_a_failed_transaction_wrote_is_not_read_by_the_next(prepared: Chain) -> None:
    spend(prepared, k="new", n=8, breaks=True)
    assert prepared.commit() == {}
    spend(prepared, k="new", n=8)
    assert len(prepared.commit()) == 3


@pytest.mark.parametrize("prepared", ["x = members.first(1, 2)"], indirect=True)
def test_each_question_of_a_page_is_paid_for(prepared: Chain) -> None:
    spent = spend(prepared)
    assert gas.SCAN < spent < 2 * gas.SCAN
    prepared.deploy(SOURCE.format("x = members.first(1, 2)\n    x = members.first(1, 2)"))
    assert 2 * gas.SCAN < spend(prepared) < 3 * gas.SCAN
    # Three removed: two are stepped over by the first question, and the third by the next.
    removed = "for i in range(3):\n        members.remove(1, i)\n    "
    prepared.deploy(SOURCE.format(f"{removed}x = 1"))
    alone = spend(prepared, breaks=True)
    prepared.deploy(SOURCE.format(f"{removed}x = members.first(1, 2)"))
    assert 2 * gas.SCAN < spend(prepared, breaks=True) - alone < 3 * gas.SCAN


@pytest.mark.parametrize("prepared", ["x = m[k]"], indirect=True)
def test_key_that_cannot_be_paid_for_is_not_read(prepared: Chain) -> None:
    needed = spend(prepared)
    prepared.commit()
    prepared.state.entries.clear()
    outcome = prepared.run("main", k="1", n=1, breaks=False, gas=needed - 1_000)
    assert (outcome.code, outcome.gas_used) == ("OUT_OF_GAS", needed - 1_000)


HEAVY = """
m: Map[str, dict[str, list[int]]]

@entry
def one() -> None:
    d: dict[str, list[int]] = {}
    d["z"] = [1]
    d["a"] = [i for i in range(200)]
    m["k"] = d

@entry
def two() -> None:
    d = m["k"]
    d["z"] = [i for i in range(2100)]
    m["k"] = d

@entry
def three() -> None:
    d = m["k"]
    d["z"] = [i for i in range(2100)]
    m["k"] = {"z": d["z"], "a": d["a"]}

@entry
def look() -> bool:
    return "k" in m
"""


@pytest.mark.parametrize("entry", ["two", "three"])
def test_entry_that_is_too_heavy_costs_the_same_in_any_order_of_its_keys(chain: Chain, entry: str) -> None:
    chain.deploy(HEAVY)
    assert chain.run("one").ok
    cached = chain.run(entry)
    chain.commit()
    assert cached.code == "VALUE_SIZE"
    assert chain.run(entry) == cached


def test_value_that_cannot_be_paid_for_is_not_read_to_its_end(chain: Chain) -> None:
    chain.deploy(HEAVY)
    assert chain.run("one").ok
    (key,) = chain.commit()
    needed = chain.run("look").gas_used
    chain.commit()
    chain.state.entries[key] = b"\xff" * 8_000
    outcome = chain.run("look", gas=needed)
    assert (outcome.code, outcome.gas_used) == ("OUT_OF_GAS", needed)
    with pytest.raises(CorruptState):
        chain.run("look", gas=needed + 1_500)


HELD = """
v: {0}

@entry
def put(x: {0}) -> None:
    v = x

@view
def look() -> None:
    x = v
"""


@pytest.mark.parametrize(
    "kind",
    ["list[int]", "dict[str, bool]", "list[list[str]]", "tuple[str, list[int], dict[int, tuple[int]]]"],
)
def test_value_of_many_small_parts_that_cannot_be_paid_for_is_not_decoded(chain: Chain, kind: str) -> None:
    value: Any = tuple(range(60))
    value = {
        "dict[str, bool]": tuple((f"{number:02}", True) for number in value),
        "list[list[str]]": (("",) * 20,) * 3,
        "tuple[str, list[int], dict[int, tuple[int]]]": (
            "",
            value,
            tuple((number, (1,)) for number in value),
        ),
    }.get(kind, value)
    chain.deploy(HELD.format(kind))
    assert chain.run("put", x=value).ok
    (key,) = chain.commit()
    needed = chain.view("look").gas_used
    stored = chain.state.entries[key]
    for gas_limit in (needed - 1, needed - 100):
        # A byte more is no spelling any more, which a decoder would notice.
        chain.state.entries[key] = stored + b"\xff"
        cold = chain.view("look", gas=gas_limit)
        assert (cold.code, cold.gas_used) == ("OUT_OF_GAS", gas_limit)
        chain.commit()
        chain.state.entries[key] = stored
        assert chain.view("look").ok
        assert chain.view("look", gas=gas_limit) == cold
        chain.commit()
    chain.state.entries[key] = stored + b"\xff"
    with pytest.raises(CorruptState):
        chain.view("look")
