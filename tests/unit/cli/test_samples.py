"""The sample network: real identifiers, exact amounts, and refusals that name the field."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from stdnum import isin, lei
from tanpo.cli.samples import (
    Catalog,
    Placement,
    load_annex,
    load_catalog,
    parse_annex,
    to_agreement_arguments,
)
from tanpo.cli.samples.catalog import read_text
from tanpo.cli.samples.reading import CURRENCY_DECIMALS, parse_json, to_units
from tanpo.ledger.errors import UsageError
from tanpo.testing import Ledger, build_member

CSA_FOLDER = Path(__file__).resolve().parents[4] / "shared" / "data" / "cdm" / "csa"
PLACEMENT = Placement(
    agreement="csa-1",
    members=("dealer-a", "dealer-b"),
    accounts=("dealer-a", "dealer-b"),
    agent="custody-bank",
    price_age_max_ms=86_400_000,
    price_sources_min=2,
)
ELECTIONS = (
    "agreementTerms",
    "agreement",
    "creditSupportAgreementElections",
    "CreditSupportAgreementVariationMarginElections",
)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


def edited(*path: Any, value: Any = None) -> str:
    """Return our annex with one field replaced, or removed if there is no value."""
    data = json.loads(read_text("csa.json"))
    place = data
    for part in path[:-1]:
        place = place[part]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(data)


# -- members, instruments, holdings, prices


def test_at_least_twelve_instruments_have_a_valid_isin(catalog: Catalog) -> None:
    isins = [one.id for one in catalog.instruments if one.id[0].isupper()]
    assert len(isins) >= 12
    assert [one for one in isins if not isin.is_valid(one)] == []


def test_every_lei_is_valid(catalog: Catalog) -> None:
    leis = [one.issuer_lei for one in catalog.instruments if one.issuer_lei]
    leis += [one.lei for one in catalog.members]
    assert len(leis) > 12
    assert [one for one in leis if not lei.is_valid(one)] == []


def test_the_kinds_the_market_needs_are_there(catalog: Catalog) -> None:
    bonds = {one.currency for one in catalog.instruments if one.asset_class == "government_bond"}
    assert {"JPY", "USD", "EUR"} <= bonds
    classes = {one.asset_class for one in catalog.instruments}
    assert {"money_market_fund", "equity", "real_estate", "cash"} <= classes
    money = {one.currency for one in catalog.instruments if one.kind == "deposit_token"}
    assert money == {"JPY", "USD", "EUR"}


def test_every_instrument_but_money_has_a_price(catalog: Catalog) -> None:
    priced = {one.instrument for one in catalog.prices.instruments}
    assert priced == {one.id for one in catalog.instruments if one.kind != "deposit_token"}


def test_amounts_come_out_in_the_smallest_unit(catalog: Catalog) -> None:
    quantities = {(account, name): quantity for account, name, quantity in catalog.list_quantities()}
    assert quantities["dealer-a", "US91282CJZ59"] == 4_000_000_000
    assert quantities["dealer-a", "jpy-deposit"] == 3_000_000_000
    prices = {one["subject"]: one["value"] for one in catalog.to_price_arguments()}  # type: ignore[index,call-overload]  # records
    assert prices["US91282CJZ59"] == 985_156_250_000  # 98.515625 % of a cent for a cent
    assert prices["US0378331005"] == 23_127 * 10**12  # cents for a share
    assert prices["USD/JPY"] == 1_512_700_000_000  # yen for a cent
    assert prices["JPY/USD"] == 661_000_000_000  # cents for a yen


def test_an_amount_finer_than_the_smallest_unit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"prices\.json: bond\.price: has more than 2 decimals"):
        to_units(Decimal("1.005"), 2, "prices.json", "bond.price")


def test_unknown_instruments_and_leis_are_named(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match=r"instruments\.json"):
        catalog.get_instrument("gold-bar")
    with pytest.raises(UsageError, match=r"members\.json"):
        catalog.get_member("254900HROIFWPRGM1V77")
    assert catalog.get_member("3538TANPODEALERA0028").member == "dealer-a"


def test_the_whole_sample_network_runs_on_the_contracts(catalog: Catalog) -> None:
    ledger = Ledger()
    ledger.deploy_product([build_member(one.member, one.roles) for one in catalog.members])
    for one in catalog.instruments:
        fields = one.to_arguments()["instrument"]
        ledger.call("instruments", "define", sender=one.registrar, instrument=fields)
    for place, (account, instrument, quantity) in enumerate(catalog.list_quantities()):
        what = catalog.get_instrument(instrument)
        lock: Any = {"instrument": instrument, "reference": f"lock-{place}", "quantity": quantity}
        ledger.call("instruments", "confirm_lock", sender=what.custodian, **lock)
        ledger.call("instruments", "mint", sender=what.registrar, account=account, **lock)
    for source in catalog.prices.sources:
        ledger.call(
            "collateral", "publish", sender=source, source=source, prices=catalog.to_price_arguments()
        )
    annex = load_annex()
    placement = PLACEMENT
    agreement: Any = to_agreement_arguments(annex, placement)["agreement"]
    ledger.call("collateral", "agree", sender="dealer-a", signers=placement.members, agreement=agreement)
    pledged = []
    for account, instrument, quantity in catalog.list_quantities():
        verdict: Any = ledger.view(
            "collateral",
            "appraise",
            agreement="csa-1",
            pledgor="dealer-a",
            instrument=instrument,
            quantity=quantity,
        )
        if account == "dealer-a" and verdict["rule"] == "":
            pledged.append(verdict["asset_class"])
    assert {"government_bond", "money_market_fund", "equity", "cash"} == set(pledged)


# -- reading JSON


@pytest.mark.parametrize("text", ["{", "[NaN]", "[Infinity]", '{"a": 1, "a": 2}'])
def test_text_that_is_not_plain_json_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not JSON we read"):
        parse_json(text, "file")


def test_fractions_are_exact() -> None:
    assert parse_json("[0.1, 98.515625, 1]", "file") == [Decimal("0.1"), Decimal("98.515625"), 1]


# -- our annex


def test_our_annex_is_read_whole() -> None:
    annex = load_annex()
    assert (annex.base_currency, annex.vintage, annex.governing_law) == ("USD", 2016, "JPN")
    assert (annex.first.lei, annex.second.lei) == ("3538TANPODEALERA0028", "3538TANPODEALERB0019")
    assert (annex.first.threshold, annex.first.minimum_transfer) == (
        Decimal(5_000_000),
        Decimal(250_000),
    )
    assert annex.delivery_multiple == annex.return_multiple == 10_000
    assert annex.fx_haircut_bps == 800
    lines, limits = annex.read_schedule()
    assert [line.haircut_bps for line in lines] == [0, 50, 200, 400, 150, 1500]
    assert [(limit.scope, limit.asset_class, limit.share_bps) for limit in limits] == [
        ("issuer", "equity", 2000)
    ]


OBLIGATIONS = (*ELECTIONS, "creditSupportObligations")
FIRST_LINE = (*OBLIGATIONS, "eligibleCreditSupport", "partyElection", 0, "eligibleCollateral", 0)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ((*ELECTIONS, "baseAndEligibleCurrency", "baseCurrency"), None, "baseCurrency"),
        ((*OBLIGATIONS, "rounding"), None, "rounding"),
        ((*OBLIGATIONS, "rounding", "currency"), "EUR", "rounding.currency"),
        ((*OBLIGATIONS, "rounding", "deliveryDirection"), "NEAREST", "deliveryDirection"),
        ((*OBLIGATIONS, "rounding", "returnAmount"), 0, "returnAmount"),
        ((*OBLIGATIONS, "rounding", "returnAmount"), "ten", "returnAmount"),
        ((*OBLIGATIONS, "rounding", "returnAmount"), True, "returnAmount"),
        ((*OBLIGATIONS, "minimumTransferAmount"), None, "minimumTransferAmount"),
        ((*OBLIGATIONS, "minimumTransferAmount", "partyElection", 1), None, "PARTY_2|partyElection"),
        (
            (*OBLIGATIONS, "minimumTransferAmount", "partyElection", 0, "fixedAmount"),
            None,
            "fixedAmount",
        ),
        ((*OBLIGATIONS, "threshold", "partyElection", 0, "infinity"), True, "infinity"),
        (
            (*OBLIGATIONS, "threshold", "partyElection", 0, "ratingsBased"),
            {"compare": 1},
            "ratingsBased",
        ),
        (
            (
                *(*OBLIGATIONS, "threshold", "partyElection", 0, "fixedAmount"),
                *("amount", "unit", "currency", "value"),
            ),
            "EUR",
            "threshold.*currency",
        ),
        (
            (*OBLIGATIONS, "threshold", "partyElection", 0, "fixedAmount", "amount", "value"),
            -1,
            "threshold.*value",
        ),
        ((*OBLIGATIONS, "fxHaircut"), 8, "fxHaircut"),
        (("agreementTerms", "counterparty", 0, "role"), "PARTY_3", "role"),
        (
            ("agreementTerms", "counterparty", 0, "partyReference", "value", "partyId"),
            [],
            "partyId",
        ),
        (("agreementTerms", "agreement", "creditSupportAgreementElections"), {}, "Elections"),
        (("legalAgreementIdentification", "vintage"), None, "vintage"),
        (("legalAgreementIdentification", "vintage"), 1995, ""),
    ],
)
def test_a_wrong_or_missing_field_is_refused_by_name(path: tuple[Any, ...], value: Any, field: str) -> None:
    if not field:  # an old form with its threshold stated is read
        assert parse_annex(edited(*path, value=value), "csa.json").vintage == value
        return
    with pytest.raises(UsageError, match=field):
        parse_annex(edited(*path, value=value), "csa.json")


def test_a_missing_threshold_is_zero_only_where_the_form_has_none() -> None:
    text = edited(*OBLIGATIONS, "threshold")
    assert parse_annex(text, "csa.json").first.threshold == 0
    old = json.loads(text)
    old["legalAgreementIdentification"]["vintage"] = 1995
    with pytest.raises(UsageError, match="threshold"):
        parse_annex(json.dumps(old), "csa.json")


def test_an_infinite_threshold_is_read() -> None:
    election = [{"party": "PARTY_1", "infinity": True}, {"party": "PARTY_2", "infinity": True}]
    annex = parse_annex(edited(*OBLIGATIONS, "threshold", "partyElection", value=election), "csa.json")
    assert annex.first.has_infinite_threshold


@pytest.mark.parametrize(
    ("percentage", "haircut_bps"), [(98, 200), (100, 0), (50, 5000), (0.99, 100), (0.5, 5000), (99.5, 50)]
)
def test_a_valuation_percentage_becomes_a_haircut(percentage: object, haircut_bps: int) -> None:
    lines, _ = parse_annex(_with_percentage(percentage), "csa.json").read_schedule()
    assert lines[0].haircut_bps == haircut_bps


@pytest.mark.parametrize("percentage", [1, 1.08, 1.5, 2, 0, -98, 0.4, 49, 101, 99.999])
def test_an_ambiguous_percentage_is_refused(percentage: object) -> None:
    annex = parse_annex(_with_percentage(percentage), "csa.json")
    with pytest.raises(UsageError, match="marginPercentage"):
        annex.read_schedule()


def _with_percentage(percentage: object) -> str:
    data = json.loads(read_text("csa.json"))
    place = data
    for part in (*OBLIGATIONS, "eligibleCreditSupport", "partyElection"):
        place = place[part]
    for election in place:
        treatment = election["eligibleCollateral"][0]["treatment"]
        treatment["valuationTreatment"]["marginPercentage"] = percentage
    return json.dumps(data)


@pytest.mark.parametrize(
    ("criteria", "field"),
    [
        ({"IssuerName": {"issuerName": {}}}, "IssuerName"),
        ({"AssetType": {"assetType": "COMMODITY"}}, "AssetType"),
        ({"AssetType": {"assetType": "SECURITY", "securityType": "DEBT"}}, "AssetType"),
        (
            {"AssetMaturity": {"maturityRange": {}, "maturityType": "ORIGINAL_MATURITY"}},
            "maturityType",
        ),
        (
            {
                "AssetMaturity": {
                    "maturityRange": {
                        "upperBound": {"inclusive": False, "period": {"period": "Y", "periodMultiplier": 1}}
                    },
                    "maturityType": "REMAINING_MATURITY",
                }
            },
            "upperBound",
        ),
        (
            {
                "AssetAgencyRating": {
                    "assetAgencyRating": {
                        "boundary": "MAXIMUM",
                        "creditNotation": {"agency": "STANDARD_AND_POORS", "notation": {"value": "AA"}},
                    }
                }
            },
            "AssetAgencyRating",
        ),
        (
            {
                "AssetAgencyRating": {
                    "assetAgencyRating": {
                        "boundary": "MINIMUM",
                        "creditNotation": {"agency": "STANDARD_AND_POORS", "notation": {"value": "Aa1"}},
                    }
                }
            },
            "notation",
        ),
    ],
)
def test_a_criterion_we_cannot_apply_is_refused(criteria: dict[str, Any], field: str) -> None:
    annex = parse_annex(edited(*FIRST_LINE, "collateralCriteria", value=criteria), "csa.json")
    with pytest.raises(UsageError, match=field):
        annex.read_schedule()


def test_an_exclusion_and_different_schedules_are_refused() -> None:
    annex = parse_annex(edited(*FIRST_LINE, "treatment", "isIncluded", value=False), "csa.json")
    with pytest.raises(UsageError, match="isIncluded"):
        annex.read_schedule()
    annex = parse_annex(edited(*FIRST_LINE), "csa.json")
    with pytest.raises(UsageError, match="partyElection"):
        annex.read_schedule()


def test_the_arguments_of_an_agreement_are_in_the_smallest_unit() -> None:
    agreement: Any = to_agreement_arguments(load_annex(), PLACEMENT)["agreement"]
    assert agreement["first"]["threshold"] == 500_000_000
    assert agreement["first"]["member"] == "dealer-a"
    assert agreement["delivery_multiple"] == 1_000_000
    assert agreement["limits"][0]["share_bps"] == 2000


# -- the annexes of the Common Domain Model


def _real(pattern: str) -> list[Any]:
    paths = sorted(CSA_FOLDER.glob(pattern)) if CSA_FOLDER.exists() else []
    if not paths:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no annexes at {CSA_FOLDER}"))]
    return [pytest.param(path, id=path.stem) for path in paths]


@pytest.mark.parametrize("path", _real("VM-*.json"))
def test_real_variation_margin_annexes_are_read(path: Path) -> None:
    annex = parse_annex(path.read_text(), path.name)
    assert annex.base_currency in CURRENCY_DECIMALS
    assert annex.first.name
    assert annex.second.name
    assert annex.first.threshold == annex.second.threshold == 0
    assert annex.first.minimum_transfer >= 50_000
    assert annex.delivery_multiple == annex.return_multiple == 10_000


@pytest.mark.parametrize("path", _real("Legacy-*.json"))
def test_real_legacy_annexes_are_read_or_refused_by_field(path: Path) -> None:
    refusals = {"Legacy-01": "ratingsBased", "Legacy-05": "threshold.*currency"}
    field = refusals.get(path.stem[:9])
    if field is None:
        assert parse_annex(path.read_text(), path.name).delivery_multiple > 0
        return
    with pytest.raises(UsageError, match=field):
        parse_annex(path.read_text(), path.name)


@pytest.mark.parametrize("path", _real("IM-*.json"))
def test_initial_margin_forms_are_refused_by_name(path: Path) -> None:
    with pytest.raises(UsageError, match="creditSupportAgreementElections"):
        parse_annex(path.read_text(), path.name)
