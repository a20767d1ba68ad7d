"""Opens the bank: the instrument that the accounts are kept in, and their opening balances."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Final

from tanpo.client import AsyncClient, load_profile
from tanpo.ledger.values import Value
from tanpo.testing.chaos.network import ChaosNetwork
from tanpo.testing.chaos.workloads import INSTRUMENT, Book

REGISTRAR: Final = "trust-bank"
CUSTODIAN: Final = "custody-bank"
REFERENCE: Final = "bench-lock"
DEADLINE_S: Final = 60.0


async def open_book(network: ChaosNetwork) -> Book:
    """Define the instrument and give every account its opening balance; return the accounts.

    Raises:
        ContractFailed: the book of this network is open already.
    """
    book = Book.create(network.members)
    total = sum(book.opening.values())
    lock: dict[str, Value] = {"instrument": INSTRUMENT, "reference": REFERENCE, "quantity": total}
    async with AsyncExitStack() as stack:
        registrar, custodian = [
            await stack.enter_async_context(
                AsyncClient(load_profile(network.local.folder.get_member(member).profile))
            )
            for member in (REGISTRAR, CUSTODIAN)
        ]
        await _submit(registrar, "define", {"instrument": describe_instrument()})
        await _submit(custodian, "confirm_lock", lock)
        await asyncio.gather(
            *(
                _submit(registrar, "mint", lock | {"account": account, "quantity": quantity})
                for account, quantity in book.opening.items()
            )
        )
    return book


def describe_instrument() -> dict[str, Value]:
    """Return the instrument as `instruments.define` takes it."""
    return {
        "id": INSTRUMENT,
        "name": "Bench units",
        "kind": "fund_share",
        "currency": "USD",
        "decimals": 0,
        "denomination": 1,
        "registrar": REGISTRAR,
        "custodian": CUSTODIAN,
        "issuer_lei": "",
        "asset_class": "money_market_fund",
        "country": "LU",
        "rating": "",
        "maturity": 0,
    }


async def _submit(client: AsyncClient, entry: str, arguments: dict[str, Value]) -> None:
    committed = await client.submit("instruments", entry, arguments, deadline_s=DEADLINE_S)
    committed.raise_for_failure()
