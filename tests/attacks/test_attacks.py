"""Every attack is refused for the stated reason, or ends as stated on every engine, inside its gas."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from tanpo import vm
from tanpo.testing.attacks import (
    Attack,
    compile_attack,
    describe_ends,
    find_refusal,
    load_attacks,
    run_attack,
)
from tanpo.vm.codegen import build_program
from tanpo.vm.scope import RESERVED

ENGINES = getattr(vm, "ENGINES", {"codegen": build_program})
ATTACKS = load_attacks(Path(__file__).parent)
BINDING = re.compile(
    r"(?:\b(?:for|def|class)\s+([A-Za-z_]\w*))|(?:^\s*([A-Za-z_]\w*)\s*(?::[^=\n]*)?(?:=(?!=)|:))",
    re.MULTILINE | re.ASCII,
)
CATEGORIES = frozenset(
    [
        "aliasing",
        "arguments",
        "bombs",
        "builtins",
        "collisions",
        "deputies",
        "formatting",
        "frames",
        "growth",
        "injection",
        "nondeterminism",
        "patterns",
        "shadowing",
        "starlark",
        "swallowing",
        "types",
        "unicode",
        "walks",
        "work",
    ]
)


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.place for attack in ATTACKS])
def test_attack_is_refused_or_ends_as_stated(attack: Attack) -> None:
    if attack.refused:
        assert find_refusal(attack) == attack.refused
        return
    contracts = compile_attack(attack)
    ends = []
    for engine in ENGINES.values():
        outcomes = run_attack(attack, contracts, engine)
        for step, outcome in zip(attack.steps, outcomes, strict=True):
            assert (outcome.code, outcome.value) == (step.code, step.value), outcome
            assert 0 <= outcome.gas_used <= 1_000_000
        ends.append(describe_ends(outcomes))
    assert all(end == ends[0] for end in ends)


def test_every_category_has_attacks() -> None:
    assert {attack.category for attack in ATTACKS} == CATEGORIES
    assert len(ATTACKS) >= 400


def test_titles_are_unique() -> None:
    counts = Counter(attack.place for attack in ATTACKS)
    assert [place for place, count in counts.items() if count > 1] == []


def rename(text: str) -> str:
    """Return a source with the names that it binds itself replaced by their order of appearance."""
    bound = {name for match in BINDING.findall(text) for name in match if name} - RESERVED - {"main"}
    order: dict[str, str] = {}
    return re.sub(
        r"[A-Za-z_][A-Za-z0-9_]*",
        lambda match: order.setdefault(match[0], f"n{len(order)}") if match[0] in bound else match[0],
        text,
    )


def test_no_two_attacks_differ_in_names_only() -> None:
    seen: dict[object, str] = {}
    twins = []
    for attack in ATTACKS:
        form = (tuple(rename(source) for _, source in attack.sources), repr(attack.steps))
        if form in seen:
            twins.append((seen[form], attack.place))
        seen[form] = attack.place
    assert twins == []
