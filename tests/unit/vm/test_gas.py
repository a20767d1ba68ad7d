"""Gas: the same for the same work, charged before it is done, and priced by size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from tanpo.vm import Outcome, gas, ir
from tanpo.vm.gas import weigher
from tanpo.vm.helpers import build_helpers
from tanpo.vm.outcome import Abort
from tanpo.vm.typed_helpers import build_copier, build_typed_helper
from tanpo.vm.types import BOOL, BYTES, INT, STR, DictOf, ListOf, Record, TupleOf, Type

if TYPE_CHECKING:
    Chain = Any

Evaluate = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("kind", "value", "weight"),
    [
        (INT, 5, 1),
        (BOOL, True, 1),
        (STR, "", 1),
        (STR, "a" * 31, 1),
        (STR, "a" * 32, 2),
        (BYTES, b"a" * 64, 3),
        (TupleOf((INT, STR)), (1, "a" * 32), 4),
        (TupleOf((TupleOf((STR,)),)), (("a" * 32,),), 4),
        (TupleOf((TupleOf((INT, ListOf(STR))),)), ((1, ["a", "b"]),), 9),
        (ListOf(INT), [1, 2, 3], 7),
        (ListOf(STR), ["a" * 32, "b"], 7),
        (DictOf(STR, INT), {"a": 1, "b": 2}, 10),
        (DictOf(STR, INT), {str(key): 1 for key in range(2048)}, 4 + 2048 * 3),
        (DictOf(INT, INT), dict.fromkeys(range(1023), 1), 4 + 1023 * 3),
        (DictOf(INT, INT), dict.fromkeys(range(2048), 1), 4 + 2048 * 11),
        (Record("t", "R", (("a", INT), ("b", STR), ("c", ListOf(INT)))), [1, "x", [1, 2]], 9),
        (Record("t", "R", (("a", INT), ("b", BOOL))), [1, True], 3),
    ],
)
def test_weight_counts_values_and_long_texts(kind: Type, value: object, weight: int) -> None:
    assert weigher(kind)(value, 100_000) == weight


def test_call_charges_its_base_the_arguments_and_the_block(evaluate: Evaluate) -> None:
    assert evaluate("return 1").gas_used == gas.CALL_BASE + 2 + gas.RESULT_WEIGHT
    assert evaluate("return a", a=1).gas_used == gas.CALL_BASE + gas.CALL_WEIGHT + 2 + gas.RESULT_WEIGHT
    assert (
        evaluate("return 1", a=1, s="x" * 320).gas_used
        == gas.CALL_BASE + 12 * gas.CALL_WEIGHT + 2 + gas.RESULT_WEIGHT
    )


PAIRS = tuple((number, 1) for number in range(4_000))


@pytest.mark.parametrize(
    ("kind", "value", "weight"),
    [
        ("int", 1, 1),
        ("list[tuple[int, bool]]", ((1, True),) * 3, 13),
        ("list[list[int]]", ((),) * 4_000, 4 + 4 * 4_000),
        ("dict[str, str]", (("a", "b" * 64),), 9),
        ("dict[int, int]", PAIRS, 4 + 4_000 * (3 + gas.PROBED_WEIGHT)),
        ("list[R]", ({"a": 1, "b": "x"},) * 2, 10),
        ("bytes", bytes(64), 3),
    ],
)
def test_arguments_are_paid_for_before_they_enter(chain: Chain, kind: str, value: Any, weight: int) -> None:
    record = "@record\nclass R:\n    a: int\n    b: str\n\n" if "R" in kind else ""
    chain.deploy(f"{record}@entry\ndef main(x: {kind}) -> None:\n    return\n")
    enough = gas.CALL_BASE + gas.CALL_WEIGHT * weight
    assert chain.run("main", x=value, gas=enough).line != 0
    assert chain.run("main", x=value, gas=enough - 1).line == 0


def test_argument_that_cannot_be_paid_for_is_not_looked_at(chain: Chain) -> None:
    chain.deploy("@entry\ndef main(x: list[list[int]]) -> None:\n    return\n")
    wrong = ((), ((), "no list of integers"))
    assert chain.code("main", x=wrong) == "ARGUMENT_TYPE"
    assert chain.code("main", x=wrong, gas=gas.CALL_BASE + gas.CALL_WEIGHT) == "OUT_OF_GAS"


def test_each_turn_of_a_loop_is_charged(evaluate: Evaluate) -> None:
    used = [evaluate(f"for i in range({n}):\n    pass\nreturn 1").gas_used for n in (0, 1, 10)]
    assert used[1] - used[0] == gas.LOOP
    assert used[2] - used[0] == 10 * gas.LOOP


def test_comprehension_is_charged_before_its_first_turn(evaluate: Evaluate) -> None:
    outcome = evaluate("xs = [i for i in range(1 << 100)]\nreturn len(xs)")
    assert (outcome.code, outcome.gas_used) == ("OUT_OF_GAS", 1_000_000)


def test_larger_operands_cost_more(evaluate: Evaluate) -> None:
    body = "t = s\nfor i in range({}):\n    t = t + t\nx = {}\nreturn 1"
    for work in ("t + t", "sorted([t, t])", "sha256(b'a' if t == '' else b'b')", "t[1:]", "t.find('zz')"):
        small = evaluate(body.format(2, work), s="ab").gas_used
        large = evaluate(body.format(9, work), s="ab").gas_used
        assert large > small + 7


def test_state_is_charged_by_the_size_of_the_value(evaluate: Evaluate) -> None:
    before = "m: Map[str, str]\n"
    small = evaluate("m['a'] = s\nx = m['a']\nreturn 1", before=before, s="x").gas_used
    large = evaluate("m['a'] = s\nx = m['a']\nreturn 1", before=before, s="x" * 320).gas_used
    assert large - small == 10 * (gas.CALL_WEIGHT + gas.STORE_WEIGHT + gas.READ_WEIGHT)


@pytest.mark.parametrize("use", ["p = 'a' in m", "del m['a']", "xs = m.get('a', [1])", "xs = m['a']"])
def test_whatever_is_asked_of_a_value_of_the_state_is_charged_by_its_size(
    use: str, evaluate: Evaluate
) -> None:
    before = "m: Map[str, list[int]]\n"
    small, large = (
        evaluate(f"m['a'] = [0 for i in range(1000)]\nm['a'] = [{items}]\n{use}\nreturn 1", before=before)
        for items in ("", "0, 0, 0, 0, 0, 0, 0, 0, 0, 0")
    )
    assert large.gas_used - small.gas_used == 10 * (1 + gas.STORE_WEIGHT + gas.READ_WEIGHT)


def test_only_the_branch_taken_is_charged(evaluate: Evaluate) -> None:
    body = "if a == 1:\n    x = 1\n    x = 2\n    x = 3\nelse:\n    x = 1\nreturn x"
    assert evaluate(body, a=1).gas_used == evaluate(body, a=2).gas_used + 4


def test_result_is_charged_by_its_size_before_it_leaves(evaluate: Evaluate) -> None:
    body = "t = s\nfor i in range(11):\n    t = t + t\nreturn [t for i in range(4000)]"
    assert evaluate(body, "list[str]", s="ab").code == "OUT_OF_GAS"
    assert evaluate("return [1, 2, 3]", "list[int]").gas_used - evaluate(
        "return [1]", "list[int]"
    ).gas_used == 2 * (1 + gas.RESULT_WEIGHT)


def test_event_is_charged_by_its_size(evaluate: Evaluate) -> None:
    small, large = (evaluate("emit('E', s=s)\nreturn 1", s="x" * size) for size in (0, 320))
    assert large.gas_used - small.gas_used == 10 * (gas.CALL_WEIGHT + gas.EMIT_WEIGHT)


MANY_TIMES = """
xs = [0 for i in range(4000)]
ys = [xs for i in range(4000)]
zs = [ys for i in range(4000)]
"""


@pytest.mark.parametrize(
    ("work", "code"),
    [
        ("if zs == zs:\n    return 1", "OUT_OF_GAS"),
        ("if zs in [zs]:\n    return 1", "OUT_OF_GAS"),
        ("emit('Many', zs=zs)", "OUT_OF_GAS"),
        ("x = cubes.get(1, zs)", "OUT_OF_GAS"),
        ("cubes[1] = zs", "VALUE_SIZE"),
        ("cube = zs", "VALUE_SIZE"),
    ],
)
def test_what_holds_one_list_many_times_is_neither_counted_nor_copied_to_the_end(
    work: str, code: str, evaluate: Evaluate
) -> None:
    before = "cube: list[list[list[int]]]\ncubes: Map[int, list[list[list[int]]]]"
    assert evaluate(f"{MANY_TIMES}{work}\nreturn 0", before=before).code == code


def test_the_default_of_a_read_is_charged_by_its_weight(evaluate: Evaluate) -> None:
    used = [
        evaluate(
            f"xs = [0 for i in range({count})]\nx = m.get(1, xs)\nreturn 1", before="m: Map[int, list[int]]"
        ).gas_used
        for count in (0, 1)
    ]
    turn = gas.price_turn(ir.Const(INT, 0), None)
    assert used[1] - used[0] == turn + gas.READ_WEIGHT


def test_a_comprehension_runs_over_the_items_it_has_paid_for(evaluate: Evaluate) -> None:
    before = "def grow(xs: list[int]) -> int:\n    xs.append(1)\n    return len(xs)"
    outcome = evaluate(
        "xs = [1, 1]\nys = [grow(xs) for x in xs]\nreturn len(ys) * 10 + len(xs)", before=before
    )
    assert outcome.value == 24


def test_what_is_sought_in_an_empty_list_is_charged_for(evaluate: Evaluate) -> None:
    """It is weighed before anybody knows that there is nothing to compare it with."""
    body = "big = [['a'] for i in range(4000)]\nnone = [big]\nbig = none.pop()\nx = True\n{}return 1"
    few, many = (evaluate(body.format("x = big in none\n" * count)).gas_used for count in (1, 11))
    weight = weigher(ListOf(ListOf(STR)))([["a"]] * 4000, 100_000)
    static = gas.price_expression(ir.Op(BOOL, "contains.list", (ir.Local(INT, "a"),) * 2)) + 1
    assert many - few == 10 * (static + weight)


def test_seeking_an_integer_key_is_charged_by_the_size_of_the_dict(evaluate: Evaluate) -> None:
    """Keys can be crafted so that one probes past all others, though their hashes differ."""
    body = "d: dict[int, bool] = {{}}\nfor i in range({}):\n    d[i] = True\n{}return 1"
    for work in ("x = 7 in d\n", "x = d.get(7, False)\n", "x = d[7]\n", "d[7] = True\n"):
        used = [
            [evaluate(body.format(size, work * count)).gas_used for count in (1, 2)] for size in (32, 640)
        ]
        small, large = (twice - once for once, twice in used)
        assert large - small == 640 // gas.PROBES_PER_GAS - 32 // gas.PROBES_PER_GAS


def test_text_keys_are_salted_and_cost_the_same_in_any_dict(evaluate: Evaluate) -> None:
    body = "d: dict[str, bool] = {{}}\nfor i in range({}):\n    d[str(i)] = True\n{}return 1"
    used = [
        [evaluate(body.format(size, "x = '7' in d\n" * count)).gas_used for count in (1, 2)]
        for size in (32, 640)
    ]
    assert used[0][1] - used[0][0] == used[1][1] - used[1][0]


def test_deleted_keys_are_not_stepped_over() -> None:
    """CPython keeps their places until a dict grows."""
    helpers = build_helpers([10**9])
    entries = dict.fromkeys(range(4096), True)
    full = entries.__sizeof__()
    for key in range(4095):
        helpers["del_key"](entries, key)
    assert entries == {4095: True}
    assert entries.__sizeof__() * 100 < full


def test_order_of_keys_survives_deletions() -> None:
    helpers = build_helpers([10**9])
    entries = dict.fromkeys(range(4095, -1, -1), True)
    for key in range(4000):
        helpers["del_key"](entries, key)
    assert list(entries) == list(range(4095, 3999, -1))


def test_details_of_a_failure_are_charged_by_their_size(evaluate: Evaluate) -> None:
    short, long, none = (
        evaluate(f"s = '{'x' * size}'\nabort('X'{details})")
        for size, details in ((0, ", a=s, b=1"), (320, ", a=s, b=1"), (0, ""))
    )
    assert {short.code, long.code, none.code} == {"X"}
    assert long.gas_used - short.gas_used == 10 * gas.EMIT_WEIGHT
    assert short.gas_used - none.gas_used >= 2 * gas.EMIT_WEIGHT


def test_failure_whose_details_cannot_be_paid_for_is_out_of_gas(chain: Chain) -> None:
    chain.deploy("@entry\ndef main() -> None:\n    abort('X', a='b')\n")
    needed = chain.run("main").gas_used
    assert chain.code("main", gas=needed) == "X"
    assert chain.code("main", gas=needed - 1) == "OUT_OF_GAS"


WIDE_KEYS = """
wide: Map[tuple[int, int, int, int, int, int, int], int]
narrow: Map[tuple[int, int], int]
wide_members: Index[tuple[int, int, int, int, int, int, int], tuple[int, int, int, int, int, int, int]]
narrow_members: Index[tuple[int, int], tuple[int, int]]

@entry
def main(w: tuple[int, int, int, int, int, int, int], n: tuple[int, int]) -> int:
    {}
    return 1
"""


@pytest.mark.parametrize(
    ("work", "parts"),
    [
        ("{0}[{1}] = 1", 3),
        ("x = {1} in {0}", 3),
        ("x = {0}.get({1}, 1)", 3),
        ("{0}[{1}] = {0}.get({1}, 1) + 1", 6),
        ("{0}[{1}] = 1\n    del {0}[{1}]", 6),
        ("{0}_members.add({1}, {1})", 6),
        ("{0}_members.remove({1}, {1})", 6),
        ("x = {0}_members.contains({1}, {1})", 6),
        ("x = {0}_members.first({1}, 10)", 33),
        ("x = {0}_members.page({1}, {1}, 10)", 36),
    ],
)
def test_each_part_of_a_long_key_is_charged(chain: Chain, work: str, parts: int) -> None:
    used = []
    for name, key in (("narrow", "n"), ("wide", "w")):
        chain.deploy(WIDE_KEYS.format(work.format(name, key)))
        used.append(chain.run("main", w=(1, 2, 3, 4, 5, 6, 7), n=(1, 2)).gas_used)
    assert used[1] - used[0] == parts * gas.KEY_PART


@pytest.mark.parametrize("kind", [TupleOf((ListOf(INT),)), Record("t", "R", (("a", ListOf(INT)),))])
def test_rows_of_one_part_are_copied_to_the_end(kind: Type) -> None:
    row: Any = [[1, 2]] if isinstance(kind, Record) else ([1, 2],)
    copied: Any = build_copier(kind)(row)
    assert copied == row
    assert type(copied) is type(row)
    assert copied[0] is not row[0]


def test_each_comparison_of_a_chain_on_text_is_charged(evaluate: Evaluate) -> None:
    """Texts of 4,096 bytes may take 16 KB, and are compared to their end if they are equal."""
    used = [evaluate(f"s = 'a'\nx = {' == '.join('s' * count)}\nreturn 1").gas_used for count in (2, 3, 12)]
    each = 1 + gas.COMPARE_TEXT
    assert [one - used[0] for one in used] == [0, each, 10 * each]
    plain = evaluate("x = a == a\nreturn 1", a=1).gas_used - evaluate("x = a\nreturn 1", a=1).gas_used
    text = evaluate("x = s == s\nreturn 1", s="").gas_used - evaluate("x = s\nreturn 1", s="").gas_used
    assert text - plain == gas.COMPARE_TEXT


class Weighed(list[Any]):
    """A list that knows how many of its items were looked at."""

    seen = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self.seen += 1
            yield item


def test_nothing_is_weighed_further_than_the_gas_left_pays_for() -> None:
    kind = ListOf(ListOf(STR))
    first, second = Weighed([[]] * 4000), Weighed([[]] * 4000)
    with pytest.raises(Abort, match="OUT_OF_GAS"):
        build_typed_helper("same", kind)([1000])(first, second)
    assert first.seen <= 1001
    assert second.seen == 0
    handed = Weighed([[]] * 4000)
    with pytest.raises(Abort, match="OUT_OF_GAS"):
        build_typed_helper("pass", kind)([1000])(handed)
    assert handed.seen <= 1000 // gas.PASS_WEIGHT + 1
    assert build_typed_helper("same", kind)([2 * (4 + 4 * 4000)])(first, second)
