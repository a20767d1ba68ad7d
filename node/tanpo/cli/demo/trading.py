"""The first half of the demo: tokenise, deliver against payment, swap among three, and be refused whole."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from tanpo.cli.demo.desk import Desk, Position
from tanpo.cli.demo.journal import check, run_all
from tanpo.cli.samples import Catalog, Instrument
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value

SELLER: Final = "dealer-a"
BUYER: Final = "dealer-b"
CUSTODIAN: Final = "custody-bank"
BOND: Final = "JP1103741Q44"
CASH: Final = "jpy-deposit"
BOND_UNITS: Final = 500_000_000
"""Nominal of the bond delivered against payment, in yen."""
TREASURY: Final = "US91282CHT18"
BUND: Final = "DE000BU2Z023"
DOLLARS: Final = "usd-deposit"
CENTS_5M: Final = 500_000_000
"""Five million, in cents."""
EQUITY: Final = "JP3633400001"


async def tokenise(desk: Desk, catalog: Catalog) -> None:
    """Define every instrument, and mint what the custodian confirms and nothing else."""
    desk.journal.begin("Define and tokenise")
    await run_all(_define(desk, instrument) for instrument in catalog.instruments)
    await _mint_unconfirmed(desk, catalog.get_instrument(BOND))
    holdings = catalog.list_quantities()
    await run_all(_confirm(desk, catalog, *holding) for holding in holdings)
    await run_all(_mint(desk, catalog, *holding) for holding in holdings)
    for instrument in catalog.instruments:
        supply = await desk.ask("instruments", "supply", instrument=instrument.id)
        wanted = sum(quantity for _, held, quantity in holdings if held == instrument.id)
        check(
            supply["minted"] == supply["confirmed"] == wanted,
            f"{instrument.id} was not minted as confirmed",
            value=supply["minted"],
            limit=wanted,
        )
    desk.journal.note(
        f"{len(catalog.instruments)} instruments, {len(holdings)} holdings; an unconfirmed mint was refused"
    )


async def deliver_against_payment(desk: Desk, catalog: Catalog) -> None:
    """Deliver a bond against cash in one atomic swap of two legs."""
    desk.journal.begin("Bond against cash")
    cash = compute_consideration(catalog, BOND, BOND_UNITS)
    before = await _read(desk, ((SELLER, BOND), (BUYER, BOND), (SELLER, CASH), (BUYER, CASH)))
    await desk.settle(
        f"deliver {BOND_UNITS:,} {BOND} against {cash:,} yen",
        swap((SELLER, BUYER, BOND, BOND_UNITS), (BUYER, SELLER, CASH, cash)),
        (SELLER, BUYER),
    )
    await _check_moved(
        desk,
        before,
        {
            (SELLER, BOND): -BOND_UNITS,
            (BUYER, BOND): BOND_UNITS,
            (SELLER, CASH): cash,
            (BUYER, CASH): -cash,
        },
    )
    desk.journal.note(f"¥{BOND_UNITS:,} nominal against ¥{cash:,}, both legs in one instant")


async def swap_among_three(desk: Desk) -> None:
    """Settle three legs of three parties, each giving one instrument and getting another."""
    desk.journal.begin("Three-party swap")
    moves = (
        (SELLER, BUYER, TREASURY, CENTS_5M),
        (BUYER, CUSTODIAN, BUND, CENTS_5M),
        (CUSTODIAN, SELLER, DOLLARS, CENTS_5M),
    )
    places = [(account, instrument) for giver, taker, instrument, _ in moves for account in (giver, taker)]
    before = await _read(desk, tuple((a, i) for a, i in places))
    await desk.settle("swap three legs among three parties", swap(*moves), (SELLER, BUYER, CUSTODIAN))
    changes: dict[tuple[str, str], int] = {}
    for giver, taker, instrument, quantity in moves:
        changes[(giver, instrument)] = -quantity
        changes[(taker, instrument)] = quantity
    await _check_moved(desk, before, changes)
    desk.journal.note("Treasury, Bund and dollars change hands together, signed by three members")


async def refuse_uncovered(desk: Desk) -> None:
    """Refuse a swap whole because its second leg lacks cash, and name that leg."""
    desk.journal.begin("A leg lacks cash")
    available = (await desk.get_position(BUYER, CASH)).free
    places = ((SELLER, EQUITY), (BUYER, EQUITY), (SELLER, CASH), (BUYER, CASH))
    before = await _read(desk, places)
    await desk.refuse(
        "swap shares against cash that is not there",
        swap((SELLER, BUYER, EQUITY, 100_000), (BUYER, SELLER, CASH, available + 1)),
        (SELLER, BUYER),
        code="INSUFFICIENT_BALANCE",
        details={"leg": 1, "account": BUYER, "instrument": CASH, "needed": available + 1},
    )
    await _check_moved(desk, before, {})
    desk.journal.note("refused whole, no balance moved; the receipt names leg 1 and the missing yen")


def swap(*legs: tuple[str, str, str, int]) -> Call:
    """Return a swap of legs (deliverer, receiver, instrument, quantity)."""
    records: tuple[Value, ...] = tuple(
        {"deliverer": giver, "receiver": taker, "instrument": instrument, "quantity": quantity}
        for giver, taker, instrument, quantity in legs
    )
    return Call.create("settlement", "swap", {"legs": records})


def compute_consideration(catalog: Catalog, instrument: str, quantity: int) -> int:
    """Return what a quantity costs at the sample price, in the smallest unit of its currency."""
    price = next(one for one in catalog.prices.instruments if one.instrument == instrument)
    ratio = price.price / Decimal(100) if price.quotation == "percent" else price.price
    return int(quantity * ratio)


async def _define(desk: Desk, instrument: Instrument) -> None:
    call = Call.create("instruments", "define", instrument.to_arguments())
    await desk.settle(f"define {instrument.id}", call, (instrument.registrar,))


async def _mint_unconfirmed(desk: Desk, instrument: Instrument) -> None:
    arguments: dict[str, Value] = {
        "instrument": instrument.id,
        "account": SELLER,
        "quantity": BOND_UNITS,
        "reference": "nobody-confirmed-this",
    }
    await desk.refuse(
        f"mint {instrument.id} without the custodian's confirmation",
        Call.create("instruments", "mint", arguments),
        (instrument.registrar,),
        code="CONFIRMATION_UNKNOWN",
        details={"instrument": instrument.id},
    )


async def _confirm(desk: Desk, catalog: Catalog, account: str, instrument: str, quantity: int) -> None:
    arguments: dict[str, Value] = {
        "instrument": instrument,
        "reference": f"lock:{account}:{instrument}",
        "quantity": quantity,
    }
    await desk.settle(
        f"confirm that {quantity} {instrument} for {account} is locked",
        Call.create("instruments", "confirm_lock", arguments),
        (catalog.get_instrument(instrument).custodian,),
    )


async def _mint(desk: Desk, catalog: Catalog, account: str, instrument: str, quantity: int) -> None:
    arguments: dict[str, Value] = {
        "instrument": instrument,
        "account": account,
        "quantity": quantity,
        "reference": f"lock:{account}:{instrument}",
    }
    await desk.settle(
        f"mint {quantity} {instrument} to {account}",
        Call.create("instruments", "mint", arguments),
        (catalog.get_instrument(instrument).registrar,),
    )


async def _read(desk: Desk, places: tuple[tuple[str, str], ...]) -> dict[tuple[str, str], Position]:
    found = await run_all((desk.get_position(account, instrument) for account, instrument in places))
    return dict(zip(places, found, strict=True))


async def _check_moved(
    desk: Desk, before: dict[tuple[str, str], Position], changes: dict[tuple[str, str], int]
) -> None:
    for (account, instrument), position in before.items():
        after = await desk.get_position(account, instrument)
        wanted = position.free + changes.get((account, instrument), 0)
        check(
            after.free == wanted and after.held - after.free == position.held - position.free,
            f"{account} does not have the {instrument} it should",
            value=after.free,
            limit=wanted,
        )
