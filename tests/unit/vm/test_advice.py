"""What a newcomer writes is answered once, where it stands, with what to write instead."""

from __future__ import annotations

import pytest
from tanpo.vm import check_contract

SCENE = """@record
class Lot:
    owner: str
    tags: list[str]


LIMIT = 5
lots: Map[str, Lot]
counts: Map[str, int]
holders: Index[str, str]
total: int
names: list[str]


@entry
def main(a: int, s: str, b: bytes, xs: list[str], d: dict[str, int], t: tuple[int, str]) -> None:
"""
LINES = SCENE.count("\n")


def find(body: str) -> list[tuple[str, str, str]]:
    """Return place, code and remedy of every fault of a body, lines and columns counted in it."""
    source = SCENE + "".join(f"    {line}\n" for line in body.split("\n"))
    return [
        (f"{fault.line - LINES}:{fault.column - 4}", fault.code, fault.remedy)
        for fault in check_contract(source, name="t", interfaces={})
    ]


ONCE: list[tuple[str, str, str, str]] = [
    # habits of Python
    ("x = f'{a:>3}'", "1:7", "FORMAT", "assign the expression to a name first"),
    ("x = f'{b}'", "1:5", "FORMAT", "b.hex()"),
    ("x = 1\nx += 'a'", "2:1", "OPERATOR", "str(n)"),
    ("x = s + b", "1:5", "OPERATOR", "s.encode()"),
    ("x = '%d' % a", "1:5", "OPERATOR", 'f"..."'),
    ("x = True & False", "1:5", "OPERATOR", "and, or, not"),
    ("x = t + (1,)", "1:5", "OPERATOR", "a new tuple"),
    ("x = a in (1, 2)", "1:5", "OPERATOR", "a list: x in [a, b]"),
    ("x = s in holders", "1:5", "OPERATOR", "holders.contains(group, member)"),
    ("x = +a", "1:5", "OPERATOR", "leave the + out"),
    ("x = a ** 2", "1:5", "POWER", "1_000_000"),
    ("x = xs[::2]", "1:8", "SLICE_STEP", "slice without a step"),
    ("x = set(xs)", "1:5", "NAME_UNKNOWN", "a dict with bool values"),
    ("print(s)", "1:1", "NAME_UNKNOWN", 'emit("Name", field=value)'),
    ("x = sum([1, 2])", "1:5", "NAME_UNKNOWN", "add up in a loop"),
    ("x = isinstance(a, int)", "1:5", "NAME_UNKNOWN", "leave the test out"),
    ("x = map(str, xs)", "1:5", "NAME_UNKNOWN", "a list comprehension"),
    ("for i, x in enumerate(xs):\n    total += i", "1:13", "NAME_UNKNOWN", "range(len(xs))"),
    ("for k, v in d.items():\n    total += v", "1:13", "METHOD", "v = d[k]"),
    ("for item, other in [(1, 2)]:\n    total += other", "1:5", "ASSIGN_TARGET", "a, b = item"),
    ("xs.sort()", "1:1", "METHOD", "ys = sorted(xs)"),
    ("xs.extend(xs)", "1:1", "METHOD", "xs = xs + ys"),
    ("x = d.pop('a')", "1:5", "METHOD", "del d[k]"),
    ("x = s.format(a)", "1:5", "METHOD", 'f"..."'),
    ("x = sha256(b).hexdigest()", "1:5", "METHOD", "hex()"),
    ("x = xs.length", "1:5", "FIELD", "len(xs)"),
    ("x = list(d)", "1:5", "CALL", "sorted(d)"),
    ("x = range(3)", "1:5", "CALL", "[i for i in range(n)]"),
    ("x = int(a)", "1:9", "TYPE_MISMATCH", "leave int(...) out"),
    ("x = str(b)", "1:9", "TYPE_MISMATCH", "b.hex()"),
    ("x = len(t)", "1:9", "TYPE_MISMATCH", "write 2"),
    ("total = s", "1:9", "TYPE_MISMATCH", "int(s)"),
    ("x = sha256('a')", "1:12", "TYPE_MISMATCH", "b'a'"),
    ("for i in a:\n    pass", "1:10", "TYPE_MISMATCH", "range(a)"),
    ("x = max(xs)", "1:5", "ARGUMENTS", "max(a, b)"),
    ("x = sorted(xs, reverse=True)", "1:5", "ARGUMENTS", "read it from the end"),
    ("x = d.get('a')", "1:5", "ARGUMENTS", "get(key, default)"),
    ("x = counts.get(s)", "1:5", "ARGUMENTS", "counts.get(key, default)"),
    ("for i in range(0, 9, 3):\n    pass", "1:10", "ARGUMENTS", "range(start, stop)"),
    ("x = s or 'none'", "1:5", "CONDITION", "a if len(a) > 0 else b"),
    ("x: list = []", "1:4", "TYPE", "list[int]"),
    ("x: float = 1", "1:4", "TYPE", "use int"),
    ("x: 'int' = 1", "1:4", "TYPE", "without quotes"),
    ("total == 5", "1:1", "UNUSED_VALUE", "total = ..."),
    # nothing is None
    ("if s is None:\n    pass", "1:9", "NONE", "a separate flag"),
    ("return None", "1:8", "NONE", "a separate flag"),
    ("x: int | None = 1", "1:10", "NONE", "a separate flag"),
    # state and places
    ("holders['a'] = 'b'", "1:1", "CALL", "holders.add(group, member)"),
    ("holders['a'] += 'b'", "1:1", "CALL", "holders.remove(group, member)"),
    ("holders.get(s)", "1:1", "METHOD", "holders.add(group, member)"),
    ("for k in lots:\n    pass", "1:10", "CALL", "keep its keys in an Index"),
    ("lots.delete(s)", "1:1", "METHOD", "del lots[key]"),
    ("x = lots(s)", "1:5", "CALL", "lots[key]"),
    ("counts = {}", "1:1", "ASSIGN_TARGET", "counts[key]"),
    ("del s[0]", "1:1", "ASSIGN_TARGET", "build a new one"),
    ("del xs[0]", "1:1", "ASSIGN_TARGET", "xs.pop()"),
    ("del holders['a']", "1:5", "CALL", "holders.remove(group, member)"),
    ("del names[0]", "1:1", "ASSIGN_TARGET", "build the list without it"),
    ("names.append(s)", "1:1", "STATE_COPY", "x = names"),
    ("s[0] = 'x'", "1:1", "ASSIGN_TARGET", "s does not change in place"),
    ("ctx.sender = s", "1:1", "ASSIGN_TARGET", "ctx is only read"),
    ("ctx.signers.append(s)", "1:1", "ASSIGN_TARGET", "give it to a name first"),
    ("total: int = 5", "1:1", "DUPLICATE", "total = ..."),
    ("LIMIT = 6", "1:1", "CONSTANT_ASSIGN", "LIMIT: int without a value"),
    ("return a", "1:1", "RETURN", "-> int"),
    # slips of the hand
    ("x = lotss[s]", "1:5", "NAME_UNKNOWN", "did you mean lots?"),
    ("x = lenn(xs)", "1:5", "NAME_UNKNOWN", "did you mean len?"),
    ("x = ctx.Sender", "1:5", "FIELD", "ctx.sender"),
    ("x = 'it's'", "1:8", "STRING", "write \\' inside"),
    ("if a = 1:\n    pass", "1:1", "SYNTAX", "compare with =="),
    ("if a == 1\n    pass", "1:1", "SYNTAX", "colon"),
    ("else if a == 1:\n    pass", "1:1", "SYNTAX", "elif"),
    ("retrun a", "1:1", "SYNTAX", "did you mean return?"),
    ("x = a if a > 1", "1:1", "SYNTAX", "a if condition else b"),
    ("x = 007", "1:1", "SYNTAX", "leading zeros"),
    ("x = !a", "1:5", "CHARACTER", "write not"),
    ("x = __name__", "1:5", "NAME", "never run as a program"),
    (f"{'n' * 49} = a", "1:1", "NAME", "a shorter name"),
    # a refused construct binds its names, and is checked inside
    ("import datetime\nx = datetime.now()", "1:1", "IMPORT", "ctx.time"),
    (
        "try:\n    x = total\nexcept KeyError as e:\n    x = 0\ntotal = x",
        "1:1",
        "TRY",
        "test the condition first",
    ),
    ("with xs as f:\n    total = f", "1:1", "CONSTRUCT", "the statements themselves"),
    ("def g() -> int:\n    return 1\ntotal = g()", "1:1", "NESTED_FUNCTION", "top level"),
    ("x = y = 1\ntotal = x + y", "1:1", "CHAINED_ASSIGNMENT", "one assignment a line"),
    ("if (n := a) > 3:\n    total = n", "1:5", "WALRUS", "a statement of its own"),
    ("first, *rest = xs\ntotal = len(rest)", "1:8", "STAR", "join lists with +"),
    ("x = [i + j for i in xs for j in xs]", "1:5", "COMPREHENSION", "one for"),
    ("match a:\n    case 1:\n        q = 1\ntotal = q", "1:1", "MATCH", "if and elif"),
    ("emit('X', a)", "1:1", "EVENT", 'emit("Name", field=value)'),
    ("require(a > 0)", "1:1", "ARGUMENTS", 'require(condition, "CODE")'),
]


@pytest.mark.parametrize(("body", "place", "code", "remedy"), ONCE, ids=[row[0] for row in ONCE])
def test_a_habit_or_slip_is_named_once_with_what_to_write_instead(
    body: str, place: str, code: str, remedy: str
) -> None:
    ((found_place, found_code, found_remedy),) = find(body)
    assert (found_place, found_code) == (place, code)
    assert remedy in found_remedy


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("try:\n    x = one\nexcept KeyError:\n    x = two\nfinally:\n    y = three", ["2", "4", "6"]),
        ("for x in xs:\n    pass\nelse:\n    total = one", ["4"]),
        ("while a > 1:\n    a -= 1\nelse:\n    total = one", ["4"]),
        ("helper(one, [two], x=three)", ["1", "1", "1", "1"]),
        ("xs.sort(one)", ["1"]),
        ("counts.get(one)", ["1"]),
        ("x = Lot(one)", ["1"]),
        ("require(one > 0)", ["1"]),
        ("emit(s, x=one)", ["1"]),
        ("counts = one", ["1"]),
        # refused statements
        (
            "match one:\n    case [b, *c] if two:\n        x = three + c\n    case _:\n        y = four",
            ["1", "2", "3", "5"],
        ),
        ("with one as (x, y):\n    z = x + two", ["1", "2"]),
        ("async with one as x:\n    y = two", ["1", "2"]),
        ("async for x in one:\n    y = two", ["1", "2"]),
        ("assert one, two", ["1", "1"]),
        ("raise KeyError(one)", ["1"]),
        ("yield one", ["1"]),
        ("yield\nx = one", ["2"]),
        ("x = yield from one", ["1"]),
        ("x = await one", ["1"]),
        ("global total\ntotal = one", ["2"]),
        ("x = y = one", ["1"]),
        ("x: int = one\ncounts[s]: int = two", ["1", "2"]),
        # functions and classes inside a function
        ("def g(x: int, *y: int) -> int:\n    z = x + a + y\n    return one + z\ntotal = g(two)", ["3", "4"]),
        ("async def g() -> None:\n    def h() -> None:\n        x = one\n    h()", ["3"]),
        (
            "@record\nclass G:\n    x: int\n\n    def g(self, y: int) -> int:\n        return self.x + one",
            ["6"],
        ),
        # refused expressions
        ("x = lambda y, *z: y + z + one", ["1"]),
        ("x = lambda y=one: y", ["1"]),
        ("x = (y + one for y in two if three)", ["1"] * 3),
        ("x = {y + one for y in two}", ["1"] * 2),
        ("x = {y: one for y in two}", ["1"] * 2),
        ("x = [y + z + one for y in two for z in three if four]", ["1"] * 4),
        ("x = [y + z + one for y, z in two]", ["1"] * 2),
        ("x = [[z + one for z in xs] for y in two]", ["1"] * 2),
        ("x = [i for i in xs if one if two]", ["1"] * 2),
        ("x = [lots + one for lots in two]", ["1"] * 2),
        ("x = {one, two}", ["1"] * 2),
        ("x = {**one, 'a': two}", ["1"] * 2),
        ("x = [*one, two]", ["1"] * 2),
        ("x = one ** two", ["1"] * 2),
        ("x = one / two", ["1"] * 2),
        ("x = ~one", ["1"]),
        ("x = +one", ["1"]),
        ("x = xs[one::two]", ["1"] * 2),
        ("x = a[one]", ["1"]),
        ("x = one[two]", ["1"] * 2),
        ("x = a in one in two", ["1"] * 2),
        ("x = one in holders", ["1"]),
        ("x = one in total", ["1"]),
        ("x = main(*one, **two)", ["1"] * 2),
        ("x = mul_div(*one)", ["1"]),
        ("x = mul_div(one, 1, 1, 'UPWARDS')", ["1"]),
        ("x = one.value(two)", ["1"] * 2),
        ("x = xs[0](one)", ["1"]),
        ("x = require(one)", ["1"]),
        ("for i in range(0, one, 2):\n    pass", ["1"]),
    ],
)
def test_a_refusal_hides_no_fault_inside(body: str, expected: list[str]) -> None:
    assert [place.split(":")[0] for place, code, _ in find(body) if code == "NAME_UNKNOWN"] == expected


def test_structure_inside_what_is_refused_is_checked_too() -> None:
    assert [
        (place, code) for place, code, _ in find("match a:\n    case 1 if a is s:\n        x = a / 2")
    ] == [
        ("1:1", "MATCH"),
        ("2:15", "IS"),
        ("2:20", "TYPE_MISMATCH"),
        ("3:13", "DIVISION"),
    ]
    for body, codes in (
        ("x = lambda y: y / 2", ["LAMBDA", "DIVISION"]),
        ("x = (y / 2 for y in xs for z in xs)", ["COMPREHENSION", "GENERATOR", "DIVISION"]),
        ("yield a / 2", ["GENERATOR", "DIVISION"]),
        ("x = [[a / 2 for i in xs] for j in xs]", ["COMPREHENSION", "DIVISION"]),
        ("def g() -> int:\n    return a / 2", ["NESTED_FUNCTION", "DIVISION"]),
        ("class G:\n    def g() -> int:\n        return a / 2", ["NESTED_FUNCTION"] * 2 + ["DIVISION"]),
        ("async for x in xs:\n    pass\nelse:\n    pass", ["CONSTRUCT", "LOOP_ELSE"]),
    ):
        assert [code for _, code, _ in find(body)] == codes


@pytest.mark.parametrize(
    "body",
    [
        "match a:\n    case 1:\n        return\n    case 2:\n        return\ntotal = 1",
        "match a:\n    case [x, {'k': y, **z}] | x:\n        total = x + y + len(z)",
        "match a:\n    case 1:\n        q = 1\n    case _:\n        abort('X')\ntotal = q",
        "x = 1\ndef g() -> str:\n    x = 'a'\n    return x + s\ntotal = x + len(g())",
        "class G:\n    n: int\n    def g(self) -> int:\n        return self.n\ntotal = G(1).n",
        "x = (lambda y: y + 1)(2)\ntotal = x",
        "async with xs as (f, g):\n    total = f + g",
        "x = await counts[s]\ntotal = x",
    ],
)
def test_what_a_refused_construct_binds_is_known_and_causes_no_fault_after_it(body: str) -> None:
    construct = ("MATCH", "LAMBDA", "CONSTRUCT", "NESTED_FUNCTION")
    assert [code for _, code, _ in find(body) if code not in construct] == []


def list_faults(source: str) -> list[str]:
    return [f"{fault.place} {fault.code}" for fault in check_contract(source, name="t", interfaces={})]


def test_every_parameter_that_is_not_plain_is_named_where_it_stands() -> None:
    source = (
        "@entry\ndef f(a: int = 1, /, b: int = 2, *, c: int = 3, **d: int) -> int:\n    return a + b + c\n"
    )
    assert list_faults(source) == [
        "2:7 DEFAULT",
        "2:7 STAR",
        "2:22 DEFAULT",
        "2:37 DEFAULT",
        "2:37 STAR",
        "2:51 STAR",
    ]
    assert list_faults("@entry\ndef f(*a: int, b: int = 1) -> None:\n    pass\n") == [
        "2:8 STAR",
        "2:16 DEFAULT",
    ]


def test_a_name_that_a_parameter_cannot_have_is_named_at_the_parameter() -> None:
    parameters = ",\n    ".join(("total: int", "len: int", "a: int", "a: str"))
    source = f"total: int\n\n\n@entry\ndef f(\n    {parameters},\n) -> int:\n    return total + len\n"
    assert list_faults(source) == ["6:5 DUPLICATE", "7:5 RESERVED", "9:5 DUPLICATE"]


def test_a_function_whose_name_is_taken_is_checked_all_the_same() -> None:
    source = (
        "@entry\ndef f() -> int:\n    return 1\n\n\n@view\ndef f() -> str:\n    emit('X')\n    return 1\n"
    )
    assert list_faults(source) == ["7:1 DUPLICATE", "8:5 VIEW_WRITES", "9:12 TYPE_MISMATCH"]


@pytest.mark.parametrize(
    ("source", "expected", "remedy"),
    [
        ("@Entry\ndef f() -> None:\n    pass\n", "1:2 DECORATOR", "write @entry"),
        ("@entry()\ndef f() -> None:\n    pass\n", "1:2 DECORATOR", "without brackets"),
        ("@external\ndef f() -> None:\n    pass\n", "1:2 DECORATOR", "write @entry"),
        ("@entry\n@view\ndef f() -> None:\n    pass\n", "2:2 DECORATOR", "keep one"),
        ("@entry\nasync def f() -> None:\n    pass\n", "2:1 CONSTRUCT", "a plain def"),
        ("m = {}\n\n\n@entry\ndef f() -> None:\n    m['a'] = 1\n", "1:5 CONSTANT", "m: Map[str, int]"),
        ("BIG = 10**18\n\n\n@view\ndef f() -> int:\n    return BIG\n", "1:7 POWER", "1_000_000"),
        ("NO = None\n\n\n@view\ndef f() -> int:\n    return 1\n", "1:6 NONE", "a separate flag"),
        ("m: Map[str]\n\n\n@view\ndef f() -> int:\n    return 1\n", "1:4 STATE_TYPE", "Map[K, V]"),
        ("@entry\ndef f(a) -> int:\n    return a\n", "2:7 ANNOTATION", "a: int"),
        ("@view\ndef f() -> int:\nreturn 1\n", "3:1 SYNTAX", "four spaces"),
        (
            "n: int = 0\n\n\n@entry\ndef f() -> None:\n    n += 1\n",
            "6:5 CONSTANT_ASSIGN",
            "n: int without a value",
        ),
        (
            "@init\ndef g() -> None:\n    n = 0\n\n\n@view\ndef f() -> int:\n    return n\n",
            "8:12 NAME_UNKNOWN",
            "n is a local of g",
        ),
        (
            "from dataclasses import dataclass\n\n\n@view\ndef f() -> int:\n    return 1\n",
            "1:1 IMPORT",
            "@record",
        ),
        (
            "@record\nclass A:\n    x: int = 1\n\n\n@view\ndef f() -> A:\n    return A(x=2)\n",
            "3:5 RECORD_FIELD",
            "leave the value out",
        ),
        (
            "@record\nclass A:\n    def g() -> None:\n        pass\n\n\n@view\ndef f() -> None:\n    pass\n",
            "3:5 NESTED_FUNCTION",
            "top level",
        ),
    ],
)
def test_a_declaration_is_answered_once_with_what_to_write_instead(
    source: str, expected: str, remedy: str
) -> None:
    assert list_faults(source) == [expected]
    (fault,) = check_contract(source, name="t", interfaces={})
    assert remedy in fault.remedy


def test_what_stands_inside_a_refused_declaration_is_checked() -> None:
    source = (
        "if True:\n    A = 1\n    @entry\n    def f() -> int:\n        return A + one\n"
        "async def g() -> int:\n    return f() + two\n"
        "@record\nclass R:\n    x: int\n    def m(self) -> int:\n        return self.x + three\n"
        "with A as B:\n    @record\n    class S:\n        x: float\n"
    )
    assert list_faults(source) == [
        "1:1 DECLARATION",
        "5:20 NAME_UNKNOWN",
        "6:1 CONSTRUCT",
        "7:18 NAME_UNKNOWN",
        "11:5 NESTED_FUNCTION",
        "12:25 NAME_UNKNOWN",
        "13:1 CONSTRUCT",
        "16:12 TYPE",
    ]


def test_statements_at_top_level_are_named_in_words() -> None:
    faults = check_contract("if True:\n    pass\nprint(1)\n", name="t", interfaces={})
    assert [fault.message.partition(" may")[0] for fault in faults if fault.code == "DECLARATION"] == [
        "if",
        "a call or a value",
    ]


def test_names_are_compared_with_a_bounded_number_of_unknown_ones() -> None:
    body = "\n".join(f"x{n} = totall" for n in range(60))
    suggested = [remedy for _, _, remedy in find(body) if "did you mean total?" in remedy]
    assert len(suggested) == 20
