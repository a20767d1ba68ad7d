"""What expressions and statements mean, and the code with which each can fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tanpo.ledger.values import INT_MAX, Value
from tanpo.vm import Outcome
from tanpo.vm.scope import RUNTIME_CODES

Evaluate = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("expression", "returns", "value"),
    [
        ("7 // 2", "int", 3),
        ("-7 // 2", "int", -4),
        ("-7 % 3", "int", 2),
        ("7 % -3", "int", -2),
        ("2 + 3 * 4 - 1", "int", 13),
        ("6 & 3 | 8 ^ 1", "int", 11),
        ("1 << 254 >> 254", "int", 1),
        ("-5 >> 1", "int", -3),
        ("abs(-5) + min(3, 1, 2) * max(4, 5)", "int", 10),
        ("mul_div(7, 3, 2, 'DOWN')", "int", 10),
        ("mul_div(7, 3, 2, 'UP')", "int", 11),
        ("mul_div(7, 3, 2, 'HALF_EVEN')", "int", 10),
        ("mul_div(9, 3, 2, 'HALF_EVEN')", "int", 14),
        ("mul_div(-7, 3, 2, 'DOWN')", "int", -10),
        ("mul_div(-7, 3, 2, 'UP')", "int", -11),
        ("mul_div(1 << 254, 1 << 254, 1 << 254, 'DOWN')", "int", 1 << 254),
        ("div_round(5, 2, 'HALF_EVEN')", "int", 2),
        ("div_round(-5, 2, 'HALF_EVEN')", "int", -2),
        ("div_round(8, 3, 'HALF_EVEN')", "int", 3),
        ("1 < 2 <= 2 != 3", "bool", True),
        ("not (1 == 1 and 2 > 3 or False)", "bool", True),
        ("'b' > 'a'", "bool", True),
        ("'a' >= 'a'", "bool", True),
        ("(1, 'b') < (1, 'c')", "bool", True),
        ("(1, 'b') == (1, 'b')", "bool", True),
        ("[1, 2] != [1, 2]", "bool", False),
        ("'ell' in 'hello'", "bool", True),
        ("3 not in [1, 2]", "bool", True),
        ("b'\\x01' in b'\\x00\\x01'", "bool", True),
        ("'hello'[1:3] + 'hello'[-1] + 'hello'[:2]", "str", "eloh" + "e"),
        ("'hello'.find('l') - 'hello'.find('z')", "int", 3),
        ("'hello'.startswith('he') and 'hello'.endswith('lo')", "bool", True),
        ("', '.join(['a', 'b'])", "str", "a, b"),
        ("str(-12) + str(0)", "str", "-120"),
        ("int('-0012')", "int", -12),
        ("len('abc') + len([1]) + len({1: 2}) + len(b'xy')", "int", 7),
        ("b'ab'[1] + b'\\xff'[0]", "int", 98 + 255),
        ("sorted([3, 1, 2])", "list[int]", (1, 2, 3)),
        ("sorted({'b': 1, 'a': 2})", "list[str]", ("a", "b")),
        ("[1, 2] + [3]", "list[int]", (1, 2, 3)),
        ("[x * x for x in range(2, 5)]", "list[int]", (4, 9, 16)),
        ("[c for c in 'abc' if c != 'b']", "list[str]", ("a", "c")),
        ("[x for x in {2: 'b', 1: 'a'}]", "list[int]", (1, 2)),
        ("{2: 'b', 1: 'a'}", "dict[int, str]", ((1, "a"), (2, "b"))),
        ("{'a': 1}.get('b', 5) + {'a': 1}['a']", "int", 6),
        ("(1, 'x', b'y', True)", "tuple[int, str, bytes, bool]", (1, "x", b"y", True)),
        ("'yes' if 1 < 2 else 'no'", "str", "yes"),
        ("len(sha256(b''))", "int", 32),
        ("ctx.sender + ctx.contract + ctx.signers[0]", "str", "alicetalice"),
        ("ctx.time + ctx.height", "int", 1007),
        ("ctx.tx_id", "bytes", bytes(32)),
    ],
)
def test_expression_has_the_value_python_gives_it(
    expression: str, returns: str, value: Value, evaluate: Evaluate
) -> None:
    outcome = evaluate(f"return {expression}", returns)
    assert outcome.ok, outcome
    assert outcome.value == value
    assert type(outcome.value) is type(value)


FAILURES = [
    ("INT_OVERFLOW", f"return {INT_MAX} + a"),
    ("INT_OVERFLOW", f"return -{INT_MAX} - a"),
    ("INT_OVERFLOW", "return (1 << 200) * (1 << 200)"),
    ("INT_OVERFLOW", "return a << 255"),
    ("INT_OVERFLOW", f"return mul_div({INT_MAX}, 2, a, 'DOWN')"),
    ("INT_OVERFLOW", f"x = [i for i in range({INT_MAX} + a)]\nreturn len(x)"),
    ("INT_OVERFLOW", f"return (-{INT_MAX}) & -2"),
    ("DIV_ZERO", "return 1 // (a - 1)"),
    ("DIV_ZERO", "return 1 % (a - 1)"),
    ("DIV_ZERO", "return mul_div(1, 1, a - 1, 'UP')"),
    ("DIV_ZERO", "return div_round(1, a - 1, 'UP')"),
    ("KEY", "return {1: 2}[5]"),
    ("KEY", "d = {1: 2}\ndel d[5]\nreturn 1"),
    ("INDEX", "return [1, 2][a + 1]"),
    ("INDEX", "return len('abc'[a + 2])"),
    ("INDEX", "x: list[int] = []\nreturn x.pop()"),
    ("INDEX", "x = [1]\nx[a << 200] = 3\nreturn 1"),
    ("VALUE_SIZE", "s = 'x'\nwhile True:\n    s = s + s"),
    ("VALUE_SIZE", "b = b'x'\nwhile True:\n    b = b + b"),
    ("VALUE_SIZE", "x = [1]\nwhile True:\n    x = x + x"),
    ("VALUE_SIZE", "x = [1]\nfor i in x:\n    x.append(i)\nreturn 1"),
    ("VALUE_SIZE", "return len([i for i in range(5000)])"),
    ("VALUE_SIZE", "d: dict[int, int] = {}\nfor i in range(5000):\n    d[i] = i\nreturn 1"),
    ("VALUE_SIZE", "saved = [i for i in range(3000)]\nreturn 1"),
    ("VALUE_SIZE", "for i in range(1001):\n    emit('E', i=i)\nreturn 1"),
    ("SHIFT_RANGE", "return a << 256"),
    ("SHIFT_RANGE", "return a >> -1"),
    ("KEY_RANGE", "d = {2305843009213693951: a}\nreturn len(d)"),
    ("KEY_RANGE", "d = {0: a}\nd[1 << 100] = 1\nreturn 1"),
    ("KEY_RANGE", "s = 'x'\nfor i in range(10):\n    s = s + s\ntext[s] = 1\nreturn 1"),
    ("KEY_RANGE", "s = 'x'\nfor i in range(10):\n    s = s + s\nreturn text[s]"),
    ("STATE_MISSING", "return text['none']"),
    ("STATE_MISSING", "del text['none']\nreturn 1"),
    ("STATE_MISSING", "return total"),
    ("INT_PARSE", "return int('')"),
    ("INT_PARSE", "return int('1_0')"),
    ("INT_PARSE", "return int(' 1')"),
    ("INT_PARSE", "return int('" + "9" * 78 + "')"),
    ("INT_PARSE", "return int('" + "1" * 79 + "')"),
    ("OUT_OF_GAS", "while True:\n    a += 1"),
    ("OUT_OF_GAS", "return len([i for i in range(1 << 200)])"),
    ("MINE", "abort('MINE')"),
]
COUNTER = "hits: Map[int, int]\ncount: int\ndef next() -> int:\n    count += 1\n    return count\n"
BEFORE = "text: Map[str, int]\ntotal: int\nsaved: list[int]\n"


@pytest.mark.parametrize(("code", "body"), FAILURES)
def test_failure_has_its_fixed_code_and_names_the_line(code: str, body: str, evaluate: Evaluate) -> None:
    outcome = evaluate(body, before=BEFORE, a=1)
    assert (outcome.ok, outcome.code) == (False, code)
    assert outcome.line >= 6
    assert outcome.value is None
    assert outcome.events == ()


def test_every_runtime_code_is_reached_somewhere() -> None:
    elsewhere = {"REENTRANT", "CALL_DEPTH"}  # test_cross.py
    reserved = {"ARG_TYPE", "ARG_SIZE"}  # arguments are refused before a contract runs
    assert {code for code, _ in FAILURES} >= RUNTIME_CODES - elsewhere - reserved


def test_line_of_a_failure_is_that_of_its_statement(evaluate: Evaluate) -> None:
    outcome = evaluate("x = [1]\ny = [\n    x[0],\n    x[9],\n]\nreturn y[0]")
    assert (outcome.code, outcome.line) == ("INDEX", 5)


@pytest.mark.parametrize("branch", range(4))
def test_line_inside_an_elif_chain_is_that_of_its_test(branch: int, evaluate: Evaluate) -> None:
    body = (
        "if a == 0:\n    return 1 // a\nelif 5 // (a - 1) == 9:\n    return 0\n"
        "elif 5 // (a - 2) == 9:\n    return 0\nreturn [1][a]"
    )
    outcome = evaluate(body, a=branch)
    assert outcome.line == {0: 5, 1: 6, 2: 8, 3: 10}[branch]


def test_line_of_a_failed_helper_is_inside_the_helper(evaluate: Evaluate) -> None:
    outcome = evaluate("return low(a)", before="def low(x: int) -> int:\n    return 1 // x\n", a=0)
    assert (outcome.code, outcome.line) == ("DIV_ZERO", 2)


def test_abort_carries_named_values_in_order_of_name(evaluate: Evaluate) -> None:
    outcome = evaluate("require(a > 1, 'LOW', value=a, least=2, who=ctx.sender)\nreturn a", a=1)
    assert outcome.code == "LOW"
    assert outcome.details == (("least", 2), ("value", 1), ("who", "alice"))


def test_details_are_evaluated_only_on_failure(evaluate: Evaluate) -> None:
    outcome = evaluate("require(a == 1, 'LOW', value=1 // (a - 1))\nreturn a", a=1)
    assert outcome.value == 1


def test_and_or_and_conditional_stop_early(evaluate: Evaluate) -> None:
    outcome = evaluate("return 1 if a == 0 or 1 // a == 1 and (a == 1 or 1 // 0 == 1) else 2", a=1)
    assert outcome.value == 1


def test_dict_is_listed_in_order_of_key_whatever_the_order_of_insertion(evaluate: Evaluate) -> None:
    body = (
        "d = {'c': 1}\nd['a'] = 2\nd['b'] = 3\nt = ''\nfor k in d:\n    t = t + k\n    d['z'] = 1\nreturn t"
    )
    assert evaluate(body, "str").value == "abc"


def test_augmented_assignment_evaluates_its_target_once(evaluate: Evaluate) -> None:
    body = (
        "count = 0\nhits[1] = 10\nhits[next()] += 5\nxs = [1, 2, 3]\nxs[next()] += 5\n"
        "return hits[1] * 100 + xs[2]"
    )
    assert evaluate(body, before=COUNTER).value == 1508


def test_value_of_a_store_is_evaluated_before_its_key(evaluate: Evaluate) -> None:
    assert evaluate("count = 0\nhits[next()] = next()\nreturn hits[2]", before=COUNTER).value == 1


def test_break_continue_and_nested_loops(evaluate: Evaluate) -> None:
    body = (
        "t = 0\nfor i in range(5):\n    if i == 1:\n        continue\n"
        "    j = 0\n    while True:\n        j += 1\n"
        "        if j > i:\n            break\n    t = t * 10 + j\n    if i == 3:\n        break\nreturn t"
    )
    assert evaluate(body).value == 134


def test_text_is_limited_in_bytes_not_characters(evaluate: Evaluate) -> None:
    body = "t = s\nfor i in range(12):\n    t = t + t\nreturn len(t)"
    assert evaluate(body, s="é").code == "VALUE_SIZE"
    assert evaluate(body, s="e").value == 4096


def test_booleans_are_not_integers_and_equality_is_by_type(evaluate: Evaluate) -> None:
    outcome = evaluate("return [a == 1, a == 0, not (a == 1)]", "list[bool]", a=1)
    assert outcome.value == (True, False, False)


def test_constants_fold_and_may_be_tuples(evaluate: Evaluate) -> None:
    before = "SCALE = 10 * 100 - 1\nPAIR = (SCALE, -2)\nNAME: str = 'n'\nRAW = b'\\x00'\n"
    assert evaluate("x, y = PAIR\nreturn f'{NAME}{x}{y}'", "str", before=before).value == "n999-2"


def test_comprehension_variable_is_its_own(evaluate: Evaluate) -> None:
    assert evaluate("x = 5\nys = [x + 1 for x in range(3)]\nreturn x * 10 + ys[2]").value == 53
