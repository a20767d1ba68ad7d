"""What the bench trades: fund shares against dollars, between many pairs of sub-accounts of two dealers.

Many accounts, because a bench on four balances would flatter the tree and the store; always in one direction
and in small quantities, so that no swap ever fails for lack of balance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.journal import run_all
from tanpo.cli.demo.trading import BUYER, SELLER, swap
from tanpo.cli.samples import Catalog
from tanpo.ledger.transaction import Call, Envelope
from tanpo.ledger.values import Value

FUND: Final = "LU0875336629"
DOLLARS: Final = "usd-deposit"
PAIRS: Final = 200
"""Pairs of sub-accounts: about as many as a block under load has swaps."""
LEGS: Final = 16
FUNDING_UNITS: Final = 10_000_000
"""Given to each sub-account: enough for a hundred thousand swaps each."""
SWAP_UNITS: Final = 100
"""One fund share against one dollar."""
SIGNED_FOR_S: Final = 1800.0
MIX: Final = {
    "kind": "two-party swap: fund shares against dollars, settled by the contract `settlement`",
    "legs": 2,
    "signatures": 2,
    "account_pairs": PAIRS,
    "envelope_transactions": 1,
}


async def open_book(desk: Desk, catalog: Catalog) -> None:
    """Define and mint the two instruments, and fund every sub-account."""
    for instrument in (FUND, DOLLARS):
        what = catalog.get_instrument(instrument)
        call = Call.create("instruments", "define", what.to_arguments())
        await desk.settle(f"define {instrument}", call, (what.registrar,))
        for account, held, quantity in catalog.list_quantities():
            if held == instrument and account in (SELLER, BUYER):
                await _mint(desk, catalog, account, instrument, quantity)
    await run_all(
        desk.settle(
            f"fund sub-accounts of {owner}", Call.create("instruments", "settle", {"legs": legs}), (owner,)
        )
        for owner, instrument in ((SELLER, FUND), (BUYER, DOLLARS))
        for legs in _fund(owner, instrument)
    )


class SwapPress:
    """Signs swaps, each with a request id of its own; two presses of one ledger must have different names."""

    def __init__(self, desk: Desk, name: str = "bench") -> None:
        self._desk = desk
        self._name = name
        self._signed = 0

    def sign(self, count: int) -> list[Envelope]:
        """Return so many signed swaps, over all pairs of accounts in turn."""
        return [self._sign_one() for _ in range(count)]

    def _sign_one(self) -> Envelope:
        number, self._signed = self._signed, self._signed + 1
        pair = number % PAIRS
        call = swap(
            (f"{SELLER}/{pair}", f"{BUYER}/{pair}", FUND, SWAP_UNITS),
            (f"{BUYER}/{pair}", f"{SELLER}/{pair}", DOLLARS, SWAP_UNITS),
        )
        parties = (SELLER, BUYER) if number % 2 else (BUYER, SELLER)
        return self._desk.sign(call, parties, request_id=f"{self._name}-{number}", valid_for_s=SIGNED_FOR_S)


def _fund(owner: str, instrument: str) -> Iterator[tuple[Value, ...]]:
    legs: list[Value] = [
        {
            "deliverer": owner,
            "receiver": f"{owner}/{pair}",
            "instrument": instrument,
            "quantity": FUNDING_UNITS,
        }
        for pair in range(PAIRS)
    ]
    for start in range(0, PAIRS, LEGS):
        yield tuple(legs[start : start + LEGS])


async def _mint(desk: Desk, catalog: Catalog, account: str, instrument: str, quantity: int) -> None:
    what = catalog.get_instrument(instrument)
    reference = f"lock:{account}:{instrument}"
    confirm: dict[str, Value] = {"instrument": instrument, "reference": reference, "quantity": quantity}
    await desk.settle("confirm", Call.create("instruments", "confirm_lock", confirm), (what.custodian,))
    mint: dict[str, Value] = confirm | {"account": account}
    await desk.settle("mint", Call.create("instruments", "mint", mint), (what.registrar,))
