"""What the product's own transactions cost on the machine: prints one JSON object.

Run it as `python bench/contracts.py [rounds]`. Signatures, consensus and storage are not in it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from measuring import GAS_LIMIT, best_ns, print_figures
from tanpo.contracts import PRODUCT_CONTRACTS, load_source
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value
from tanpo.testing import Market, MemoryState
from tanpo.testing.market import (
    BOND,
    EUR,
    FUND,
    SHARE,
    USD,
    build_agreement,
    build_leg,
    build_line,
    build_party,
)
from tanpo.vm import CallContext, Interface, Machine, Session, compile_contract

PARTIES = ("dealer-a", "dealer-b", "trust-bank")


def prepare() -> MemoryState:
    """Return the state of a market in which both dealers hold everything and have an agreement."""
    market = Market()
    market.define_all()
    for account in PARTIES[:2]:
        for instrument in (BOND, SHARE, FUND, USD, EUR):
            market.issue(instrument, account, 10**12)
    market.publish(dict.fromkeys((BOND, SHARE, FUND, "EUR/USD"), 10**12), "trust-bank", "custody-bank")
    lines = (build_line("cash"), build_line("government_bond", 400), build_line("money_market_fund", 150))
    market.agree(build_agreement(build_party("dealer-a"), build_party("dealer-b"), lines=lines))
    state = MemoryState()
    state.apply(market.ledger.copy_state().items())
    return state


def open_session(state: MemoryState) -> Session:
    """Return a session over the state, as a node opens one for each block."""
    interfaces: dict[str, Interface] = {}
    contracts = {}
    for name in PRODUCT_CONTRACTS:
        contracts[name] = compile_contract(load_source(name), name=name, interfaces=interfaces)
        interfaces[name] = contracts[name].interface
    return Machine(contracts).open_session(state)


def measure(state: MemoryState, calls: Sequence[Call], rounds: int) -> dict[str, float | int]:
    """Return microseconds (best of five runs) and gas of a call, and the state keys it writes.

    Calls repeat in turn.
    """
    context = CallContext(
        sender="dealer-a", signers=PARTIES, time_ms=1_767_225_600_001, height=9, tx_id=bytes(32)
    )
    session = open_session(state)
    outcomes = [session.run(call, context, GAS_LIMIT) for call in calls]
    if not all(outcome.ok for outcome in outcomes):
        raise SystemExit(f"a measured call failed: {outcomes}")
    written = len(session.collect_changes())

    def run() -> None:
        for _ in range(rounds):
            for call in calls:
                session.run(call, context, GAS_LIMIT)

    return {
        "microseconds": round(best_ns(run, 5) / rounds / len(calls) / 1e3, 1),
        "gas": sum(outcome.gas_used for outcome in outcomes) // len(outcomes),
        "keys_written": written,
    }


def build_swap(*legs: Value) -> Call:
    """Return a swap of these legs."""
    return Call.create("settlement", "swap", {"legs": legs})


def build_collateral(entry: str, **arguments: Value) -> Call:
    """Return a call under the agreement."""
    return Call.create("collateral", entry, {"agreement": "csa-1", "pledgor": "dealer-a", **arguments})


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    a, b = PARTIES[:2]
    there, back = build_leg(a, b, BOND, 100), build_leg(b, a, USD, 98)
    item: tuple[Value, ...] = ({"instrument": FUND, "quantity": 1_000},)
    mixes = {
        "transfer": [Call.create("instruments", "transfer", {**back, "deliverer": a, "receiver": b})],
        "swap_2_legs": [build_swap(there, back)],
        "swap_4_legs": [build_swap(there, back, build_leg(a, b, SHARE, 1), build_leg(b, a, EUR, 1))],
        "pledge": [build_collateral("pledge", instrument=FUND, quantity=1_000)],
        "margin_call": [build_collateral("margin_call", exposure=10**9)],
        "substitute": [
            build_collateral("pledge", instrument=FUND, quantity=1_000),
            build_collateral("substitute", incoming=item, outgoing=item),
        ],
    }
    state = prepare()
    figures = {name: measure(state, calls, rounds) for name, calls in mixes.items()}
    print_figures({"rounds": rounds, "calls": figures})


if __name__ == "__main__":
    main()
