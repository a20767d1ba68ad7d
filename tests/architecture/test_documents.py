"""Documents stay true: their links lead somewhere, their commands exist, their code runs."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest

BLOCK = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
TARGET = re.compile(r"^(?P<name>[a-z][a-z-]*):(?!=)", re.MULTILINE)
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
FOLDERS = ("docs", "consensus", "contracts", "deploy")


@pytest.fixture(scope="module")
def documents(root: Path) -> list[Path]:
    """Every document of the project."""
    nested = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.md"))]
    return [root / name for name in DOCUMENTS] + nested


def find_blocks(text: str, info: str) -> list[str]:
    return [match["code"] for match in BLOCK.finditer(text) if match["info"] == info]


def test_every_link_leads_to_a_file(documents: list[Path], root: Path) -> None:
    broken = [
        f"{path.relative_to(root)}: {target}"
        for path in documents
        for target in LINK.findall(BLOCK.sub("", path.read_text()))
        if not (path.parent / target).exists()
    ]

    assert broken == []


def test_every_make_target_in_a_document_exists(documents: list[Path], root: Path) -> None:
    targets = {match["name"] for match in TARGET.finditer((root / "Makefile").read_text())}
    named = {
        (path.name, word)
        for path in documents
        for command in re.findall(
            r"`?\bmake ((?:[a-z][a-z-]*)(?: [A-Z]+=\S*)*)`|^make (\S+)$", path.read_text(), re.M
        )
        for word in [(command[0] or command[1]).split()[0]]
    }

    assert {(document, target) for document, target in named if target not in targets} == set()


def test_every_recipe_is_one_line(root: Path) -> None:
    """Logic goes into Python, where it is typed and tested."""
    lines = (root / "Makefile").read_text().splitlines()

    assert [a for a, b in itertools.pairwise(lines) if a.startswith("\t") and b.startswith("\t")] == []


def test_readme_shows_the_first_program_as_it_is(root: Path) -> None:
    shown = find_blocks((root / "README.md").read_text(), "python")

    assert shown == [(root / "docs" / "first_program.py").read_text()]


def test_decisions_are_numbered_without_gaps(root: Path) -> None:
    numbers = [int(path.name[:4]) for path in sorted((root / "docs" / "adr").glob("*.md"))]

    assert numbers == list(range(1, len(numbers) + 1))


def test_every_runnable_sample_runs(documents: list[Path]) -> None:
    """A block marked `python run` needs nothing but the installed package."""
    for path in documents:
        for code in find_blocks(path.read_text(), "python run"):
            exec(compile(code, str(path), "exec"), {"__name__": "sample"})


@pytest.mark.parametrize("given", [("STEPS=5",), ("TWINS=4", "SEED=3"), ("SEED=3", "SEEDS=4"), ("FIRST=0",)])
def test_no_variable_of_the_simulation_is_dropped(given: tuple[str, ...], root: Path) -> None:
    """What does not go together is refused by the command, which sees all of it."""
    options = {"TWINS": "--twins --nodes"}
    shown = subprocess.run(
        ["make", "--dry-run", "sim", *given], cwd=root, capture_output=True, text=True, check=True
    )

    (command,) = (line for line in shown.stdout.splitlines() if "tanpo sim" in line)
    for name, value in (one.split("=") for one in given):
        assert f"{options.get(name, f'--{name.lower()}')} {value}" in command
