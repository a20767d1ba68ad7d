"""The JSON of a credit support annex as the Common Domain Model spells it, as far as we read it."""

from __future__ import annotations

from typing import Any

from tanpo.cli.samples.reading import ForeignShape, Number


class Text(ForeignShape):
    """A text in a wrapper."""

    value: str


class Unit(ForeignShape):
    """The unit of an amount."""

    currency: Text


class Money(ForeignShape):
    """An amount and its currency."""

    unit: Unit
    value: Number


class FixedAmount(ForeignShape):
    """An amount that depends on nothing."""

    amount: Money


class AmountElection(ForeignShape):
    """One party's amount."""

    party: str
    fixed_amount: FixedAmount | None = None
    infinity: bool = False
    ratings_based: Any = None


class AmountElections(ForeignShape):
    """Both parties' amounts."""

    party_election: list[AmountElection]


class IndependentElection(ForeignShape):
    """One party's independent amount."""

    party: str
    fixed_amount: Money | None = None
    is_applicable: bool = True


class IndependentElections(ForeignShape):
    """Both parties' independent amounts."""

    party_election: list[IndependentElection]


class Rounding(ForeignShape):
    """Multiples and directions of rounding."""

    currency: str
    delivery_amount: Number
    delivery_direction: str
    return_amount: Number
    return_direction: str


class Eligible(ForeignShape):
    """Each party's eligible collateral, not yet read."""

    party_election: list[dict[str, Any]]


class Obligations(ForeignShape):
    """What must be delivered and returned, and how it is computed."""

    threshold: AmountElections | None = None
    independent_amount: IndependentElections | None = None
    minimum_transfer_amount: AmountElections
    rounding: Rounding
    fx_haircut: Any = "Standard"
    eligible_credit_support: Eligible


class Currencies(ForeignShape):
    """The currencies of the annex."""

    base_currency: str


class ConsentElection(ForeignShape):
    """Whether one party must consent to a substitution."""

    needs_consent: bool
    party: str


class Substitution(ForeignShape):
    """The rules of substitution."""

    party_election: list[ConsentElection]


class Elections(ForeignShape):
    """The elections of the annex that we read."""

    base_and_eligible_currency: Currencies
    credit_support_obligations: Obligations
    substitution: Substitution | None = None


class Identification(ForeignShape):
    """Which form the annex is written on."""

    governing_law: str
    vintage: int


class PartyId(ForeignShape):
    """One identifier of a party."""

    identifier: Text
    identifier_type: str


class PartyBody(ForeignShape):
    """A party."""

    name: Text
    party_id: list[PartyId]


class PartyReference(ForeignShape):
    """A party in a wrapper."""

    value: PartyBody


class Counterparty(ForeignShape):
    """A party and its role."""

    party_reference: PartyReference
    role: str


class Agreement(ForeignShape):
    """The elections by the name of their form, not yet read."""

    credit_support_agreement_elections: dict[str, Any]


class Terms(ForeignShape):
    """Elections and parties."""

    agreement: Agreement
    counterparty: list[Counterparty]


class Document(ForeignShape):
    """The whole file."""

    agreement_date: str = ""
    agreement_terms: Terms
    legal_agreement_identification: Identification
