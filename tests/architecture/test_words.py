"""Words and habits a tool can check (STYLE, sections 4, 6 and 7)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

BANNED = frozenset({"util", "utils", "misc", "manager", "tenant", "org", "miner", "master", "fuel", "era"})
"""Names that say nothing, and words that another word has taken."""

SUPPRESSION = re.compile(r"#\s*(?:noqa|type:\s*ignore|pragma)")
GOOD_SUPPRESSION = re.compile(
    r"# (?:noqa: [A-Z]+\d+(?:, ?[A-Z]+\d+)*|type: ignore\[[a-z0-9, -]+\])\s+[#-] ?\S"
)
OPEN_WORK = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/")
TEXTS = (".py", ".md", ".toml", ".proto", ".lock", ".yml", ".yaml", ".json", ".txt", "Makefile", "run")


def test_names_say_what_things_are(shipped: dict[Path, ast.Module]) -> None:
    names = [
        (f"{path}:{node.lineno}", node.name)
        for path, module in shipped.items()
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    names += [(str(path), path.stem) for path in shipped]

    assert [(place, name) for place, name in names if BANNED & set(split_words(name))] == []


def test_one_place_catches_everything(shipped: dict[Path, ast.Module]) -> None:
    """Anything that catches all must raise again, but for one last resort."""
    swallowing = [
        f"{path}:{node.lineno}"
        for path, module in shipped.items()
        for node in ast.walk(module)
        if isinstance(node, ast.ExceptHandler)
        and catches_all(node)
        and not isinstance(node.body[-1], ast.Raise)
    ]

    assert len(swallowing) <= 1, swallowing


def test_nothing_leans_on_assert(shipped: dict[Path, ast.Module]) -> None:
    """`python -O` strips it: shipped code calls `invariant`."""
    assert find_nodes(shipped, ast.Assert) == []


def test_nothing_is_left_unimplemented(shipped: dict[Path, ast.Module]) -> None:
    stubs = [
        f"{path}:{node.lineno}"
        for path, module in shipped.items()
        for node in ast.walk(module)
        if isinstance(node, ast.Name) and node.id == "NotImplementedError"
    ]

    assert stubs == []


def test_no_work_is_left_open(root: Path, python_files: list[Path]) -> None:
    own = Path(__file__)
    faults = [
        f"{path.relative_to(root)}:{number}"
        for path in python_files
        if path != own
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if OPEN_WORK.search(line)
    ]

    assert faults == []


def test_every_suppression_names_its_code_and_its_reason(root: Path, python_files: list[Path]) -> None:
    own = Path(__file__)
    faults = [
        f"{path.relative_to(root)}:{number} {line.strip()}"
        for path in python_files
        if path != own
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if SUPPRESSION.search(line) and not GOOD_SUPPRESSION.search(line)
    ]

    assert faults == []


def test_public_names_have_docstrings(shipped: dict[Path, ast.Module]) -> None:
    faults = [str(path) for path, module in shipped.items() if not ast.get_docstring(module)]
    for path, module in shipped.items():
        faults += [
            f"{path}:{node.lineno} {node.name}" for node in public_definitions(module) if not documented(node)
        ]

    assert faults == []


def test_nothing_names_a_path_of_one_machine(root: Path) -> None:
    own = Path(__file__)
    faults = [
        f"{path.relative_to(root)}:{number}"
        for path in written_texts(root)
        if path != own
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]

    assert faults == []


def split_words(name: str) -> list[str]:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")


def catches_all(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or ast.unparse(handler.type) in {"Exception", "BaseException"}


def find_nodes(shipped: dict[Path, ast.Module], kind: type[ast.stmt]) -> list[str]:
    return [
        f"{path}:{node.lineno}"
        for path, module in shipped.items()
        for node in ast.walk(module)
        if isinstance(node, kind)
    ]


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public_definitions(parent: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    for node in parent.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node)


def documented(node: Definition) -> bool:
    """Return whether a definition has a docstring; overloads and setters share another's."""
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    shared = any(name == "overload" or name.endswith((".setter", "override")) for name in decorators)
    return shared or ast.get_docstring(node) is not None


def written_texts(root: Path) -> Iterator[Path]:
    skipped = {".git", ".venv", "__pycache__", "build", "dist"}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        hidden = any(part.startswith(".") and part != ".ci" for part in relative.parts)
        if path.is_file() and path.name.endswith(TEXTS) and not hidden and not skipped & set(relative.parts):
            yield path
