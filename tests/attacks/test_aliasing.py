"""Nothing is shared with the state, an event, a result or another contract, whatever its type and path."""

from __future__ import annotations

import pytest
from tanpo import vm
from tanpo.testing.attacks import Attack, Step, compile_attack, run_attack
from tanpo.vm import Outcome
from tanpo.vm.codegen import build_program

ENGINES = getattr(vm, "ENGINES", {"codegen": build_program})

KINDS = {
    "list": ("list[int]", "[1, 2]", "[5]", "x.append(9)\nx[0] = 8"),
    "nested list": ("list[list[int]]", "[[1], [2]]", "[[5]]", "x[0].append(9)\nx.append([7])"),
    "dict": ("dict[str, int]", "{'k': 1}", "{'q': 5}", "x['k'] = 9\nx['n'] = 8"),
    "dict of lists": (
        "dict[str, list[int]]",
        "{'k': [1]}",
        "{'k': [5]}",
        "y = x['k']\ny.append(9)\ndel x['k']",
    ),
    "record": ("Item", "Item(1, 'a')", "Item(5, 'q')", "x.n = 9\nx.s = x.s + 'z'"),
    "deep record": (
        "Box",
        "Box([1], Item(1, 'a'))",
        "Box([5], Item(5, 'q'))",
        "x.xs.append(9)\nx.item.n = 9",
    ),
    "tuple": (
        "tuple[list[int], Item]",
        "([1], Item(1, 'a'))",
        "([5], Item(5, 'q'))",
        "x[1].n = 9\nx[0][0] = 8",
    ),
}
"""A type, a value, another value, and how a local `x` of the type is changed in every part."""

READS = {
    "variable": "x = v",
    "entry": "x = m['k']",
    "get": "x = m.get('k', {other})",
    "default of get": "x = m.get('none', v)",
    "default of a dict's get": "x = {{'q': {other}}}.get('none', v)",
    "record field": "x = w.value",
    "list item": "x = ls['k'][0]",
    "dict value": "x = ds['k']['a']",
    "dict value by get": "x = ds['k'].get('a', {other})",
    "slice": "x = ls['k'][0:][0]",
    "sum of lists": "x = (ls['k'] + ls['k'])[0]",
    "loop": "x = {other}\nfor z in ls['k']:\n    x = z",
    "comprehension": "x = [z for z in ls['k']][0]",
    "comprehension that picks": "x = [z for z in ls['k'] if z == v][1]",
    "conditional": "x = v if a == 1 else {other}",
    "unpacked tuple": "x, n = (v, 1)",
    "tuple item": "x = (1, v)[1]",
    "new list": "x = [v][0]",
    "new dict": "x = {{'a': v}}['a']",
    "new record": "x = Wrap(v).value",
    "assigned item": "t = [{other}]\nt[0] = v\nx = t[0]",
    "assigned field": "t = Wrap({other})\nt.value = v\nx = t.value",
    "assigned key": "t = {{'a': {other}}}\nt['b'] = v\nx = t['b']",
    "append": "t = [{other}]\nt.append(v)\nx = t[1]",
    "pop": "t = ls['k']\nx = t.pop()",
    "local of a local": "t = v\nu = t\nx = u",
    "helper argument": "n = change(v)\nx = {other}",
    "helper argument inside a list": "n = change([v][0])\nx = {other}",
    "helper result": "x = give()",
    "helper result of an argument": "x = same(v)",
    "call argument": "n = far.change(v)\nx = {other}",
    "call argument that stays": "n = far.keep(v)\nx = v",
    "call result": "x = far.give()",
    "call result of an argument": "x = far.same(v)",
}

WRITES = {
    "variable": "v = x",
    "entry": "m['k'] = x",
    "record field": "w = Wrap(x)",
    "list": "ls['k'] = [x, x]",
    "dict": "ds['k'] = {{'a': x}}",
    "comprehension": "ls['k'] = [x for i in range(2)]",
    "sum of lists": "ls['k'] = [x] + [x]",
    "slice": "ls['k'] = [x, x][0:]",
    "default of get": "m['k'] = m.get('none', x)",
    "default of a dict's get": "m['k'] = {{'q': {other}}}.get('none', x)",
    "conditional": "v = x if a == 1 else {other}",
    "helper": "v = same(x)",
    "field of a local": "t = Wrap(x)\nv = t.value",
    "item of a local": "t = [x]\nls['k'] = [t[0], t[0]]",
    "appended": "t = [x]\nt.append(x)\nls['k'] = t",
    "call argument": "n = far.keep(x)",
    "call result": "v = far.same(x)",
}

DECLARED = """
@record
class Wrap:
    value: {kind}

v: {kind}
m: Map[str, {kind}]
w: Wrap
ls: Map[str, list[{kind}]]
ds: Map[str, dict[str, {kind}]]

def same(x: {kind}) -> {kind}:
    return x

def give() -> {kind}:
    return v

def change(x: {kind}) -> int:
{change}
    return 1
"""

FAR = """
@record
class Item:
    n: int
    s: str

@record
class Box:
    xs: list[int]
    item: Item

kept: {kind}

@init
def setup() -> None:
    kept = {value}

@entry
def same(x: {kind}) -> {kind}:
    return x

@entry
def keep(x: {kind}) -> int:
    kept = x
    return 1

@entry
def change(x: {kind}) -> int:
    kept = x
{change}
    return 1

@view
def give() -> {kind}:
    return kept

@view
def look() -> bool:
    return kept == {value}
"""

CHECK = """    require(v == {value} and m['k'] == {value} and w.value == {value}, 'SHARED')
    require(ls['k'] == [{value}, {value}] and ds['k'] == {{'a': {value}}}, 'SHARED_INSIDE')
    require(far.look(), 'SHARED_WITH_ANOTHER')
    return True
"""
FILL = """v = {value}
m['k'] = {value}
w = Wrap({value})
ls['k'] = [{value}, {value}]
ds['k'] = {{'a': {value}}}
"""


def run(kind: str, body: str, returns: str = "bool", check: str = CHECK) -> list[Outcome]:
    """Run a body over a state full of values of a kind, on every engine."""
    spelled, value, other, change = KINDS[kind]
    words = {"kind": spelled, "value": value, "other": other, "change": indent(change)}
    far = FAR.format(**words)
    source = "far: Contract['far']\n" + DECLARED.format(**words)
    source += f"@entry\ndef main(a: int) -> {returns}:\n{indent((FILL + body).format(**words))}\n"
    source += check.format(**words)
    for record in ("Item", "Box"):
        source = source.replace(record, f"far.{record}")
    step = Step(contract="t", entry="main", arguments=(("a", 1),), code="", value=True)
    sources = (("far", far), ("t", source))
    attack = Attack(category="aliasing", title=body, sources=sources, refused=(), steps=(step,))
    contracts = compile_attack(attack)
    return [run_attack(attack, contracts, engine)[0] for engine in ENGINES.values()]


def indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().split("\n"))


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("kind", KINDS)
def test_changing_what_was_read_changes_nothing_else(kind: str, path: str) -> None:
    for outcome in run(kind, f"{READS[path]}\n{KINDS[kind][3].replace('{', '{{').replace('}', '}}')}"):
        assert (outcome.code, outcome.value) == ("", True), outcome


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize("kind", KINDS)
def test_changing_what_was_written_changes_nothing_else(kind: str, path: str) -> None:
    change = KINDS[kind][3].replace("{", "{{").replace("}", "}}")
    for outcome in run(kind, f"x = {{value}}\n{WRITES[path]}\n{change}"):
        assert (outcome.code, outcome.value) == ("", True), outcome


@pytest.mark.parametrize("kind", KINDS)
def test_event_and_result_keep_what_was_given(kind: str) -> None:
    change = KINDS[kind][3].replace("{", "{{").replace("}", "}}")
    body = f"x = {{value}}\nemit('E', x=x, y=v)\ny2 = v\nv = x\n{change}\nemit('E', x={{value}}, y={{value}})"
    for outcome in run(kind, body, KINDS[kind][0], "    return y2\n"):
        assert outcome.ok, outcome
        given, expected = outcome.events
        assert given == expected
        assert outcome.value == dict(expected.fields)["x"]
