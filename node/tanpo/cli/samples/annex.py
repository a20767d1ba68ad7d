"""Reads a credit support annex in the JSON shape of the Common Domain Model.

What is read: parties, base currency, thresholds, independent amounts, minimum transfer amounts, rounding,
currency haircut, consent to substitution, eligible collateral. The same word means different things in files
of different origin; a value that fits more than one meaning is refused by the name of its field.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from tanpo.cli.samples import annex_shape as shape
from tanpo.cli.samples.catalog import Arguments, read_text
from tanpo.cli.samples.eligibility import ConcentrationLimit, EligibleLine, read_lines
from tanpo.cli.samples.reading import (
    decimals_of,
    parse_json,
    read_shape,
    refused,
    to_units,
)
from tanpo.ledger.values import Value

ROLES: Final = ("PARTY_1", "PARTY_2")
STANDARD_FX_HAIRCUT_BPS: Final = 800
"""The haircut for currency mismatch that the 2016 form means by "Standard": 8 %."""

NO_THRESHOLD_SINCE: Final = 2016
"""From this vintage on a variation margin annex has no threshold unless it states one."""

_ELECTIONS: Final = "agreementTerms.agreement.creditSupportAgreementElections"
_VARIATION: Final = "CreditSupportAgreementVariationMarginElections"
_LEGACY: Final = "CreditSupportAgreementLegacyElections"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnexParty:
    """One party and its amounts, in whole units of the base currency. `threshold` counts unless infinite."""

    role: str
    name: str
    lei: str
    threshold: Decimal
    has_infinite_threshold: bool
    independent_amount: Decimal
    minimum_transfer: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Annex:
    """A credit support annex. `eligible` is its eligible collateral as found, read on demand."""

    origin: str
    dated: str
    governing_law: str
    vintage: int
    first: AnnexParty
    second: AnnexParty
    base_currency: str
    delivery_multiple: Decimal
    return_multiple: Decimal
    fx_haircut_bps: int
    substitution_needs_consent: bool
    eligible: tuple[Any, ...]

    def read_schedule(self) -> tuple[tuple[EligibleLine, ...], tuple[ConcentrationLimit, ...]]:
        """Return the eligible schedule and its limits.

        Raises:
            UsageError: a criterion cannot be applied exactly, or the parties' schedules differ.
        """
        schedules = [read_lines(part, self.origin) for part in self.eligible]
        if any(schedule != schedules[0] for schedule in schedules):
            raise refused(
                self.origin, "eligibleCreditSupport.partyElection", "", "the parties' schedules differ"
            )
        return schedules[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What an annex does not say: members and accounts of its parties, the agent, which prices count."""

    agreement: str
    members: tuple[str, str]
    accounts: tuple[str, str]
    agent: str
    price_age_max_ms: int
    price_sources_min: int


def to_agreement_arguments(annex: Annex, placement: Placement) -> Arguments:
    """Return the argument of `collateral.agree`.

    Raises:
        UsageError: an amount has fractions of the smallest unit, or the schedule cannot be applied exactly.
    """
    lines, limits = annex.read_schedule()
    decimals = decimals_of(annex.base_currency, annex.origin, "baseCurrency")

    def units(amount: Decimal, field: str) -> int:
        return to_units(amount, decimals, annex.origin, field)

    parties: list[Value] = []
    for party, member, account in zip(
        (annex.first, annex.second), placement.members, placement.accounts, strict=True
    ):
        parties.append(
            {
                "member": member,
                "account": account,
                "lei": party.lei,
                "threshold": units(party.threshold, "threshold"),
                "infinite_threshold": party.has_infinite_threshold,
                "minimum_transfer": units(party.minimum_transfer, "minimumTransferAmount"),
                "independent_amount": units(party.independent_amount, "independentAmount"),
            }
        )
    agreement: dict[str, Value] = {
        "id": placement.agreement,
        "first": parties[0],
        "second": parties[1],
        "agent": placement.agent,
        "governing_law": annex.governing_law,
        "document": f"{annex.origin}, dated {annex.dated}",
        "base_currency": annex.base_currency,
        "delivery_multiple": units(annex.delivery_multiple, "rounding.deliveryAmount"),
        "return_multiple": units(annex.return_multiple, "rounding.returnAmount"),
        "fx_haircut_bps": annex.fx_haircut_bps,
        "substitution_needs_consent": annex.substitution_needs_consent,
        "price_age_max_ms": placement.price_age_max_ms,
        "price_sources_min": placement.price_sources_min,
        "lines": tuple(line.to_argument() for line in lines),
        "limits": tuple(limit.to_argument() for limit in limits),
    }
    return {"agreement": agreement}


def load_annex() -> Annex:
    """Return the credit support annex that ships with the product."""
    return parse_annex(read_text("csa.json"), "csa.json")


def parse_annex(text: str, origin: str) -> Annex:
    """Return the annex that `text` holds.

    Raises:
        UsageError: it is not a credit support annex we read, or a field is missing, ambiguous or in another
            currency than the base currency; the message names the field.
    """
    document = read_shape(shape.Document, parse_json(text, origin), origin)
    identification = document.legal_agreement_identification
    elections, is_variation = _find_elections(document, origin)
    base = elections.base_and_eligible_currency.base_currency
    obligations = elections.credit_support_obligations
    has_no_threshold = is_variation and identification.vintage >= NO_THRESHOLD_SINCE
    if obligations.threshold is None and not has_no_threshold:
        raise refused(
            origin, "creditSupportObligations.threshold", "", "is missing, and the form implies none"
        )
    rounding = _check_rounding(obligations.rounding, base, origin)
    parties = [_read_party(document, obligations, role, base, origin) for role in ROLES]
    return Annex(
        origin=origin,
        dated=document.agreement_date,
        governing_law=identification.governing_law,
        vintage=identification.vintage,
        first=parties[0],
        second=parties[1],
        base_currency=base,
        delivery_multiple=rounding.delivery_amount,
        return_multiple=rounding.return_amount,
        fx_haircut_bps=_read_fx_haircut(obligations.fx_haircut, origin),
        substitution_needs_consent=_read_consent(elections.substitution),
        eligible=tuple(obligations.eligible_credit_support.party_election),
    )


def _find_elections(document: shape.Document, origin: str) -> tuple[shape.Elections, bool]:
    found = document.agreement_terms.agreement.credit_support_agreement_elections
    for name in (_VARIATION, _LEGACY):
        if name in found:
            return read_shape(
                shape.Elections, found[name], f"{origin}: {_ELECTIONS}.{name}"
            ), name == _VARIATION
    raise refused(origin, _ELECTIONS, ", ".join(sorted(found)), f"holds neither {_VARIATION} nor {_LEGACY}")


def _read_party(
    document: shape.Document, obligations: shape.Obligations, role: str, base: str, origin: str
) -> AnnexParty:
    matching = [one for one in document.agreement_terms.counterparty if one.role == role]
    if len(matching) != 1:
        raise refused(
            origin, "agreementTerms.counterparty.role", role, f"occurs {len(matching)} times instead of once"
        )
    body = matching[0].party_reference.value
    threshold = Decimal(0)
    infinite = False
    if obligations.threshold is not None:
        threshold, infinite = _read_amount(obligations.threshold, role, base, f"{origin}: threshold")
    minimum, unbounded = _read_amount(
        obligations.minimum_transfer_amount, role, base, f"{origin}: minimumTransferAmount"
    )
    if unbounded:
        raise refused(origin, "minimumTransferAmount.infinity", role, "no transfer would ever be due")
    return AnnexParty(
        role=role,
        name=body.name.value,
        lei=_read_lei(body, role, origin),
        threshold=threshold,
        has_infinite_threshold=infinite,
        independent_amount=_read_independent(obligations.independent_amount, role, base, origin),
        minimum_transfer=minimum,
    )


def _read_lei(body: shape.PartyBody, role: str, origin: str) -> str:
    leis = [one.identifier.value for one in body.party_id if one.identifier_type == "LEI"]
    if len(leis) != 1:
        raise refused(
            origin,
            "counterparty.partyReference.value.partyId",
            role,
            f"names {len(leis)} LEIs instead of one",
        )
    return leis[0]


def _read_amount(elections: shape.AmountElections, role: str, base: str, field: str) -> tuple[Decimal, bool]:
    matching = [one for one in elections.party_election if one.party == role]
    if len(matching) != 1:
        raise refused(field, "partyElection", role, f"occurs {len(matching)} times instead of once")
    election = matching[0]
    if election.ratings_based is not None:
        raise refused(
            field,
            "ratingsBased",
            role,
            "depends on ratings, which are not on the ledger",
            "state a fixed amount",
        )
    if election.infinity and election.fixed_amount is not None:
        raise refused(field, "infinity", role, "an infinite and a fixed amount are both given")
    if election.infinity:
        return Decimal(0), True
    if election.fixed_amount is None:
        raise refused(field, "fixedAmount", role, "is missing")
    return _in_base(election.fixed_amount.amount, base, f"{field}.fixedAmount"), False


def _read_independent(
    elections: shape.IndependentElections | None, role: str, base: str, origin: str
) -> Decimal:
    if elections is None:
        return Decimal(0)
    matching = [one for one in elections.party_election if one.party == role and one.is_applicable]
    if len(matching) > 1:
        raise refused(origin, "independentAmount.partyElection", role, f"occurs {len(matching)} times")
    if not matching:
        return Decimal(0)
    if matching[0].fixed_amount is None:
        raise refused(origin, "independentAmount.fixedAmount", role, "is missing although it is applicable")
    return _in_base(matching[0].fixed_amount, base, f"{origin}: independentAmount.fixedAmount")


def _in_base(money: shape.Money, base: str, field: str) -> Decimal:
    currency = money.unit.currency.value
    if currency != base:
        raise refused(
            field, "unit.currency", currency, f"is not the base currency {base}", "convert it and sign anew"
        )
    if money.value < 0:
        raise refused(field, "value", money.value, "is below zero")
    return money.value


def _check_rounding(rounding: shape.Rounding, base: str, origin: str) -> shape.Rounding:
    field = "creditSupportObligations.rounding"
    if rounding.currency != base:
        raise refused(origin, f"{field}.currency", rounding.currency, f"is not the base currency {base}")
    if (rounding.delivery_direction, rounding.return_direction) != ("UP", "DOWN"):
        shown = f"{rounding.delivery_direction}, {rounding.return_direction}"
        raise refused(
            origin, f"{field}.deliveryDirection, returnDirection", shown, "only UP and DOWN are supported"
        )
    for name, value in (
        ("deliveryAmount", rounding.delivery_amount),
        ("returnAmount", rounding.return_amount),
    ):
        if value <= 0:
            raise refused(origin, f"{field}.{name}", value, "is not above zero")
    return rounding


def _read_fx_haircut(value: object, origin: str) -> int:
    if value != "Standard":
        raise refused(origin, "creditSupportObligations.fxHaircut", value, 'is not "Standard" (8 %)')
    return STANDARD_FX_HAIRCUT_BPS


def _read_consent(substitution: shape.Substitution | None) -> bool:
    return substitution is None or any(one.needs_consent for one in substitution.party_election)
