"""Reads eligible collateral of an annex into the lines and limits of the collateral contract.

A `marginPercentage` is a valuation percentage from 50 to 100 or a fraction from 0.5 to below 1; the haircut
is what is missing to the whole. A ratio above 1 (over-collateralisation) or anything else is refused, as its
meaning depends on who wrote the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from tanpo.cli.samples.reading import ForeignShape, Number, read_shape, refused
from tanpo.ledger.values import Value

BPS: Final = 10_000

_RATINGS: Final = frozenset(
    (
        *("AAA", "AA+", "AA", "AA-", "A+", "A", "A-", "BBB+", "BBB", "BBB-"),
        *("BB+", "BB", "BB-", "B+", "B", "B-", "CCC+", "CCC", "CCC-", "CC", "C", "D"),
    )
)
_LIMIT_SCOPES: Final = {"ISSUER": "issuer", "ASSET": "instrument"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EligibleLine:
    """One line of an eligible schedule: empty text fits everything, 0 years is no bound."""

    asset_class: str
    country: str
    rating_worst: str
    years_over: int
    years_up_to: int
    haircut_bps: int

    def to_argument(self) -> Value:
        """Return the record `Line` of the collateral contract."""
        return {
            "asset_class": self.asset_class,
            "currency": "",
            "country": self.country,
            "rating_worst": self.rating_worst,
            "years_over": self.years_over,
            "years_up_to": self.years_up_to,
            "haircut_bps": self.haircut_bps,
            "additional_bps": 0,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcentrationLimit:
    """The share, in basis points of value after haircut, that one issuer or instrument may not exceed."""

    scope: str
    asset_class: str
    share_bps: int

    def to_argument(self) -> Value:
        """Return the record `Limit` of the collateral contract."""
        return {
            "scope": self.scope,
            "key": "",
            "asset_class": self.asset_class,
            "amount": 0,
            "share_bps": self.share_bps,
        }


def read_lines(election: Any, origin: str) -> tuple[tuple[EligibleLine, ...], tuple[ConcentrationLimit, ...]]:
    """Return one party's eligible collateral.

    Raises:
        UsageError: a criterion or treatment that the contract could not apply exactly; the message names it.
    """
    lines: list[EligibleLine] = []
    limits: list[ConcentrationLimit] = []
    for part in read_shape(_Election, election, origin).eligible_collateral:
        line = _read_line(part, origin)
        lines.append(line)
        for limit in part.treatment.concentration_limit:
            found = _read_limit(limit, line.asset_class, origin)
            if found not in limits:
                limits.append(found)
    return tuple(lines), tuple(limits)


class _ValuationTreatment(ForeignShape):
    margin_percentage: Number


class _UpperBound(ForeignShape):
    inclusive: bool
    number: Number


class _PercentageLimit(ForeignShape):
    upper_bound: _UpperBound


class _LimitCriteria(ForeignShape):
    concentration_limit_type: str


class _Limit(ForeignShape):
    concentration_limit_criteria: _LimitCriteria
    percentage_limit: _PercentageLimit


class _Treatment(ForeignShape):
    is_included: bool
    valuation_treatment: _ValuationTreatment
    concentration_limit: list[_Limit] = []


class _Collateral(ForeignShape):
    collateral_criteria: dict[str, Any]
    treatment: _Treatment


class _Election(ForeignShape):
    eligible_collateral: list[_Collateral]


class _AssetType(ForeignShape):
    asset_type: str = ""
    security_type: str = ""
    fund_type: str = ""


class _Period(ForeignShape):
    period: str
    period_multiplier: int


class _Bound(ForeignShape):
    inclusive: bool
    period: _Period


class _Range(ForeignShape):
    lower_bound: _Bound | None = None
    upper_bound: _Bound | None = None


class _Maturity(ForeignShape):
    maturity_range: _Range
    maturity_type: str


class _Notation(ForeignShape):
    value: str


class _CreditNotation(ForeignShape):
    agency: str
    notation: _Notation


class _AgencyRating(ForeignShape):
    boundary: str
    credit_notation: _CreditNotation


def _read_line(part: _Collateral, origin: str) -> EligibleLine:
    if not part.treatment.is_included:
        raise refused(origin, "treatment.isIncluded", False, "exclusions are not supported")
    kind = _AssetType()
    is_sovereign, country, rating = False, "", ""
    over, up_to = 0, 0
    for name, value in _flatten(part.collateral_criteria, origin):
        match name:
            case "AssetType":
                kind = read_shape(_AssetType, value, origin)
            case "CollateralIssuerType" if value == {"issuerType": "SOVEREIGN_CENTRAL_BANK"}:
                is_sovereign = True
            case "AssetCountryOfOrigin":
                country = str(value.get("assetCountryOfOrigin", ""))
            case "AssetMaturity":
                over, up_to = _read_maturity(read_shape(_Maturity, value, origin), origin)
            case "AssetAgencyRating":
                rating = _read_rating(read_shape(_AgencyRating, value["assetAgencyRating"], origin), origin)
            case _:
                raise refused(
                    origin,
                    f"collateralCriteria.{name}",
                    value,
                    "is a criterion that cannot be applied exactly",
                )
    return EligibleLine(
        asset_class=_asset_class(kind, origin, is_sovereign=is_sovereign),
        country=country,
        rating_worst=rating,
        years_over=over,
        years_up_to=up_to,
        haircut_bps=_read_haircut(part.treatment.valuation_treatment.margin_percentage, origin),
    )


def _flatten(criteria: dict[str, Any], origin: str) -> Iterator[tuple[str, Any]]:
    for name, value in criteria.items():
        if name == "AllCriteria":
            for part in value.get("allCriteria", []):
                yield from _flatten(part, origin)
        else:
            yield name, value


def _asset_class(kind: _AssetType, origin: str, *, is_sovereign: bool) -> str:
    match kind.asset_type, kind.security_type, kind.fund_type:
        case "CASH", "", "":
            return "cash"
        case "SECURITY", "DEBT", "" if is_sovereign:
            return "government_bond"
        case "SECURITY", "EQUITY", "":
            return "equity"
        case "SECURITY", "FUND", "MONEY_MARKET_FUND":
            return "money_market_fund"
    shown = " ".join(part for part in (kind.asset_type, kind.security_type, kind.fund_type) if part)
    raise refused(origin, "collateralCriteria.AssetType", shown, "is not an asset class we can tell apart")


def _read_maturity(maturity: _Maturity, origin: str) -> tuple[int, int]:
    if maturity.maturity_type != "REMAINING_MATURITY":
        raise refused(
            origin,
            "AssetMaturity.maturityType",
            maturity.maturity_type,
            "only REMAINING_MATURITY is supported",
        )
    lower, upper = maturity.maturity_range.lower_bound, maturity.maturity_range.upper_bound
    for name, bound, wanted in (("lowerBound", lower, False), ("upperBound", upper, True)):
        if bound is not None and (bound.period.period != "Y" or bound.inclusive is not wanted):
            raise refused(
                origin,
                f"AssetMaturity.maturityRange.{name}",
                f"{bound.period.period_multiplier}{bound.period.period}, inclusive {bound.inclusive}",
                "only years are supported, the lower bound outside and the upper bound inside",
            )
    return (lower.period.period_multiplier if lower else 0), (upper.period.period_multiplier if upper else 0)


def _read_rating(rating: _AgencyRating, origin: str) -> str:
    notation = rating.credit_notation.notation.value
    if rating.boundary != "MINIMUM" or rating.credit_notation.agency != "STANDARD_AND_POORS":
        shown = f"{rating.boundary} {rating.credit_notation.agency}"
        raise refused(origin, "AssetAgencyRating", shown, "only a MINIMUM by STANDARD_AND_POORS is supported")
    if notation not in _RATINGS:
        raise refused(
            origin, "AssetAgencyRating.creditNotation.notation", notation, "is not on the rating scale"
        )
    return notation


def _read_haircut(percentage: Decimal, origin: str) -> int:
    if 50 <= percentage <= 100:
        haircut = (100 - percentage) * 100
    elif Decimal("0.5") <= percentage < 1:
        haircut = (1 - percentage) * BPS
    else:
        raise refused(
            origin,
            "treatment.valuationTreatment.marginPercentage",
            percentage,
            "is neither a percentage from 50 to 100 nor a fraction from 0.5 to below 1",
            "state the valuation percentage",
        )
    if haircut != int(haircut):
        raise refused(
            origin, "treatment.valuationTreatment.marginPercentage", percentage, "is finer than 0.01 %"
        )
    return int(haircut)


def _read_limit(limit: _Limit, asset_class: str, origin: str) -> ConcentrationLimit:
    kind = limit.concentration_limit_criteria.concentration_limit_type
    if kind not in _LIMIT_SCOPES:
        raise refused(
            origin,
            "concentrationLimit.concentrationLimitType",
            kind,
            f"only {', '.join(_LIMIT_SCOPES)} are supported",
        )
    bound = limit.percentage_limit.upper_bound
    share = bound.number * BPS
    if not bound.inclusive or share != int(share) or not 0 < share <= BPS:
        raise refused(
            origin,
            "concentrationLimit.percentageLimit.upperBound",
            bound.number,
            "is not a fraction, inclusive",
        )
    return ConcentrationLimit(scope=_LIMIT_SCOPES[kind], asset_class=asset_class, share_bps=int(share))
