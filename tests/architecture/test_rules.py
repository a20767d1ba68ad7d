"""Specification, code and tests name the same rules: what is written is done, and what is done is tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

RULE = re.compile(r"\b[A-Z][0-9]\b")


def collect_rules(root: Path) -> list[str]:
    text = (root / "consensus" / "SPEC.md").read_text()
    return sorted(set(re.findall(r"\*\*([A-Z][0-9])\*\*", text)))


def collect_cited(folder: Path) -> set[str]:
    return {rule for path in sorted(folder.rglob("*.py")) for rule in RULE.findall(path.read_text())}


@pytest.mark.parametrize("folder", ["consensus/tanpo", "tests/protocol"])
def test_every_rule_of_the_specification_is_cited(root: Path, folder: str) -> None:
    cited = collect_cited(root / folder)

    assert [rule for rule in collect_rules(root) if rule not in cited] == []


def test_no_protocol_test_cites_a_rule_that_there_is_not(root: Path) -> None:
    rules = set(collect_rules(root))
    docstrings = [
        (path.name, rule)
        for path in sorted((root / "tests" / "protocol").glob("test_*.py"))
        for text in re.findall(r'^    """([^"]*)"""', path.read_text(), re.MULTILINE)
        for rule in RULE.findall(text)
    ]

    assert [(name, rule) for name, rule in docstrings if rule not in rules] == []


def test_a_rule_has_one_paragraph(root: Path) -> None:
    text = (root / "consensus" / "SPEC.md").read_text()
    rules = re.findall(r"^- \*\*([A-Z][0-9])\*\*", text, re.MULTILINE)

    assert sorted(rules) == sorted(set(rules))
    assert sorted(rules) == collect_rules(root)
