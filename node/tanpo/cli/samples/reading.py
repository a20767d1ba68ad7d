"""Reads JSON so that money stays exact, and names the field whenever something is refused.

Numbers with a fraction become `Decimal` straight from the text: a float never exists.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Strict, ValidationError
from pydantic.alias_generators import to_camel
from tanpo.ledger.errors import Reason, UsageError

CURRENCY_DECIMALS: Final = {"AUD": 2, "CAD": 2, "CHF": 2, "EUR": 2, "GBP": 2, "JPY": 0, "USD": 2}
"""Decimals of the currencies we read, from ISO 4217; others are refused rather than guessed."""


class Shape(BaseModel):
    """A JSON object of our own files: every field known, spelled as here, nothing converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ForeignShape(BaseModel):
    """A JSON object written by others, in camel case: what we do not read is passed over."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True, strict=True)


ShapeT = TypeVar("ShapeT", bound=BaseModel)
T = TypeVar("T")

Rows = Annotated[tuple[T, ...], Strict(False)]
"""A JSON array, kept as a tuple."""


def _to_decimal(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise ValueError(f"{value!r} is not a decimal number")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a decimal number") from None
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    return number


Number = Annotated[Decimal, BeforeValidator(_to_decimal)]
"""An exact decimal, written as a JSON number or as text."""


def parse_json(text: str, origin: str) -> Any:
    """Return JSON with exact numbers.

    Raises:
        UsageError: the text is not JSON, an object names a field twice, or a number is NaN or infinite.
    """
    try:
        return json.loads(
            text, parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_unique_fields
        )
    except ValueError as error:
        raise UsageError(
            Reason.MALFORMED,
            f"{origin} is not JSON we read: {error}",
            value=origin,
            remedy="correct the file",
        ) from None


def read_shape(shape: type[ShapeT], data: object, origin: str) -> ShapeT:
    """Return `data` as a typed object. Raises `UsageError` that names the first wrong field."""
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        shown = "" if first["type"] == "missing" else first["input"]
        raise refused(origin, field, shown, first["msg"]) from None


def refused(
    origin: str, field: str, value: object, why: str, remedy: str = "correct the field"
) -> UsageError:
    """Return the refusal of a file because of one field."""
    return UsageError(Reason.MALFORMED, f"{origin}: {field}: {why}", value=value, limit=field, remedy=remedy)


def to_units(amount: Decimal, decimals: int, origin: str, field: str) -> int:
    """Return an amount in the smallest unit. Raises `UsageError` if it does not come out whole."""
    units = amount.scaleb(decimals)
    whole = int(units)
    if units != whole:
        raise refused(origin, field, amount, f"has more than {decimals} decimals")
    return whole


def decimals_of(currency: str, origin: str, field: str) -> int:
    """Return how many decimals a currency has. Raises `UsageError` for one we do not know."""
    if currency not in CURRENCY_DECIMALS:
        raise refused(origin, field, currency, f"is not one of {', '.join(sorted(CURRENCY_DECIMALS))}")
    return CURRENCY_DECIMALS[currency]


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"field {twice} occurs twice")
    return fields
