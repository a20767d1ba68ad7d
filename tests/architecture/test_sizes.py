"""How large things may grow (STYLE, section 3). Complexity is ruff's C901."""

from __future__ import annotations

import ast
from pathlib import Path

MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
PUBLIC_METHODS_MAX = 10

Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_no_module_is_too_long(root: Path, python_files: list[Path]) -> None:
    lengths = {path.relative_to(root): len(path.read_text().splitlines()) for path in python_files}

    assert {str(path): length for path, length in lengths.items() if length > MODULE_LINES_MAX} == {}


def test_every_function_fits_a_screen(shipped: dict[Path, ast.Module]) -> None:
    too_long = {
        f"{path}:{node.lineno} {node.name}": length
        for path, module in shipped.items()
        for node in ast.walk(module)
        if isinstance(node, Function)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    }

    assert too_long == {}


def test_no_class_has_too_many_public_methods(shipped: dict[Path, ast.Module]) -> None:
    counts = {
        f"{path}:{node.lineno} {node.name}": sum(
            isinstance(item, Function) and not item.name.startswith("_") and not is_property(item)
            for item in node.body
        )
        for path, module in shipped.items()
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
    }

    assert {name: count for name, count in counts.items() if count > PUBLIC_METHODS_MAX} == {}


def is_property(function: Function) -> bool:
    decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
    return any(name == "property" or name.endswith(".setter") for name in decorators)
