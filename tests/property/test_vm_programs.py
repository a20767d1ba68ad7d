"""Random programs of the dialect give what CPython gives; random text never breaks the checker."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import INT_MAX, Value
from tanpo.vm import ENGINES, CallContext, ContractRefused, Machine, Outcome, check_contract, compile_contract

CONTEXT = CallContext(sender="alice", signers=("alice",), time_ms=1, height=1, tx_id=bytes(32))
NUMBERS, TEXTS, FLAGS, LISTS = ("a", "b", "n"), ("s", "t"), ("p", "q"), ("xs", "ys")


class Nothing:
    """An empty state."""

    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return []


def execute(source: str, arguments: dict[str, Value]) -> Outcome:
    compiled, call = compile_contract(source, name="t", interfaces={}), Call.create("t", "main", arguments)
    machines = [Machine({"t": compiled}, engine=engine) for engine in ENGINES.values()]
    first, second = (machine.open_session(Nothing()).run(call, CONTEXT, 1_000_000) for machine in machines)
    assert repr(first) == repr(second), source
    return first


def numbers(depth: int) -> SearchStrategy[str]:
    leaf = st.sampled_from(NUMBERS) | st.integers(-9, 99).map(lambda n: f"({n})")
    if depth == 0:
        return leaf
    inner = numbers(depth - 1)
    return st.one_of(
        leaf,
        st.builds(
            "({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "//", "%", "&", "|", "^"]), inner
        ),
        st.builds("({} if {} else {})".format, inner, flags(depth - 1), inner),
        st.builds("({} << {})".format, inner, st.integers(0, 40)),
        st.builds("{}[{}]".format, st.sampled_from(LISTS), inner),
        st.builds("len({})".format, texts(depth - 1) | lists(depth - 1)),
        st.builds("{}.find({})".format, texts(depth - 1), texts(depth - 1)),
        st.builds("min({}, {})".format, inner, inner),
        st.builds("abs({})".format, inner),
        st.builds("helper({}, {})".format, inner, texts(depth - 1)),
    )


def texts(depth: int) -> SearchStrategy[str]:
    leaf = st.sampled_from(TEXTS) | st.sampled_from(["'ab'", "''", "'\\xe9z'", "'\\\\'"])
    if depth == 0:
        return leaf
    inner = texts(depth - 1)
    return st.one_of(
        leaf,
        st.builds("({} + {})".format, inner, inner),
        st.builds("{}[{}:{}]".format, inner, numbers(depth - 1), numbers(depth - 1)),
        st.builds("str({})".format, numbers(depth - 1)),
        st.sampled_from(["f'{s}-{a}'", "f'{t}'"]),
        st.builds("({} if {} else {})".format, inner, flags(depth - 1), inner),
    )


def flags(depth: int) -> SearchStrategy[str]:
    leaf = st.sampled_from(FLAGS) | st.sampled_from(["True", "False"])
    if depth == 0:
        return leaf
    inner, number = flags(depth - 1), numbers(depth - 1)
    order = st.sampled_from(["<", "<=", "==", "!=", ">", ">="])
    return st.one_of(
        leaf,
        st.builds("({} {} {} {} {})".format, number, order, number, order, number),
        st.builds("({} {} {})".format, texts(depth - 1), order, texts(depth - 1)),
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", "=="]), inner),
        st.builds("(not {})".format, inner),
        st.builds("({} in {})".format, texts(depth - 1), texts(depth - 1)),
        st.builds("({} in {})".format, number, lists(depth - 1)),
        st.builds("({} == {})".format, lists(depth - 1), lists(depth - 1)),
    )


def lists(depth: int) -> SearchStrategy[str]:
    leaf = st.sampled_from(LISTS)
    if depth == 0:
        return leaf
    inner, number = lists(depth - 1), numbers(depth - 1)
    return st.one_of(
        leaf,
        st.builds("[{}, {}]".format, number, number),
        st.builds("({} + {})".format, inner, inner),
        st.builds("sorted({})".format, inner),
        st.builds("{}[{}:]".format, inner, number),
        st.builds("[i * 2 + a for i in {} if i > {}]".format, st.sampled_from(LISTS), st.integers(-3, 3)),
        st.builds("[i for i in range({} % 7)]".format, number),
    )


def indent(blocks: list[str]) -> str:
    return "".join(f"    {line}\n" for block in blocks for line in block.rstrip("\n").split("\n"))


def statements(depth: int) -> SearchStrategy[str]:
    simple = st.one_of(
        st.builds("{} = {}\n".format, st.sampled_from(NUMBERS), numbers(2)),
        st.builds(
            "{} {}= {}\n".format, st.sampled_from(NUMBERS), st.sampled_from(["+", "-", "*"]), numbers(2)
        ),
        st.builds("{} = {}\n".format, st.sampled_from(TEXTS), texts(2)),
        st.builds("{} = {}\n".format, st.sampled_from(FLAGS), flags(2)),
        st.builds("{} = {}\n".format, st.sampled_from(LISTS), lists(2)),
        st.builds("{}.append({})\n".format, st.sampled_from(LISTS), numbers(2)),
        st.builds("{}[{}] = {}\n".format, st.sampled_from(LISTS), numbers(1), numbers(2)),
        st.builds("d[{}] = {}\n".format, texts(1), numbers(2)),
        st.builds("a, s = ({}, {})\n".format, numbers(1), texts(1)),
        st.builds("if {}:\n    return {}\n".format, flags(2), texts(2)),
    )
    if depth == 0:
        return simple
    body = st.lists(statements(depth - 1), min_size=1, max_size=3).map(indent)
    return st.one_of(
        simple,
        st.builds("if {}:\n{}elif {}:\n{}else:\n{}".format, flags(2), body, flags(1), body, body),
        st.builds("for n in range(5):\n{}".format, body),
        st.builds("for n in {}:\n{}    if n > 3:\n        break\n".format, lists(1), body),
        st.builds("while b > 0:\n    b -= 7\n{}    if p:\n        continue\n    b -= 1\n".format, body),
    )


HELPER = "def helper(x: int, y: str) -> int:\n    if x > 3:\n        return len(y) + x\n    return -x\n\n"
END = "    out = str(a) + '|' + str(b) + '|' + s + '|' + t\n"
END += "    for k in sorted(d):\n        out = out + k + str(d[k])\n"
END += "    for x in xs + ys:\n        out = out + ',' + str(x)\n    return out\n"


def write_program(body: list[str]) -> str:
    head = (
        "@entry\ndef main(a: int, b: int, s: str, p: bool) -> str:\n    n = 0\n    t = 'tt'\n    q = not p\n"
    )
    head += "    xs = [a, b, 3]\n    ys = [1]\n    d = {'k': 1}\n"
    return HELPER + head + indent(body) + END


def run_in_python(source: str, arguments: dict[str, Any]) -> tuple[str, str]:
    """Return (result, code) as CPython has it; sizes are left to the dialect."""
    names: dict[str, Any] = {"entry": lambda function: function}
    exec(compile(source, "program", "exec"), names)
    try:
        return names["main"](**arguments), ""
    except IndexError:
        return "", "INDEX"
    except ZeroDivisionError:
        return "", "DIV_ZERO"


@given(
    st.lists(statements(2), min_size=1, max_size=6),
    st.integers(-100, 100),
    st.integers(-5, 60),
    st.text("abé", max_size=4),
    st.booleans(),
)
def test_random_program_gives_what_cpython_gives(body: list[str], a: int, b: int, s: str, p: bool) -> None:
    source = write_program(body)
    arguments: dict[str, Any] = {"a": a, "b": b, "s": s, "p": p}
    try:
        outcome = execute(source, arguments)
    except ContractRefused as refused:
        # The only legitimate reasons: what follows a return, and expressions beyond the limits.
        legitimate = {fault.code for fault in refused.faults} <= {"UNREACHABLE", "BRACKET_DEPTH"}
        if not legitimate:
            raise
        return
    if outcome.code in ("INT_OVERFLOW", "VALUE_SIZE", "OUT_OF_GAS"):
        return
    assert (outcome.value or "", outcome.code) == run_in_python(source, arguments), source


@given(st.text(max_size=200))
@example("\ufeff")
@example("f'{")
@example("@entry\ndef main() -> None:\n    x = '\\x")
@example("\\")
@example("(" * 15)
@example("1_")
def test_any_text_is_checked_without_an_error(text: str) -> None:
    check_contract(text, name="t", interfaces={})


TOKENS = [
    *(
        "@entry",
        "@view",
        "@record",
        "@init",
        "def",
        "class",
        "if",
        "elif",
        "else",
        "for",
        "while",
        "in",
        "not",
    ),
    *("and", "or", "return", "break", "continue", "pass", "del", "abort", "require", "emit", "ctx", "lambda"),
    *(".", ",", ":", "(", ")", "[", "]", "{", "}", "=", "==", "+=", "->", "+", "-", "*", "//", "%", "<<"),
    *(
        "1",
        "0x2",
        "'a'",
        "b'b'",
        "f'{x}'",
        "x",
        "y",
        "Lot",
        "lots",
        "int",
        "str",
        "list",
        "dict",
        "tuple",
        "Map",
    ),
    *("Index", "Contract", "None", "True", "try", "import", "assert", "raise", "yield", "is", "\n", "\n    "),
]


@given(st.lists(st.sampled_from(TOKENS), max_size=60))
def test_any_arrangement_of_tokens_is_checked_without_an_error(tokens: list[str]) -> None:
    check_contract(" ".join(tokens), name="t", interfaces={})


@given(st.integers(-INT_MAX, INT_MAX), st.integers(-INT_MAX, INT_MAX), st.integers(-INT_MAX, INT_MAX))
def test_mul_div_rounds_the_exact_quotient(a: int, b: int, c: int) -> None:
    source = "@entry\ndef main(a: int, b: int, c: int) -> list[int]:\n    return ["
    source += ", ".join(f"mul_div(a, b, c, '{mode}')" for mode in ("DOWN", "UP", "HALF_EVEN")) + "]\n"
    outcome = execute(source, {"a": a, "b": b, "c": c})
    if c == 0:
        assert outcome.code == "DIV_ZERO"
        return
    if not outcome.ok:
        assert outcome.code == "INT_OVERFLOW"
        assert abs(a * b) > INT_MAX * abs(c) - abs(c)
        return
    assert isinstance(outcome.value, tuple)
    down, up, even = (int(part) for part in outcome.value if isinstance(part, int))
    product = a * b
    assert abs(down * c) <= abs(product) <= abs(up * c)
    assert abs(up - down) <= 1
    assert (up == down) == (product % c == 0)
    assert even in (down, up)
    distance = abs(even * c - product) * 2
    assert distance < abs(c) or (distance == abs(c) and even % 2 == 0)
