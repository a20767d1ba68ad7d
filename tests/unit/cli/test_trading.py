"""What the demo asks for: legs as the contract takes them, considerations from the sample prices."""

from __future__ import annotations

from tanpo.cli.demo.margining import Terms, compute_required
from tanpo.cli.demo.trading import BOND, CASH, compute_consideration, swap
from tanpo.cli.samples import load_catalog


def test_a_swap_names_its_legs_in_order() -> None:
    call = swap(("dealer-a", "dealer-b", BOND, 5), ("dealer-b", "dealer-a", CASH, 4))
    assert (call.contract, call.entry) == ("settlement", "swap")
    ((name, legs),) = call.arguments
    assert name == "legs"
    assert legs == (
        {"deliverer": "dealer-a", "receiver": "dealer-b", "instrument": BOND, "quantity": 5},
        {"deliverer": "dealer-b", "receiver": "dealer-a", "instrument": CASH, "quantity": 4},
    )


def test_a_consideration_is_nominal_times_price_in_whole_units() -> None:
    catalog = load_catalog()
    price = next(one.price for one in catalog.prices.instruments if one.instrument == BOND)
    assert compute_consideration(catalog, BOND, 500_000_000) == int(500_000_000 * price / 100)


def test_the_requirement_is_what_exceeds_the_threshold() -> None:
    terms = Terms(
        secured="dealer-a",
        pledgor="dealer-b",
        threshold=500,
        delivery_multiple=100,
        return_multiple=100,
        needs_consent=False,
    )
    assert compute_required(1_725, terms) == 1_225
    assert compute_required(500, terms) == 0
    assert compute_required(100, terms) == 0
