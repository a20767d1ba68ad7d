"""Members, instruments, holdings and prices of the sample network, and the arguments contracts take for them.

Files hold amounts as people write them; the properties and functions here turn them into the integers in the
smallest unit that the contracts work with, and refuse what would not come out whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from typing import Final, Literal

from tanpo.cli.samples.reading import (
    Number,
    Rows,
    Shape,
    ShapeT,
    decimals_of,
    parse_json,
    read_shape,
    refused,
    to_units,
)
from tanpo.ledger.values import Value

PRICE_SCALE_DIGITS: Final = 12
"""The collateral contract takes prices in units of 10**-12."""

Arguments = dict[str, Value]
"""The arguments of a contract's entry point, by name."""


class Member(Shape):
    """A member of the sample network."""

    member: str
    name: str
    lei: str
    roles: Rows[str]


class Instrument(Shape):
    """An instrument; `denomination` is the smallest tradable amount in whole units."""

    id: str
    name: str
    kind: Literal[
        "bond", "equity", "fund_share", "beneficiary_right", "deposit_token", "stablecoin", "basket"
    ]
    currency: str
    decimals: int
    denomination: Number
    registrar: str
    custodian: str
    issuer_lei: str
    asset_class: str
    country: str
    rating: str
    maturity: int

    def to_arguments(self) -> Arguments:
        """Return the argument of `instruments.define`."""
        fields: dict[str, Value] = dict(self.model_dump(exclude={"denomination"}))
        fields["denomination"] = to_units(
            self.denomination, self.decimals, "instruments.json", f"{self.id}.denomination"
        )
        return {"instrument": fields}


class Holding(Shape):
    """What an account starts with, in whole units."""

    account: str
    instrument: str
    quantity: Number


class InstrumentPrice(Shape):
    """A price in the instrument's currency: per cent of the nominal, or for one whole unit."""

    instrument: str
    price: Number
    quotation: Literal["percent", "unit"]


class Rate(Shape):
    """What one unit of the first currency of the pair costs in the second, as in `USD/JPY`."""

    pair: str
    rate: Number


class Prices(Shape):
    """What price sources publish."""

    sources: Rows[str]
    instruments: Rows[InstrumentPrice]
    rates: Rows[Rate]


class _Members(Shape):
    members: Rows[Member]


class _Instruments(Shape):
    instruments: Rows[Instrument]


class _Holdings(Shape):
    holdings: Rows[Holding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All samples together, checked against each other."""

    members: tuple[Member, ...]
    instruments: tuple[Instrument, ...]
    holdings: tuple[Holding, ...]
    prices: Prices

    def get_instrument(self, instrument: str) -> Instrument:
        """Return the instrument of this id. Raises `UsageError` if there is none."""
        for one in self.instruments:
            if one.id == instrument:
                return one
        raise refused("samples", "instrument", instrument, "is not in instruments.json")

    def get_member(self, lei: str) -> Member:
        """Return the member with this LEI. Raises `UsageError` if there is none."""
        for one in self.members:
            if one.lei == lei:
                return one
        raise refused("samples", "lei", lei, "is not the LEI of a member in members.json")

    def list_quantities(self) -> tuple[tuple[str, str, int], ...]:
        """Return (account, instrument, quantity in the smallest unit) of every holding."""
        result = []
        for holding in self.holdings:
            decimals = self.get_instrument(holding.instrument).decimals
            field = f"{holding.account}.{holding.instrument}.quantity"
            result.append(
                (
                    holding.account,
                    holding.instrument,
                    to_units(holding.quantity, decimals, "holdings.json", field),
                )
            )
        return tuple(result)

    def to_price_arguments(self) -> tuple[Value, ...]:
        """Return the prices and rates as `collateral.publish` takes them."""
        result: list[Value] = []
        for one in self.prices.instruments:
            what = self.get_instrument(one.instrument)
            price = one.price / 100 if one.quotation == "percent" else one.price
            shift = decimals_of(what.currency, "prices.json", one.instrument) - what.decimals
            result.append(
                {"subject": one.instrument, "value": _scale(price, shift, f"{one.instrument}.price")}
            )
        for rate in self.prices.rates:
            base, _, quote = rate.pair.partition("/")
            shift = decimals_of(quote, "prices.json", rate.pair) - decimals_of(base, "prices.json", rate.pair)
            result.append({"subject": rate.pair, "value": _scale(rate.rate, shift, f"{rate.pair}.rate")})
        return tuple(result)


def load_catalog() -> Catalog:
    """Return the samples that ship with the product.

    Raises:
        UsageError: a file is malformed, or one names something that another does not define.
    """
    catalog = Catalog(
        members=_load(_Members, "members.json").members,
        instruments=_load(_Instruments, "instruments.json").instruments,
        holdings=_load(_Holdings, "holdings.json").holdings,
        prices=_load(Prices, "prices.json"),
    )
    _check_references(catalog)
    return catalog


def read_text(name: str) -> str:
    """Return the text of a sample file."""
    return files("tanpo.cli.samples").joinpath(name).read_text(encoding="utf-8")


def _load(shape: type[ShapeT], name: str) -> ShapeT:
    return read_shape(shape, parse_json(read_text(name), name), name)


def _check_references(catalog: Catalog) -> None:
    members = {one.member for one in catalog.members}
    for instrument in catalog.instruments:
        for field in ("registrar", "custodian"):
            member = getattr(instrument, field)
            if member not in members:
                raise refused(
                    "instruments.json", f"{instrument.id}.{field}", member, "is not in members.json"
                )
    for holding in catalog.holdings:
        catalog.get_instrument(holding.instrument)
        if holding.account.partition("/")[0] not in members:
            raise refused("holdings.json", "account", holding.account, "belongs to no member in members.json")
    for one in catalog.prices.instruments:
        catalog.get_instrument(one.instrument)
    for source in catalog.prices.sources:
        if source not in members:
            raise refused("prices.json", "sources", source, "is not in members.json")


def _scale(number: Decimal, shift: int, field: str) -> int:
    return to_units(number, PRICE_SCALE_DIGITS + shift, "prices.json", field)
