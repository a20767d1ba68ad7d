"""Contracts in files, checked as a network would check them, without one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tanpo.cli.proposals import load_source_file
from tanpo.contracts import PRODUCT_CONTRACTS, load_source
from tanpo.ledger.errors import Reason, UsageError
from tanpo.vm import CompiledContract, Fault, compile_in_order


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of checking one file: the contract, or everything that is wrong with it."""

    path: Path
    compiled: CompiledContract | None
    faults: tuple[Fault, ...]

    def list_faults(self) -> tuple[str, ...]:
        """Return a line for each fault: file, line, column, code, what stands there, and what to do."""
        return tuple(
            f"{self.path}:{fault.place}: {fault.code}: {fault.message}; found: {fault.construct}"
            f" ({fault.remedy})"
            for fault in self.faults
        )


def parse_uses(given: Iterable[str]) -> dict[str, Path]:
    """Return the files of `name=path` texts by the name of the contract.

    Raises:
        UsageError: one has another form, or a name is given twice.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, sign, path = text.partition("=")
        if not (name and sign and path) or name in found:
            raise UsageError(
                Reason.CONFIGURATION,
                "a contract to use is named twice"
                if name in found
                else "a contract to use has no name or file",
                value=text,
                limit="each contract once, as name=path",
                remedy="give for example --uses prices=contracts/prices.py",
            )
        found[name] = Path(path)
    return found


def check_files(paths: Sequence[Path], uses: Mapping[str, Path]) -> tuple[Checked, ...]:
    """Check files, each as a contract of the file's name, and those of `uses` before them.

    They may have handles of one another in any order, and of the product's contracts; a file stands for the
    product's contract of its name. Files of `uses` come back too if they have faults.

    Raises:
        UsageError: a file cannot be read, or two files are contracts of one name.
    """
    files = dict(uses)
    for path in paths:
        if files.get(path.stem, path) != path:
            raise UsageError(
                Reason.CONFIGURATION,
                "two files are contracts of one name",
                value=path,
                limit=files[path.stem],
                remedy="check them one after the other, or rename a file",
            )
        files[path.stem] = path
    sources = {name: load_source_file(path).decode("latin-1") for name, path in files.items()}
    if any("Contract" in source for source in sources.values()):
        sources = {name: load_source(name) for name in PRODUCT_CONTRACTS} | sources
    compiled, faults = compile_in_order(sources)
    reported = {
        name: Checked(path=path, compiled=compiled.get(name), faults=faults.get(name, ()))
        for name, path in files.items()
    }
    asked = {path.stem for path in paths}
    return tuple(one for name, one in reported.items() if name in asked or one.faults)


def describe_contract(compiled: CompiledContract) -> dict[str, Any]:
    """Return the interface of a contract and what it uses of others, ready for JSON."""
    used: dict[str, list[str]] = {name: [] for name in compiled.handles}
    for _, contract, function in compiled.unit.imports:
        used[contract].append(function)
    imports = [{"contract": name, "functions": sorted(set(used[name]))} for name in sorted(used)]
    return compiled.interface.describe() | {"imports": imports}


def list_interface(described: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what `describe_contract` returns as rows: kind, name, what goes in, what comes out."""
    rows = [_describe_row("init", "@init", described["init"])] if described["init"] else []
    for kind, key in (("entry", "entries"), ("view", "views")):
        rows += [
            _describe_row(kind, one["name"], one["parameters"], one["returns"]) for one in described[key]
        ]
    for kind, key in (("record", "records"), ("event", "events")):
        rows += [_describe_row(kind, one["name"], one["fields"]) for one in described[key]]
    for one in described["imports"]:
        rows.append(
            {"kind": "import", "name": one["contract"], "takes": ", ".join(one["functions"]), "returns": ""}
        )
    return rows


def _describe_row(
    kind: str, name: str, fields: Iterable[Mapping[str, str]], returns: str = ""
) -> dict[str, str]:
    takes = ", ".join(f"{one['name']}: {one['type']}" for one in fields)
    return {"kind": kind, "name": name, "takes": takes, "returns": returns}
