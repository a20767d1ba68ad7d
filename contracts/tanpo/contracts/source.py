"""Reads the contracts that ship with the product, as text.

The modules beside this one are data: importing them would run them as Python, which nothing here does.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from tanpo.ledger.errors import Reason, UsageError

PRODUCT_CONTRACTS: Final = ("members", "validators", "contracts", "instruments", "settlement", "collateral")
"""The contracts in order of dependency: each calls only those before it."""


def load_source(name: str) -> str:
    """Return the source of one of `PRODUCT_CONTRACTS`.

    Raises:
        UsageError: the product has no contract of this name.
    """
    if name not in PRODUCT_CONTRACTS:
        raise UsageError(
            Reason.CONTRACT_UNKNOWN,
            f"the product has no contract {name}",
            value=name,
            limit=", ".join(PRODUCT_CONTRACTS),
            remedy="name one of the product's contracts",
        )
    return files("tanpo.contracts").joinpath(f"{name}.py").read_text(encoding="ascii")
