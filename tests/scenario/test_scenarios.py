"""Every scenario file is replayed: its claims hold, and what comes of each line is what the file tells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tanpo.testing.scenario import ScenarioError, parse_script, replay

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.scenario"))
SAMPLE = re.compile(r"^```scenario\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEAD = "# A test.\n# Source: this file\nvalidators alice bob carol dave\n"


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_scenario_tells_what_happens(path: Path) -> None:
    """`make scenarios REWRITE=1` redraws the outcomes; claims (`expect`) are never redrawn."""
    found = replay(parse_script(path.name, path.read_text()))

    assert found.failures == ()
    assert found.difference == ""


def test_there_are_scenarios_each_with_a_claim() -> None:
    """A story without a claim could be redrawn into anything."""
    scripts = [parse_script(path.name, path.read_text()) for path in FILES]

    assert len(scripts) >= 25
    assert [s.name for s in scripts if not any(step.name.startswith("expect") for step in s.steps)] == []


def test_the_sample_of_the_language_replays() -> None:
    samples = SAMPLE.findall((FOLDER / "README.md").read_text())

    found = [replay(parse_script("README.md", sample)) for sample in samples]

    assert found
    assert [one.failures for one in found] == [()] * len(found)
    assert [one.difference for one in found] == [""] * len(found)


def test_every_command_is_in_the_language_reference() -> None:
    from tanpo.testing.scenario.grammar import COMMANDS

    reference = (FOLDER / "README.md").read_text().replace("\\|", "|")

    assert [form.usage for form in COMMANDS.values() if f"`{form.usage}`" not in reference] == []


def test_a_claim_that_fails_names_its_line_and_what_was_found() -> None:
    found = replay(parse_script("story", HEAD + "submit pay-1\nrun\nexpect uncommitted pay-1\n"))

    assert found.failures == ("story:6: expect uncommitted pay-1: alice committed pay-1",)


def test_outcomes_are_redrawn_and_old_ones_left_out() -> None:
    old = HEAD + "submit pay-1\n-> alice slept\n"

    found = replay(parse_script("story", old))

    assert found.text == HEAD + "submit pay-1\n-> alice proposed 1@1 with pay-1\n"
    assert "-> alice slept" in found.difference
    assert not found.is_good


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("delivr proposal", "story:4: 'delivr' is no command; allowed: backup, byzantine,"),
        ("deliver letter", "story:4: 'letter' is no kind of message; allowed: proposal, vote,"),
        (
            "deliver proposal via=post",
            "story:4: 'via=' is no option here; allowed: from=, to=, term=, block=",
        ),
        ("deliver proposal to=eve", "story:4: 'eve' is nobody; allowed: alice, bob, carol, dave, all"),
        (
            "deliver proposal",
            "story:4: 'proposal' does not wait here; allowed: nothing waits",
        ),
        ("expect happiness", "story:4: 'expect happiness' is no command; allowed: expect committed,"),
        ("expect lock 7@1", "story:4: '7@1' is no block; allowed: genesis"),
        ("run soon", "story:4: 'soon' is no duration; allowed: 2s, 250ms, -1m"),
        ("restart alice", "story:4: 'alice' is up"),
        ("twin alice", "story:4: 'twin' lacks as=...; allowed: twin NAME as=NAME"),
        ("forge suspect by=alice term=1 to=bob", "story:4: 'alice' is not byzantine: nobody else's key"),
        ("byzantine alice bob", "story:4: 'bob' too many faulty validators; allowed: 1"),
        ("wait 1s 2s", "story:4: '2s' is one word too many; allowed: wait DURATION [only=NAMES]"),
        ('expect refused "x', "story:4: 'expect refused \"x' has a quote that is not closed"),
    ],
)
def test_a_line_that_makes_no_sense_names_file_line_word_and_choice(line: str, error: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        replay(parse_script("story", HEAD + line + "\n"))

    assert str(raised.value).startswith(error)


@pytest.mark.parametrize("text", ["", "validators alice\n", "# No source.\nvalidators alice\n"])
def test_a_scenario_has_a_title_and_a_source(text: str) -> None:
    with pytest.raises(ScenarioError, match=r"story:1: '' (is no title|names no source)"):
        parse_script("story", text)
