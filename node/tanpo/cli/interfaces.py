"""The interfaces of a network's contracts, for commands that parse arguments or list what there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tanpo.cli.arguments import Interfaces
from tanpo.client import ContractView


def load_interfaces(contracts: Sequence[ContractView]) -> Interfaces:
    """Return the interfaces of installed contracts."""
    return Interfaces({contract.name: contract.interface for contract in contracts})


def list_functions(contracts: Sequence[ContractView], only: str | None) -> list[dict[str, Any]]:
    """Return every entry point and view, or those of one contract, as rows."""
    return [
        {
            "contract": contract.name,
            "kind": kind,
            "name": function["name"],
            "parameters": ", ".join(f"{one['name']}: {one['type']}" for one in function["parameters"]),
            "returns": function["returns"],
        }
        for contract in contracts
        if only in (None, contract.name)
        for section, kind in (("entries", "entry"), ("views", "view"))
        for function in contract.interface.get(section, ())
    ]
