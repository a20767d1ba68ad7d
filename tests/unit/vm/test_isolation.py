"""State is copied in and out: no value is shared with the state, an event, a result or another contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tanpo.vm import Outcome

if TYPE_CHECKING:
    Chain = Any

Evaluate = Callable[..., Outcome]

BEFORE = """
@record
class Item:
    count: int
    tags: list[str]

@record
class Box:
    first: Item
    items: list[Item]
    byname: dict[str, list[int]]

items: Map[str, Item]
boxes: Map[str, Box]
one: Item
many: list[Item]
plain: list[int]

def show(item: Item) -> str:
    return str(item.count) + "-".join(item.tags)

def same(item: Item) -> Item:
    return item
"""

SETUP = "items['k'] = Item(1, ['a'])\none = Item(1, ['a'])\nplain = [1, 2]\n"
SETUP += "many = [Item(1, ['a']), Item(2, ['b'])]\n"
SETUP += "boxes['k'] = Box(Item(1, ['a']), [Item(1, ['a'])], {'x': [1]})\n"

UNTOUCHED = "return show(items['k']) + show(one) + show(many[0]) + str(plain[0]) + show(boxes['k'].first)"
UNTOUCHED += (
    " + show(boxes['k'].items[0]) + str(boxes['k'].byname['x'][0]) + str(len(plain)) + str(len(many))"
)
EXPECTED = "1a1a1a11a1a122"

MUTATIONS = {
    "record read": "x = items['k']\nx.count = 9\nx.tags.append('z')",
    "record of a variable": "x = one\nx.count = 9\nx.tags.append('z')",
    "item of a list": "x = many[0]\nx.count = 9\nx.tags.append('z')",
    "list": "x = many\nx.append(Item(3, ['c']))\nx[0].count = 9\nx[0].tags[0] = 'z'",
    "loop": "for x in many:\n    x.count = 9\n    x.tags.append('z')",
    "comprehension": "xs = [x for x in many]\nxs[0].count = 9",
    "slice": "xs = many[:1]\nxs[0].count = 9\nxs[0].tags.append('z')",
    "concatenation": "xs = many + [Item(3, ['c'])]\nxs[0].count = 9",
    "conditional": "x = items['k'] if True else one\nx.count = 9\nx.tags.append('z')",
    "get with default": "x = items.get('k', Item(0, ['q']))\nx.count = 9\nx.tags.append('z')",
    "argument": "x = same(items['k'])\nx.count = 9\nx.tags.append('z')",
    "nested field": "x = boxes['k'].first\nx.count = 9\ny = boxes['k'].items\ny[0].count = 9",
    "nested dict": "x = boxes['k'].byname\nx['x'][0] = 9\ny = boxes['k'].byname['x']\ny[0] = 8",
    "dict get": "y = boxes['k'].byname.get('x', [0])\ny[0] = 8\nz = {'q': [1]}.get('w', plain)\nz[0] = 9",
    "inside a record": "x = Item(2, items['k'].tags)\nx.tags.append('z')",
    "inside a tuple": "x = (items['k'], 1)\nx[0].count = 9\ny, n = x\ny.tags.append('z')",
    "inside a list": "xs = [items['k'], one]\nxs[0].count = 9\nxs[1].tags.append('z')",
    "inside a dict": "d = {'a': one}\nd['a'].count = 9",
    "flat list": "x = plain\nx[0] = 9\nx.append(3)\ny = sorted(plain)\ny[0] = 7\nz = plain[0:]\nz[0] = 6",
    "appended": "xs: list[Item] = []\nxs.append(one)\nxs[0].count = 9",
    "item assigned": "xs = [Item(5, ['e'])]\nxs[0] = one\nxs[0].count = 9\nxs[0].tags[0] = 'z'",
    "field assigned": "x = Item(5, ['e'])\nx.tags = one.tags\nx.tags.append('z')",
    "unpacked": "a, b = (one, many)\na.count = 9\nb[0].count = 9",
    "popped": "xs = many\nx = xs.pop()\ny = xs.pop()\ny.count = 9",
}


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS.keys())
def test_changing_what_was_read_does_not_change_the_state(mutation: str, evaluate: Evaluate) -> None:
    outcome = evaluate(f"{SETUP}{mutation}\n{UNTOUCHED}", "str", before=BEFORE)
    assert outcome.ok, outcome
    assert outcome.value == EXPECTED


KEPT = {
    "record": "x = Item(1, ['a'])\nitems['k'] = x\nx.count = 9\nx.tags.append('z')",
    "inner list": "tags = ['a']\nitems['k'] = Item(1, tags)\ntags.append('z')",
    "variable": "x = Item(1, ['a'])\none = x\nx.tags.append('z')",
    "list": "x = Item(1, ['a'])\nmany = [x, x]\nx.count = 9",
    "comprehension": "x = Item(1, ['a'])\nmany = [x for i in range(2)]\nx.count = 9",
    "default": "x = Item(1, ['a'])\nitems['k'] = items.get('none', x)\nx.count = 9\nx.tags.append('z')",
    "default of a field": "x = Item(1, ['a'])\none = Item(1, items.get('n', x).tags)\nx.tags.append('z')",
    "dict default": "xs = ['a']\nd = {'p': ['b']}\nitems['k'] = Item(1, d.get('q', xs))\nxs.append('z')",
    "helper result": "x = Item(1, ['a'])\nitems['k'] = same(x)\nx.count = 9\nx.tags.append('z')",
    "conditional": "x = Item(1, ['a'])\nitems['k'] = x if True else one\nx.count = 9\nx.tags.append('z')",
    "other entry": "items['j'] = items['k']\nx = items['j']\nx.tags.append('z')\nitems['j'] = x",
}


@pytest.mark.parametrize("mutation", KEPT.values(), ids=KEPT.keys())
def test_changing_what_was_written_does_not_change_the_state(mutation: str, evaluate: Evaluate) -> None:
    outcome = evaluate(
        f"{SETUP}{mutation}\nreturn show(items['k']) + show(one) + show(many[0])", "str", before=BEFORE
    )
    assert outcome.ok, outcome
    assert outcome.value == "1a1a1a"


def test_locals_share_as_in_python(evaluate: Evaluate) -> None:
    body = "x = Item(1, ['a'])\ny = x\ny.count = 5\nz = [x]\nz[0].tags.append('b')\nreturn show(x) + show(y)"
    assert evaluate(body, "str", before=BEFORE).value == "5a-b5a-b"


def test_event_and_result_keep_what_was_given(evaluate: Evaluate) -> None:
    outcome = evaluate(
        "x = [1]\nemit('E', xs=x)\nx.append(2)\nemit('E', xs=x)\nreturn x", "list[int]", before=BEFORE
    )
    assert [event.fields for event in outcome.events] == [(("xs", (1,)),), (("xs", (1, 2)),)]
    assert outcome.value == (1, 2)


def test_signers_are_a_fresh_list_each_time(evaluate: Evaluate) -> None:
    outcome = evaluate("x = ctx.signers\nx.append('mallory')\nreturn 'mallory' in ctx.signers", "bool")
    assert outcome.value is False


def test_same_values_come_back_after_a_commit(chain: Chain) -> None:
    lines = "".join(f"    {line}\n" for line in SETUP.strip().split("\n"))
    chain.deploy(
        f"{BEFORE}\n@entry\ndef fill() -> None:\n{lines}\n@entry\ndef read() -> str:\n    {UNTOUCHED}\n"
    )
    chain.run("fill")
    before = chain.run("read")
    chain.commit()
    after = chain.run("read")
    assert (before.value, before.gas_used) == (after.value, after.gas_used)
    assert after.value == EXPECTED
