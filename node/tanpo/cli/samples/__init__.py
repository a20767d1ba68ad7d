"""The sample network of the product: members, instruments, holdings, prices, a credit support annex."""

from tanpo.cli.samples.annex import (
    Annex,
    AnnexParty,
    Placement,
    load_annex,
    parse_annex,
    to_agreement_arguments,
)
from tanpo.cli.samples.catalog import (
    Arguments,
    Catalog,
    Holding,
    Instrument,
    InstrumentPrice,
    Member,
    Prices,
    Rate,
    load_catalog,
)
from tanpo.cli.samples.eligibility import ConcentrationLimit, EligibleLine

__all__ = [
    "Annex",
    "AnnexParty",
    "Arguments",
    "Catalog",
    "ConcentrationLimit",
    "EligibleLine",
    "Holding",
    "Instrument",
    "InstrumentPrice",
    "Member",
    "Placement",
    "Prices",
    "Rate",
    "load_annex",
    "load_catalog",
    "parse_annex",
    "to_agreement_arguments",
]
