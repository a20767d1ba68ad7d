"""Every fault in the catalogue: a source that earns it, and a remedy that comes with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tanpo.ledger.errors import Reason
from tanpo.vm import ContractRefused, Fault, check_contract, compile_contract, compiler
from tanpo.vm.faults import FAULTS_MAX, REMEDIES
from tanpo.vm.structure import REFUSED

Check = Callable[..., tuple[Fault, ...]]

RECORDS = "@record\nclass Lot:\n    owner: str\n    tags: list[str]\n\n"
STATE = RECORDS + "LIMIT = 5\nlots: Map[str, Lot]\nmembers: Index[str, str]\ntotal: int\nnames: list[str]\n\n"


def entry(
    body: str, returns: str = "None", before: str = STATE, parameters: str = "a: int, s: str, b: bytes"
) -> str:
    """Return a contract with one entry point of the given body."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"{before}@entry\ndef main({parameters}) -> {returns}:\n{lines}"


CHAIN = "".join(f"def f{i}(x: int) -> int:\n    return f{i + 1}(x)\n\n" for i in range(32))

CASES: list[tuple[str, str]] = [
    ("SOURCE_SIZE", "#" * 70_000),
    ("NOT_ASCII", entry("x = 'é'")),
    ("NOT_ASCII", "# \u202e\n" + entry("pass")),
    ("NOT_ASCII", entry("\u00aa = 1")),
    ("CONTROL_CHARACTER", entry("\tpass")),
    ("CONTROL_CHARACTER", entry("pass\r")),
    ("CONTROL_CHARACTER", entry("pass\f")),
    ("LINE_LENGTH", "#" * 401 + "\n" + entry("pass")),
    ("CONTINUATION", entry("x = 1 + \\\n2")),
    ("SEMICOLON", entry("x = 1; y = 2")),
    ("BRACKET_DEPTH", entry("x = " + "(" * 17 + "1" + ")" * 17)),
    (
        "INDENT_DEPTH",
        entry("\n".join("    " * i + "if a == 1:" for i in range(13)) + "\n" + "    " * 13 + "pass"),
    ),
    ("STATEMENT_SIZE", entry("x = " + "[" + "1, " * 60 + "\n" + ("1, " * 60 + "\n") * 3 + "]")),
    ("ELIF_COUNT", entry("if a == 0:\n    pass\n" + "elif a == 1:\n    pass\n" * 41)),
    ("NUMBER", entry("x = 1" + "0" * 78)),
    ("NUMBER", entry("x = 1_000_")),
    ("NUMBER", entry("x = 0o17")),
    ("NUMBER", entry("x = 1if True else 2")),
    ("STRING", entry("x = r'a'")),
    ("STRING", entry("x = 'a")),
    ("STRING", entry("x = rb'a'")),
    ("STRING", entry("x = F'a'")),
    ("ESCAPE", entry("x = '\\u0041'")),
    ("ESCAPE", entry("x = '\\N{BULLET}'")),
    ("ESCAPE", entry("x = '\\0'")),
    ("FORMAT", entry("x = f'{a + 1}'")),
    ("FORMAT", entry("x = f'{a!r}'")),
    ("FORMAT", entry("x = f'{a:>99999999}'")),
    ("FORMAT", entry("x = f'{s.x}'")),
    ("FORMAT", entry("x = f'{{'")),
    ("FORMAT", entry("x = f'{b}'")),
    ("STRING_ADJACENT", entry("x = 'a' 'b'")),
    ("NAME", entry("x = s.__class__")),
    ("NAME", entry("x" * 49 + " = 1")),
    ("CHARACTER", entry("x = $")),
    ("CHARACTER", entry("x = a ? 1")),
    ("SYNTAX", entry("x = = 1")),
    ("SYNTAX", entry("x = (1")),
    ("SYNTAX", entry("x = 007")),
    ("CONSTRUCT", entry("with a:\n    pass")),
    ("CONSTRUCT", entry("global total")),
    ("CONSTRUCT", entry("nonlocal total")),
    ("CONSTRUCT", entry("x = ...")),
    ("CONSTRUCT", "async def f() -> None:\n    pass\n" + entry("pass")),
    ("IMPORT", "import os\n" + entry("pass")),
    ("IMPORT", "from os import path\n" + entry("pass")),
    ("IMPORT", entry("import os")),
    ("INHERITANCE", "@record\nclass A(Lot):\n    x: int\n" + entry("pass", before=RECORDS)),
    ("INHERITANCE", "@record\nclass A(metaclass=type):\n    x: int\n" + entry("pass")),
    ("LAMBDA", entry("x = lambda y: y")),
    ("NESTED_FUNCTION", entry("def g() -> None:\n    pass")),
    ("NESTED_FUNCTION", entry("class G:\n    x: int")),
    ("GENERATOR", entry("x = (y for y in names)")),
    ("GENERATOR", entry("yield 1")),
    ("GENERATOR", entry("x = yield from names")),
    ("TRY", entry("try:\n    pass\nfinally:\n    pass")),
    ("TRY", entry("try:\n    pass\nexcept* s:\n    pass")),
    ("RAISE", entry("raise s")),
    ("ASSERT", entry("assert a == 1")),
    ("SET", entry("x = {1, 2}")),
    ("SET", entry("x = {y for y in names}")),
    ("FLOAT", entry("x = 1.5")),
    ("FLOAT", entry("x = 1e5")),
    ("FLOAT", entry("x = .5")),
    ("NONE", entry("x = None")),
    ("IS", entry("x = a is 1")),
    ("IS", entry("x = a is not 1")),
    ("POWER", entry("x = a ** 2")),
    ("DIVISION", entry("x = a / 2")),
    ("DIVISION", entry("x = a @ 2")),
    ("WALRUS", entry("if (x := a) == 1:\n    pass")),
    ("MATCH", entry("match a:\n    case 1:\n        pass")),
    ("STAR", entry("x = [*names]")),
    ("STAR", entry("require(a == 1, 'X', **s)")),
    ("STAR", "@entry\ndef f(*a: int) -> None:\n    pass\n"),
    ("STAR", "@entry\ndef f(a: int, /) -> None:\n    pass\n"),
    ("STAR", "@entry\ndef f(*, a: int) -> None:\n    pass\n"),
    ("STAR", entry("x = {**s}")),
    ("DEFAULT", "@entry\ndef f(a: int = 1) -> None:\n    pass\n"),
    ("REPETITION", entry("x = s * a")),
    ("REPETITION", entry("x = a * [1]")),
    ("CHAINED_ASSIGNMENT", entry("x = y = a")),
    ("LOOP_ELSE", entry("for x in names:\n    pass\nelse:\n    pass")),
    ("LOOP_ELSE", entry("while a == 1:\n    pass\nelse:\n    pass")),
    ("COMPREHENSION", entry("x = [i for i in range(2) for j in range(2)]")),
    ("COMPREHENSION", entry("x = [[j for j in range(i)] for i in range(2)]")),
    ("COMPREHENSION", entry("x = {i: i for i in range(2)}")),
    ("COMPREHENSION", entry("x = [i for i, j in names]")),
    ("COMPREHENSION", entry("x = [i for i in range(2) if i > 0 if i < 1]")),
    ("SLICE_STEP", entry("x = s[::2]")),
    ("EXPRESSION_DEPTH", entry("x = " + " + ".join(["a"] * 40))),
    ("DOCSTRING", entry("x = 1\n'text'")),
    ("UNREACHABLE", entry("return\nx = 1")),
    ("UNREACHABLE", entry("abort('X')\nx = 1")),
    ("UNREACHABLE", entry("while True:\n    pass\nx = 1")),
    ("DECLARATION", "if True:\n    x = 1\n" + entry("pass")),
    ("DECLARATION", "for x in 'a':\n    pass\n" + entry("pass")),
    ("DECLARATION", "lots['a'] = 1\n" + entry("pass")),
    ("DECORATOR", "@property\ndef f() -> None:\n    pass\n" + entry("pass")),
    ("DECORATOR", "class A:\n    x: int\n" + entry("pass")),
    ("DECORATOR", "@entry\n@view\ndef f() -> None:\n    pass\n" + entry("pass")),
    ("DUPLICATE", "LIMIT = 1\nLIMIT = 2\n" + entry("pass", before="")),
    ("DUPLICATE", entry("pass", parameters="total: int")),
    ("DUPLICATE", entry("pass", parameters="a: int, a: int")),
    ("DUPLICATE", entry("x = [total for total in range(3)]")),
    ("RESERVED", "require = 1\n" + entry("pass")),
    ("RESERVED", entry("pass", parameters="require: int")),
    ("RESERVED", entry("ctx = 1")),
    ("RESERVED", entry("for len in range(3):\n    pass")),
    ("RECORD_FIELD", "@record\nclass A:\n    pass\n" + entry("pass")),
    ("RECORD_FIELD", "@record\nclass A:\n    x: int = 1\n" + entry("pass")),
    ("RECORD_FIELD", "@record\nclass A:\n    x: int\n    x: str\n" + entry("pass")),
    (
        "NESTED_FUNCTION",
        "@record\nclass A:\n    x: int\n    def f() -> None:\n        pass\n" + entry("pass"),
    ),
    ("CONSTANT", "A = [1]\n" + entry("pass")),
    ("CONSTANT", "A = 1 << 3\n" + entry("pass")),
    ("CONSTANT", "A = 1 // 0\n" + entry("pass")),
    ("STATE_COUNT", "".join(f"v{n}: int\n" for n in range(257)) + entry("pass")),
    ("STATE_TYPE", "a: Map[int]\n" + entry("pass")),
    ("STATE_TYPE", "a: Contract[a]\n" + entry("pass")),
    ("KEY_TYPE", "a: Map[list[int], int]\n" + entry("pass")),
    ("KEY_TYPE", entry("x: dict[tuple[int, int], int] = {}")),
    ("KEY_TYPE", entry("x = {(1, 2): 3}")),
    ("TYPE", "a: float\n" + entry("pass")),
    ("TYPE", "@record\nclass A:\n    next: A\n" + entry("pass")),
    ("TYPE", entry("pass", parameters="a: 'int'")),
    ("TYPE_DEPTH", "a: " + "list[" * 8 + "int" + "]" * 8 + "\n" + entry("pass")),
    ("TYPE_DEPTH", "a: dict[int, dict[int, dict[int, list[list[int]]]]]\n" + entry("pass")),
    ("TYPE_DEPTH", entry("emit('E', x=[[[[[[[[a]]]]]]]])")),
    ("TYPE_SIZE", RECORDS + "big: tuple[" + ", ".join(["Lot"] * 70) + "]\n" + entry("pass", before="")),
    ("TYPE_SIZE", entry("x = (" + ", ".join(["names"] * 40) + ")\ny = (" + ", ".join(["x"] * 7) + ")")),
    ("TYPE_SIZE", "A = (" + "1, " * 99 + ")\nB = (A, A, A)\n" + entry("pass")),
    ("RECORD_FIELD", "@record\nclass A:\n" + "".join(f"    x{i}: int\n" for i in range(101)) + entry("pass")),
    ("ANNOTATION", "@entry\ndef f(a) -> None:\n    pass\n"),
    ("INIT", "@init\ndef f() -> int:\n    return 1\n" + entry("pass")),
    ("INIT", "@init\ndef f() -> None:\n    pass\n@init\ndef g() -> None:\n    pass\n" + entry("pass")),
    ("INIT", "@migrate\ndef f(a: int) -> None:\n    pass\n" + entry("pass")),
    ("NO_ENTRY", "def f() -> None:\n    pass\n"),
    ("HANDLE", "cash: Contract['cash']\n" + entry("pass")),
    ("HANDLE", "me: Contract['t']\n" + entry("pass")),
    ("RECURSION", "@entry\ndef f() -> None:\n    f()\n"),
    ("RECURSION", "@entry\ndef f() -> None:\n    g()\ndef g() -> None:\n    f()\n"),
    (
        "CALL_CHAIN",
        CHAIN + "def f32(x: int) -> int:\n    return x\n@entry\ndef main() -> int:\n    return f0(1)\n",
    ),
    ("VIEW_WRITES", "total: int\n@view\ndef f() -> None:\n    total = 1\n"),
    ("VIEW_WRITES", "@view\ndef f() -> None:\n    emit('E')\n"),
    ("VIEW_WRITES", "a: Map[int, int]\ndef g() -> None:\n    del a[1]\n@view\ndef f() -> None:\n    g()\n"),
    ("NAME_UNKNOWN", entry("x = nothing")),
    ("NAME_UNKNOWN", entry("eval(s)")),
    ("NAME_UNKNOWN", entry("x = getattr(s, 'upper')")),
    ("NAME_UNKNOWN", entry("print(s)")),
    ("UNASSIGNED", entry("if a == 1:\n    x = 1\ny = x")),
    ("UNASSIGNED", entry("for x in range(3):\n    pass\ny = x")),
    ("UNASSIGNED", entry("while a == 1:\n    x = 1\ny = x")),
    ("UNASSIGNED", entry("x: int\ny = x")),
    ("TYPE_MISMATCH", entry("x = 1\nx = 'a'")),
    ("TYPE_MISMATCH", entry("x: int = True")),
    ("TYPE_MISMATCH", entry("total = s")),
    ("TYPE_MISMATCH", entry("x = a if a == 1 else s")),
    ("TYPE_MISMATCH", entry("x, y = a")),
    ("TYPE_MISMATCH", entry("for x in a:\n    pass")),
    ("TYPE_MISMATCH", entry("x = a == s")),
    ("OPERATOR", entry("x = s - s")),
    ("OPERATOR", entry("x = s % a")),
    ("OPERATOR", entry("x = ~a")),
    ("OPERATOR", entry("x = +a")),
    ("OPERATOR", entry("x = True + 1")),
    ("OPERATOR", entry("x = names < names")),
    ("OPERATOR", entry("x = 1 in a")),
    ("OPERATOR", entry("x = s in members")),
    ("OPERATOR", entry("x = 'a' < s < 'b'")),
    ("OPERATOR", entry("x = ['a']\nx += ['b']")),
    ("CONDITION", entry("if a:\n    pass")),
    ("CONDITION", entry("x = not s")),
    ("CONDITION", entry("require(a, 'X')")),
    ("EMPTY_TYPE", entry("x = []")),
    ("EMPTY_TYPE", entry("x = {}")),
    ("EMPTY_TYPE", entry("x = ()")),
    ("FIELD", entry("x = lots[s].price")),
    ("FIELD", entry("x = ctx.balance")),
    ("FIELD", entry("x = a.real")),
    ("METHOD", entry("x = s.format(a)")),
    ("METHOD", entry("x = s.encode('utf-7')\ny = b.decode()")),
    ("METHOD", entry("x = lots.items()")),
    ("METHOD", entry("members.pop(s, s)")),
    ("CALL", entry("x = lots")),
    ("CALL", entry("x = main")),
    ("CALL", entry("x = len")),
    ("CALL", entry("x = range(3)")),
    ("CALL", entry("x = names[0]()")),
    ("ARGUMENTS", entry("x = Lot(s)")),
    ("ARGUMENTS", entry("x = Lot(owner=s, tags=names, more=1)")),
    ("ARGUMENTS", entry("x = Lot(s, owner=s, tags=names)")),
    ("ARGUMENTS", entry("x = len(s, s)")),
    ("ARGUMENTS", entry("emit('E', a=1, a=2)")),
    ("ARGUMENTS", entry("require(a == 1)")),
    ("NO_VALUE", entry("x = members.add(s, s)")),
    ("UNUSED_VALUE", entry("a + 1")),
    ("RETURN", entry("if a == 1:\n    return 2", returns="int")),
    ("RETURN", entry("return 1")),
    ("RETURN", entry("return", returns="int")),
    ("STATE_COPY", entry("lots[s].owner = s")),
    ("STATE_COPY", entry("lots[s].tags.append(s)")),
    ("STATE_COPY", entry("names.append(s)")),
    ("STATE_COPY", entry("names[0] = s")),
    ("ASSIGN_TARGET", entry("s[0] = s")),
    ("ASSIGN_TARGET", entry("x, lots[s] = 1, 2")),
    ("ASSIGN_TARGET", entry("del a")),
    ("ASSIGN_TARGET", entry("ctx.sender = s")),
    ("ASSIGN_TARGET", entry("for x, y in names:\n    pass")),
    ("ASSIGN_TARGET", entry("lots.get(s, Lot(s, names)).owner = s\nsorted(names)[0] = s")),
    ("CONSTANT_ASSIGN", entry("LIMIT = 6")),
    ("CONSTANT_ASSIGN", entry("LIMIT += 6")),
    ("CODE", entry("require(a == 1, s)")),
    ("CODE", entry("abort('lower')")),
    ("CODE", entry("abort('X' + s)")),
    ("CODE_RESERVED", entry("abort('OUT_OF_GAS')")),
    ("DETAIL", entry("require(a == 1, 'X', names=names)")),
    ("EVENT", entry("emit(s)")),
    ("EVENT", entry("emit('\\xaa', x=1)")),
    ("EVENT", entry("emit('E', x=1)\nemit('E', x=s)")),
    ("EVENT", entry("emit('E', x=1)\nemit('E', y=1)")),
    ("MODE", entry("x = mul_div(a, a, a, s)")),
    ("MODE", entry("x = div_round(a, a, 'NEAREST')")),
    ("LITERAL_RANGE", entry("x = 0x" + "f" * 64)),
    ("TUPLE_INDEX", entry("x = (1, 2)[a]")),
    ("TUPLE_INDEX", entry("x = (1, 2)[2]")),
    ("STATEMENT_ONLY", entry("x = require(a == 1, 'X')")),
    ("LOOP_CONTROL", entry("break")),
]


@pytest.mark.parametrize(("code", "source"), CASES, ids=[f"{code}-{i}" for i, (code, _) in enumerate(CASES)])
def test_construct_is_refused_by_name_with_place_and_remedy(code: str, source: str, faults: Check) -> None:
    found = faults(source)
    assert code in [fault.code for fault in found], [str(fault) for fault in found]
    for fault in found:
        assert fault.line >= 1
        assert fault.column >= 1
        assert fault.code in REMEDIES
        assert fault.remedy
        assert fault.message
        assert fault.construct


def test_every_code_of_the_catalogue_has_a_case() -> None:
    assert set(REMEDIES) == {code for code, _ in CASES}


CODE = re.compile(r"[A-Z]+(?:_[A-Z]+)*\Z")
CHECKER = sorted(Path(compiler.__file__).parent.glob("*.py"))
NOTERS = ("add", "fault", "wrong", "_fault")


def collect_codes(tree: ast.Module) -> set[str]:
    """Return the codes that a module of the checker can note: literals in the calls, or chosen."""
    noted = [
        argument
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in NOTERS
        and node.args
        for argument in ast.walk(node.args[0])
    ]
    chosen = [
        part
        for node in ast.walk(tree)
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == "code"
        )
        or isinstance(node, ast.Return)
        for part in ast.walk(node)
    ]
    return {
        part.value
        for part in (*noted, *chosen)
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and CODE.match(part.value)
    }


def test_catalogue_holds_exactly_the_codes_that_the_checker_can_note() -> None:
    found = {code for code, _ in REFUSED.values()}
    for path in CHECKER:
        if path.stem not in ("helpers", "session", "slots", "indexes", "keycodec", "valuecodec", "border"):
            found |= collect_codes(ast.parse(path.read_text(encoding="utf-8")))
    assert found == set(REMEDIES)


def test_all_faults_are_reported_at_once_in_order_of_place() -> None:
    found = check_contract(
        entry("x = a / 2\ny = s - s\nz = nothing\nnames.append(s)"), name="t", interfaces={}
    )
    assert [fault.code for fault in found] == ["DIVISION", "OPERATOR", "NAME_UNKNOWN", "STATE_COPY"]
    assert [fault.line for fault in found] == sorted(fault.line for fault in found)


TOKENS = """@entry
def main(a: int, s: str) -> None:
    x = 5.5 + .5
    y = 1e-3 + 6.append + 0o7
    w = r"a\\q" + "b" "c"
    q = f"{a+1} {s} }} {s!r}"
    v = 'a\\qb\\u1234'
    u = $a ? 2; t = 1
    t = a \\
        + 1
    s = 'open
    s = f"{'a'}" "b"
    z = 1__0
"""


def test_all_faults_of_tokens_are_reported_at_once(faults: Check) -> None:
    found = [(fault.line, fault.column, fault.code, fault.construct) for fault in faults(TOKENS)]
    assert found == [
        (3, 9, "FLOAT", "5.5"),
        (3, 15, "FLOAT", ".5"),
        (4, 9, "FLOAT", "1e-3"),
        (4, 16, "FLOAT", "6.append"),
        (4, 27, "NUMBER", "0o7"),
        (5, 9, "STRING", "r"),
        (5, 22, "STRING_ADJACENT", '"c"'),
        (6, 11, "FORMAT", "{a+1}"),
        (6, 21, "FORMAT", "}"),
        (6, 22, "FORMAT", "}"),
        (6, 24, "FORMAT", "{s!r}"),
        (7, 11, "ESCAPE", "q"),
        (7, 14, "ESCAPE", "u"),
        (8, 9, "CHARACTER", "$"),
        (8, 12, "CHARACTER", "?"),
        (8, 15, "SEMICOLON", ";"),
        (9, 11, "CONTINUATION", "\\"),
        (11, 14, "STRING", "s = 'open"),
        (12, 11, "FORMAT", """{'a'}"""),
        (12, 18, "STRING_ADJACENT", '"b"'),
        (13, 9, "NUMBER", "1__0"),
    ]


def test_the_second_function_to_begin_with_is_the_one_that_is_named(faults: Check) -> None:
    twice = "@init\ndef one() -> None:\n    pass\n\n@init\ndef two() -> None:\n    pass\n"
    (fault,) = faults(entry("pass") + twice)
    assert (fault.code, fault.line) == ("INIT", entry("pass").count("\n") + 6)


def test_one_mistake_does_not_cause_a_cascade(faults: Check) -> None:
    found = faults(entry("x = nothing\ny = x + 1\nz = y * 2 > x\nif z:\n    return"))
    assert [fault.code for fault in found] == ["NAME_UNKNOWN"]


def test_refusal_is_a_rejection_with_place_value_and_remedy() -> None:
    with pytest.raises(ContractRefused) as caught:
        compile_contract(entry("x = lambda y: y"), name="t", interfaces={})
    refusal = caught.value
    assert refusal.reason == Reason.CONTRACT_REFUSED
    assert refusal.faults[0].code == "LAMBDA"
    assert refusal.value == "lambda"
    assert refusal.remedy == REMEDIES["LAMBDA"]
    assert refusal.faults[0].place in refusal.message


@pytest.mark.parametrize("mark", ["\ufeff", "\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"])
def test_a_byte_order_mark_is_named_once(mark: str) -> None:
    (fault,) = check_contract(mark + entry("pass") * 3, name="c", interfaces={})
    assert (fault.code, "byte order mark" in fault.message) == ("NOT_ASCII", True)


def test_line_ends_of_another_system_are_one_fault(faults: Check) -> None:
    found = check_contract(entry("x = 1\ny = 2").replace("\n", "\r\n"), name="c", interfaces={})
    assert [(fault.code, fault.line) for fault in found] == [("CONTROL_CHARACTER", 1)]
    assert "carriage return before the line feed" in found[0].message
    hidden = check_contract("x = 1\r\ny = 2 \r + 3\r\nz = 4\r\n", name="c", interfaces={})
    assert [(fault.line, fault.column) for fault in hidden] == [(1, 6), (2, 7)]


def test_number_of_faults_reported_is_bounded(faults: Check) -> None:
    assert len(faults(entry("\n".join(f"x{i} = nothing{i}" for i in range(300))))) == FAULTS_MAX


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a:b", "a b", "x" * 49, "contract/cash"])
def test_contract_names_are_plain(name: str) -> None:
    assert check_contract(entry("pass"), name=name, interfaces={})[0].code == "NAME"


def test_the_remedy_for_a_name_is_for_that_of_a_contract_too() -> None:
    (fault,) = check_contract(entry("pass"), name="Big Name", interfaces={})
    assert "a-z, 0-9, - and _" in fault.message
    assert fault.remedy.startswith("choose another name")


@pytest.mark.parametrize(
    "body",
    [
        "x = 0xff + 1_000\ny = -x",
        "x = b'\\x00\\xff' + b\ny = x[0]",
        "x = f'{s}-{a}'",
        "x: dict[str, list[int]] = {}\nx['a'] = [1]",
        "x = [i * 2 for i in range(5) if i > 1]",
        "x = (1, 's')\ny, z = x\nw = x[1] + z",
        "lot = lots[s]\nlot.tags.append(s)\nlots[s] = lot",
        "x = s[1:] + s[:1] + s[:]\ny = 'a' in s and s.startswith('b')",
        "if a > 1:\n    x = 1\nelif a > 0:\n    x = 2\nelse:\n    abort('NO')\ny = x",
        "while True:\n    if a == 1:\n        x = 2\n        break\ny = x",
    ],
)
def test_constructs_of_the_dialect_are_accepted(body: str, faults: Check) -> None:
    assert faults(entry(body)) == ()
