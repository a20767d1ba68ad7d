"""Where things live: one namespace from four source roots (STYLE, section 1)."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

SOURCE_ROOTS = ("consensus", "contracts", "node", "proto")
UNSHIPPED = {"consensus": {"model"}}
"""Beside the namespace: programs for developers that belong to a root and are in no wheel."""


def test_no_source_root_hides_the_others(root: Path) -> None:
    """An `__init__.py` at namespace level would make Python find one root only."""
    hiding = [
        path
        for name in SOURCE_ROOTS
        for path in (root / name / "__init__.py", root / name / "tanpo/__init__.py")
    ]

    assert [path for path in hiding if path.exists()] == []


def test_source_roots_contribute_nothing_but_the_namespace(root: Path) -> None:
    for name in SOURCE_ROOTS:
        folders = {path.name for path in (root / name).iterdir() if path.is_dir()}

        assert folders - UNSHIPPED.get(name, set()) - {"__pycache__"} == {"tanpo"}


def test_no_package_is_split_over_two_source_roots(packages: list[Path]) -> None:
    names = [path.name for path in packages]

    assert len(set(names)) == len(names)


def test_every_package_says_it_is_typed(packages: list[Path]) -> None:
    assert [path for path in packages if not (path / "py.typed").exists()] == []


def test_every_folder_with_modules_is_a_package_with_a_purpose(shipped: dict[Path, ast.Module]) -> None:
    folders = {path.parent for path in shipped}

    assert sorted(folder for folder in folders if folder / "__init__.py" not in shipped) == []


def test_build_installs_all_source_roots(root: Path) -> None:
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert sorted(wheel["packages"]) == sorted(f"{name}/tanpo" for name in SOURCE_ROOTS)
    assert sorted(wheel["dev-mode-dirs"]) == sorted(SOURCE_ROOTS)


def test_nothing_imports_by_path_from_the_checkout(python_files: list[Path]) -> None:
    """`consensus.tanpo...` would load a module a second time."""
    faults = [
        f"{path}: {name}"
        for path in python_files
        for name in imported_names(ast.parse(path.read_text()))
        if name.split(".")[0] in SOURCE_ROOTS or name.split(".")[0] in {"tests", "bench"}
    ]

    assert faults == []


def test_layers_of_the_linter_are_the_packages_that_exist(root: Path, packages: list[Path]) -> None:
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    named = [name.strip() for layer in layers for name in layer.split("|")]

    assert sorted(named) == sorted(path.name for path in packages)


def test_exports_are_what_is_imported(shipped: dict[Path, ast.Module]) -> None:
    """Their order is ruff's RUF022."""
    faults = []
    for path, module in shipped.items():
        if path.name == "__init__.py":
            imported = [
                a.asname or a.name for n in module.body if isinstance(n, ast.ImportFrom) for a in n.names
            ]
            public = sorted(name for name in imported if name != "annotations")
            defined = [n.name for n in module.body if isinstance(n, ast.FunctionDef) and n.name[0] != "_"]
            if sorted(read_exports(module)) != sorted(public + defined):
                faults.append(str(path))

    assert faults == []


def test_package_files_hold_no_logic(shipped: dict[Path, ast.Module]) -> None:
    """Re-exports only. The command's entry point may import lazily: its help must be quick."""
    faults = [
        f"{path}:{node.lineno}"
        for path, module in shipped.items()
        if path.name == "__init__.py"
        for node in module.body
        if not isinstance(node, ast.ImportFrom) and not is_docstring(node) and not is_exports(node)
    ]

    assert faults == []


def imported_names(module: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return names


def read_exports(module: ast.Module) -> list[str]:
    for node in module.body:
        if isinstance(node, ast.Assign) and is_exports(node):
            exported: list[str] = ast.literal_eval(node.value)
            return exported
    return []


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def is_exports(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
