"""Hostile contracts and programs: each is refused when checked, or ends with a code inside its gas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tanpo.vm import Outcome, check_contract

Evaluate = Callable[..., Outcome]


def main(body: str) -> str:
    """Return a contract whose entry point has the given body."""
    return "@entry\ndef main(s: str, a: int) -> None:\n" + "".join(
        f"    {line}\n" for line in body.split("\n")
    )


REFUSED = {
    "attribute walk": main("x = s.__class__.__mro__"),
    "subclass walk": main("x = ().__class__.__bases__[0].__subclasses__()"),
    "globals of a function": main("x = main.__globals__"),
    "format string": main("x = '{0.__class__}'.format(s)"),
    "format without underscores": main("x = '{0.x}'.format(s)"),
    "format_map": main("x = s.format_map({'a': s})"),
    "width bomb": main("x = f'{s:>1000000000}'"),
    "nested f-string": main("x = f'{f\"{s}\"}'"),
    "f-string conversion": main("x = f'{s!r}'"),
    "debug f-string": main("x = f'{s=}'"),
    "generator frame": main("x = (i for i in [1]).gi_frame"),
    "coroutine": "@entry\nasync def main() -> None:\n    await main()\n",
    "async generator": "@entry\nasync def main() -> None:\n    yield 1\n",
    "swallowing out of gas": main(
        "while True:\n    try:\n        x = 1\n    except Exception:\n        pass"
    ),
    "finally continue": main("while True:\n    try:\n        x = 1\n    finally:\n        continue"),
    "except star": main("try:\n    x = 1\nexcept* ValueError as e:\n    pass"),
    "exception object": main("try:\n    s.x\nexcept AttributeError as e:\n    y = e.obj"),
    "shadowed guard": "@entry\ndef main(require: str) -> None:\n    pass\n",
    "shadowed guard by loop": main("for require in [1]:\n    pass"),
    "shadowed guard by function": "def require(a: bool, b: str) -> None:\n    pass\n" + main("pass"),
    "shadowed guard by class": "@record\nclass require:\n    x: int\n" + main("pass"),
    "decorator call": "@exec\n@input\nclass X:\n    pass\n" + main("pass"),
    "decorator expression": "@(lambda f: f)\ndef g() -> None:\n    pass\n" + main("pass"),
    "class body code": "@record\nclass X:\n    print(1)\n" + main("pass"),
    "getitem protocol": "@record\nclass X:\n    x: int\n    def __getitem__(self) -> int:\n        pass\n",
    "class getitem": "@record\nclass X:\n    __class_getitem__ = exec\n",
    "normalised identifier": main("\uff45val = 1"),
    "mathematical identifier": main("x = \U0001d41e\U0001d431"),
    "right to left override": "# \u202e evil\n" + main("pass"),
    "carriage return": main("# harmless\rx = 1"),
    "null byte": main("x = 1\0"),
    "match class pattern": main("match s:\n    case str(x=y):\n        pass"),
    "nested comprehension bomb": main("x = " + "[a for a in " * 12 + "[1]" + "]" * 12),
    "parenthesis bomb": main("x = " + "(" * 200 + "1" + ")" * 200),
    "bracket bomb": main("x = " + "[" * 5000),
    "unary bomb": main("x = " + "-" * 290 + "1"),
    "not bomb": main("x = " + "not " * 90 + "True"),
    "long chain": main("x = " + "+".join(["0"] * 180)),
    "long comparison": main("x = " + "<".join(["a"] * 160)),
    "elif bomb": main("if a == 0:\n    pass\n" + "elif a == 1:\n    pass\n" * 3000),
    "indent bomb": main(
        "\n".join("    " * i + "if a == 1:" for i in range(99)) + "\n" + "    " * 99 + "pass"
    ),
    "number bomb": main("x = " + "9" * 5000),
    "power": main("x = 9 ** 9 ** 9"),
    "string repetition": main("x = s * 1000000"),
    "recursion": "@entry\ndef main() -> None:\n    main()\n",
    "mutual recursion": "def f() -> None:\n    g()\ndef g() -> None:\n    f()\n" + main("f()"),
    "set order": main("for x in {'a', 'b'}:\n    pass"),
    "hash": main("x = hash(s)"),
    "identity": main("x = id(s)"),
    "debug constant": main("x = __debug__"),
    "locale-dependent case": main("x = s.upper()"),
    "time": main("x = time.time()"),
    "walrus in comprehension": main("x = [y := 1 for i in range(3)]"),
    "star import": "from os import *\n" + main("pass"),
    "type parameter": "@entry\ndef main[T](a: T) -> None:\n    pass\n",
    "type statement": "type X = int\n" + main("pass"),
    "default argument": "@entry\ndef main(a: list[int] = []) -> None:\n    pass\n",
    "annotation as code": "@entry\ndef main(a: exec('x')) -> None:\n    pass\n",
    "string annotation": "@entry\ndef main(a: 'exec(1)') -> None:\n    pass\n",
    "code as detail name": main("abort('X', **{'a b': 1})"),
    "line continuation": main("x = 1 + \\\n  2"),
    "encoding cookie": "# -*- coding: utf-7 -*-\n" + main("x = s.decode()"),
}


@pytest.mark.parametrize("source", REFUSED.values(), ids=REFUSED.keys())
def test_hostile_source_is_refused(source: str) -> None:
    assert check_contract(source, name="t", interfaces={})


def test_longest_legal_elif_chains_are_checked_and_run(evaluate: Evaluate) -> None:
    body = "if a == 0:\n    return 0\n" + "".join(f"elif a == {i}:\n    return {i}\n" for i in range(1, 41))
    outcome = evaluate(body + "return -1", a=40)
    assert outcome.value == 40


def test_chains_of_elif_inside_each_other_are_bounded() -> None:
    body, pad = "", ""
    for _ in range(6):
        body += (
            f"{pad}if a == 0:\n{pad}    pass\n" + f"{pad}elif a == 1:\n{pad}    pass\n" * 30 + f"{pad}else:\n"
        )
        pad += "    "
    faults = check_contract(main(f"{body}{pad}pass"), name="t", interfaces={})
    assert {fault.code for fault in faults} == {"INDENT_DEPTH"}


BOUNDED = {
    "endless loop": ("while True:\n    pass", "OUT_OF_GAS"),
    "loop over a huge range": ("for i in range(1 << 250):\n    pass\nreturn 1", "OUT_OF_GAS"),
    "comprehension over a huge range": ("return len([0 for i in range(1 << 250)])", "OUT_OF_GAS"),
    "comprehension that keeps nothing": ("return len([0 for i in range(1 << 250) if i < 0])", "OUT_OF_GAS"),
    "growth by multiplication": ("x = 3\nwhile True:\n    x = x * x", "INT_OVERFLOW"),
    "growth by shifting": ("x = 1\nwhile True:\n    x = x << 200", "INT_OVERFLOW"),
    "doubling of text": ("t = 'ab'\nwhile True:\n    t = t + t", "VALUE_SIZE"),
    "format doubling": ("t = 'ab'\nwhile True:\n    t = f'{t}{t}'", "VALUE_SIZE"),
    "join doubling": ("t = ['ab' for i in range(4000)]\nreturn len(','.join(t))", "VALUE_SIZE"),
    "doubling of lists": ("t = [1]\nwhile True:\n    t = t + t", "VALUE_SIZE"),
    "growth while iterating": ("t = [1]\nfor x in t:\n    t.append(x)\nreturn 1", "VALUE_SIZE"),
    "event flood": ("while True:\n    emit('E', a=1)", "VALUE_SIZE"),
    "state flood": ("i = 0\nwhile True:\n    i += 1\n    m[i] = i", "OUT_OF_GAS"),
    "index flood": ("i = 0\nwhile True:\n    i += 1\n    ix.add('g', i)", "OUT_OF_GAS"),
    "list of long texts": (
        "t = 'a'\nfor i in range(12):\n    t = t + t\nxs = [t]\nwhile True:\n    xs.append(t)",
        "VALUE_SIZE",
    ),
    "nested copies": (
        "xs = [0 for i in range(1000)]\nys = [xs for i in range(1000)]\nwhile True:\n    n[1] = ys",
        "OUT_OF_GAS",
    ),
    "search": (
        "t = 'a'\nfor i in range(11):\n    t = t + t\nu = t[:1000] + 'b'\nwhile True:\n    x = u in t",
        "OUT_OF_GAS",
    ),
    "sort with equal prefixes": (
        "t = 'a'\nfor i in range(11):\n    t = t + t\nxs = [t + str(i) for i in range(400)]\n"
        "while True:\n    xs = sorted(xs)",
        "OUT_OF_GAS",
    ),
    "deep equality": (
        "xs = [0 for i in range(4000)]\nys = [0 for i in range(4000)]\nwhile True:\n    b = xs == ys",
        "OUT_OF_GAS",
    ),
    "membership": ("xs = [0 for i in range(4000)]\nwhile True:\n    b = 1 in xs", "OUT_OF_GAS"),
    "slicing": ("xs = [0 for i in range(4000)]\nwhile True:\n    ys = xs[1:]", "OUT_OF_GAS"),
    "colliding integers": (
        "d: dict[int, int] = {}\nfor i in range(4000):\n    d[i * 2305843009213693951] = 1\nreturn 1",
        "KEY_RANGE",
    ),
    "exponential calls": ("while True:\n    x = f5()", "OUT_OF_GAS"),
    "hashing": ("b = b'a'\nfor i in range(12):\n    b = b + b\nwhile True:\n    x = sha256(b)", "OUT_OF_GAS"),
    "big division": ("x = (1 << 254)\nwhile True:\n    y = mul_div(x, x, x - 1, 'UP')", "OUT_OF_GAS"),
    "number to text": ("x = (1 << 254)\nwhile True:\n    y = int(str(x))", "OUT_OF_GAS"),
    "text order": (
        "t = 'a'\nfor i in range(12):\n    t = t + t\nu = t[1:] + 'b'\nwhile True:\n    x = t < u",
        "OUT_OF_GAS",
    ),
}
BEFORE = (
    "m: Map[int, int]\nn: Map[int, list[list[int]]]\nix: Index[str, int]\ndef f0() -> int:\n    return 1\n"
)
BEFORE += "".join(f"def f{i}() -> int:\n    return {' + '.join([f'f{i - 1}()'] * 10)}\n" for i in range(1, 6))


@pytest.mark.parametrize(("body", "code"), BOUNDED.values(), ids=BOUNDED.keys())
def test_hostile_program_ends_with_its_code(body: str, code: str, evaluate: Evaluate) -> None:
    outcome = evaluate(body, before=BEFORE)
    assert (outcome.ok, outcome.code) == (False, code)
    assert outcome.gas_used <= 1_000_000


def test_keys_of_tuples_cannot_be_confused(evaluate: Evaluate) -> None:
    before = "pairs: Map[tuple[str, str], int]\n"
    body = "pairs[('a:b', 'c')] = 1\npairs[('a', 'b:c')] = 2\n"
    body += "return pairs[('a:b', 'c')] * 10 + pairs[('a', 'b:c')]"
    assert evaluate(body, before=before).value == 12


def test_text_of_a_literal_cannot_leave_its_quotes(evaluate: Evaluate) -> None:
    body = "x = '\\'); import os; (\\''\ny = b'\\\\\\'\\x00'\nreturn x + str(len(y))"
    assert evaluate(body, "str").value == "'); import os; ('3"
