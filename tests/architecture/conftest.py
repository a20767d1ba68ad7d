"""What the architecture tests look at: the shipped modules, parsed, and those files we write ourselves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE_ROOTS = ("consensus", "contracts", "node", "proto")
DIALECT = ROOT / "contracts" / "tanpo" / "contracts"


def is_generated(path: Path) -> bool:
    return path.stem.endswith(("_pb2", "_pb2_grpc"))


def is_dialect(path: Path) -> bool:
    """Return whether a file is a contract: data in the dialect, which knows no `import` of modules."""
    return path.parent == DIALECT and not any(
        isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(path.read_text()).body
    )


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def packages() -> list[Path]:
    """The folders directly below `tanpo` in every source root."""
    found = [path for name in SOURCE_ROOTS for path in (ROOT / name / "tanpo").iterdir()]
    return sorted(path for path in found if path.is_dir() and path.name != "__pycache__")


@pytest.fixture(scope="session")
def shipped() -> dict[Path, ast.Module]:
    """Every module we ship and wrote, parsed: no generated code, no contracts."""
    paths = [path for name in SOURCE_ROOTS for path in sorted((ROOT / name / "tanpo").rglob("*.py"))]
    return {
        path.relative_to(ROOT): ast.parse(path.read_text())
        for path in paths
        if not is_generated(path) and not is_dialect(path)
    }


@pytest.fixture(scope="session")
def python_files() -> list[Path]:
    """Every Python file we write by hand, tests and commands included; no contracts."""
    folders = [*SOURCE_ROOTS, "tests", "bench", "docs", ".ci", "deploy"]
    paths = [path for name in folders for path in sorted((ROOT / name).rglob("*.py"))]
    return [path for path in paths if not is_generated(path) and not is_dialect(path)]
