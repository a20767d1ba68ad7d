"""A small market on a ledger in memory: members, instruments, holdings, and the checks that must hold.

For tests of the product's contracts and of contracts that build on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from tanpo.ledger.values import Value
from tanpo.testing.ledger import Ledger, build_member

REGISTRAR: Final = "trust-bank"
CUSTODIAN: Final = "custody-bank"
DEALERS: Final = ("dealer-a", "dealer-b", "dealer-c")

MEMBERS: Final[tuple[Mapping[str, Value], ...]] = (
    build_member(REGISTRAR, ("registrar", "cash_issuer", "price_source")),
    build_member(CUSTODIAN, ("custodian", "price_source", "collateral_agent")),
    *(build_member(dealer, ("participant",)) for dealer in DEALERS),
)

BOND: Final = "US91282CJZ59"
SHARE: Final = "JP3633400001"
FUND: Final = "LU0875336629"
USD: Final = "usd-deposit"
EUR: Final = "eur-deposit"

PRICE_SCALE: Final = 10**12
"""The collateral contract takes prices in units of 1 / PRICE_SCALE."""

Record = dict[str, Any]


class Market:
    """A ledger with the product's contracts, and short ways to set a scene on it."""

    def __init__(self, *, operators: Sequence[str] = ("settlement", "collateral")) -> None:
        self.ledger = Ledger()
        self.ledger.deploy_product(MEMBERS, operators=operators)
        self._instruments: list[str] = []
        self._references = 0

    def define(self, instrument: str, **changes: Value) -> None:
        """Define an instrument; `changes` replace fields of a plain dollar bond."""
        fields = {**build_instrument(instrument), **changes}
        signer = str(fields["registrar"])
        self.ledger.call("instruments", "define", sender=signer, instrument=fields)
        self._instruments.append(instrument)

    def define_all(self) -> None:
        """Define a bond, a share, a fund and deposits in dollars and euros."""
        self.define(BOND, maturity=20340215, denomination=100)
        self.define(SHARE, kind="equity", asset_class="equity", currency="USD", rating="", country="JP")
        self.define(FUND, kind="fund_share", asset_class="money_market_fund", country="LU")
        for instrument, currency in ((USD, "USD"), (EUR, "EUR")):
            self.define(
                instrument, kind="deposit_token", asset_class="cash", currency=currency, rating="", country=""
            )

    def issue(self, instrument: str, account: str, quantity: int) -> None:
        """Have the custodian confirm a quantity and the registrar mint it."""
        self._references += 1
        reference = f"lock-{self._references}"
        self.ledger.call(
            "instruments",
            "confirm_lock",
            sender=CUSTODIAN,
            instrument=instrument,
            reference=reference,
            quantity=quantity,
        )
        self.ledger.call(
            "instruments",
            "mint",
            sender=REGISTRAR,
            instrument=instrument,
            account=account,
            quantity=quantity,
            reference=reference,
        )

    def swap(self, legs: Sequence[Mapping[str, Value]], *signers: str) -> None:
        """Settle legs in one transaction signed by `signers`."""
        self.ledger.call("settlement", "swap", sender=signers[0], signers=signers, legs=tuple(legs))

    def publish(self, prices: Mapping[str, int], *sources: str) -> None:
        """Publish prices, in units of 1 / PRICE_SCALE, from every source."""
        rows: tuple[Value, ...] = tuple({"subject": name, "value": value} for name, value in prices.items())
        for source in sources or (REGISTRAR,):
            self.ledger.call("collateral", "publish", sender=source, source=source, prices=rows)

    def agree(self, agreement: Mapping[str, Value]) -> None:
        """Conclude an agreement, signed by both parties."""
        first, second = (cast(Record, agreement[side])["member"] for side in ("first", "second"))
        self.ledger.call("collateral", "agree", sender=first, signers=(first, second), agreement=agreement)

    def position(self, account: str, instrument: str) -> Record:
        """Return the position of an account."""
        return cast(
            Record, self.ledger.view("instruments", "position", account=account, instrument=instrument)
        )

    def free(self, account: str, instrument: str) -> int:
        """Return what an account could deliver at once."""
        return cast(int, self.ledger.view("instruments", "free", account=account, instrument=instrument))

    def supply(self, instrument: str) -> Record:
        """Return the running totals of an instrument."""
        return cast(Record, self.ledger.view("instruments", "supply", instrument=instrument))

    def _list_holders(self, instrument: str) -> tuple[str, ...]:
        """Return every account with a position in the instrument."""
        page = self.ledger.view("instruments", "holders", instrument=instrument, after="", limit=100)
        return cast("tuple[str, ...]", page)

    def check_conservation(self) -> None:
        """Check I1 to I4 for every instrument defined here: nothing lost, made or below zero."""
        for instrument in self._instruments:
            positions = [self.position(account, instrument) for account in self._list_holders(instrument)]
            supply = self.supply(instrument)
            titles = sum(one["free"] + one["locked"] + one["pledged_out"] for one in positions)
            outstanding = supply["minted"] - supply["burned"]
            _check(
                titles == outstanding, f"{instrument}: accounts hold {titles}, {outstanding} are outstanding"
            )
            locked = supply["confirmed"] - supply["released"]
            _check(outstanding <= locked, f"{instrument}: {outstanding} outstanding, {locked} confirmed")
            pledged = [sum(one[side] for one in positions) for side in ("pledged_out", "pledged_in")]
            _check(pledged[0] == pledged[1], f"{instrument}: pledged out and in are {pledged}")
            for one in positions:
                _check(min(one.values()) >= 0, f"{instrument}: a balance below zero in {one}")
                _check(max(one.values()) > 0, f"{instrument}: an empty position is kept")


def build_instrument(instrument: str) -> Record:
    """Return the definition of a plain dollar bond."""
    return {
        "id": instrument,
        "name": f"sample {instrument}",
        "kind": "bond",
        "currency": "USD",
        "decimals": 2,
        "denomination": 1,
        "registrar": REGISTRAR,
        "custodian": CUSTODIAN,
        "issuer_lei": "",
        "asset_class": "government_bond",
        "country": "US",
        "rating": "AA+",
        "maturity": 0,
    }


def build_leg(deliverer: str, receiver: str, instrument: str, quantity: int) -> Record:
    """Return one leg of a settlement."""
    return {"deliverer": deliverer, "receiver": receiver, "instrument": instrument, "quantity": quantity}


def build_party(member: str, **changes: Value) -> Record:
    """Return one side of an agreement: no threshold, nothing too small to transfer."""
    party = {
        "member": member,
        "account": member,
        "lei": "",
        "threshold": 0,
        "infinite_threshold": False,
        "minimum_transfer": 0,
        "independent_amount": 0,
    }
    return {**party, **changes}


def build_line(asset_class: str, haircut_bps: int = 0, **changes: Value) -> Record:
    """Return one line of an eligible schedule that asks for nothing but the asset class."""
    line = {
        "asset_class": asset_class,
        "currency": "",
        "country": "",
        "rating_worst": "",
        "years_over": 0,
        "years_up_to": 0,
        "haircut_bps": haircut_bps,
        "additional_bps": 0,
    }
    return {**line, **changes}


def build_limit(scope: str, **changes: Value) -> Record:
    """Return a concentration limit; give it an `amount` or a `share_bps`."""
    return {"scope": scope, "key": "", "asset_class": "", "amount": 0, "share_bps": 0, **changes}


def build_agreement(first: Record, second: Record, **changes: Value) -> Record:
    """Return a dollar agreement that takes deposits at par and rounds to the cent."""
    agreement = {
        "id": "csa-1",
        "first": first,
        "second": second,
        "agent": "",
        "governing_law": "JPN",
        "document": "",
        "base_currency": "USD",
        "delivery_multiple": 1,
        "return_multiple": 1,
        "fx_haircut_bps": 800,
        "substitution_needs_consent": False,
        "price_age_max_ms": 86_400_000,
        "price_sources_min": 1,
        "lines": (build_line("cash"),),
        "limits": (),
    }
    return {**agreement, **changes}


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
