"""Random members do random things to the register and to settlement; what must hold, holds."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tanpo.testing import CallFailed, Market
from tanpo.testing.market import BOND, CUSTODIAN, REGISTRAR, SHARE, USD, build_leg

MEMBERS = ("dealer-a", "dealer-b", "dealer-c", REGISTRAR, CUSTODIAN)
ACCOUNTS = ("dealer-a", "dealer-a/desk", "dealer-b", "dealer-c", REGISTRAR, "stranger", "dealer-b/")
INSTRUMENTS = (BOND, SHARE, USD)

accounts = st.one_of(st.sampled_from(ACCOUNTS[:4]), st.sampled_from(ACCOUNTS))
instruments = st.sampled_from((USD, SHARE, *INSTRUMENTS, "unknown"))
quantities = st.one_of(
    st.integers(1, 30), st.integers(-2, 300), st.sampled_from((100, 10**24, 10**24 + 1, 2**254))
)
signers = st.one_of(
    st.just([*MEMBERS]), st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=4, unique=True)
)
wild_legs = st.builds(build_leg, accounts, accounts, instruments, quantities)
good_legs = st.builds(
    build_leg,
    st.sampled_from(ACCOUNTS[:2]),
    st.sampled_from(ACCOUNTS[2:5]),
    st.sampled_from((USD, SHARE)),
    st.integers(1, 60),
)
legs = st.lists(good_legs | good_legs | wild_legs, min_size=1, max_size=4).map(tuple)

Titles = dict[tuple[str, str], int]


class Register(RuleBasedStateMachine):
    """Issue, transfer, burn, swap, propose, affirm, cancel, expire, freeze, force."""

    def __init__(self) -> None:
        super().__init__()
        self.market = Market()
        self.proposals = 0
        self.affirmed: dict[int, set[str]] = {}

    @initialize()
    def open_market(self) -> None:
        self.market.define_all()
        for account in ("dealer-a", "dealer-a/desk", "dealer-b", "dealer-c"):
            for instrument in INSTRUMENTS:
                self.market.issue(instrument, account, 200)

    @rule(instrument=instruments, account=accounts, quantity=quantities, signed=signers)
    def mint(self, instrument: str, account: str, quantity: int, signed: list[str]) -> None:
        reference = f"vault-{self.market.ledger.height}"
        same: Any = {"instrument": instrument, "quantity": quantity, "reference": reference}
        self.attempt("instruments", "confirm_lock", signed, **same)
        self.attempt("instruments", "mint", signed, account=account, **same)

    @rule(instrument=instruments, account=accounts, quantity=quantities, signed=signers)
    def burn(self, instrument: str, account: str, quantity: int, signed: list[str]) -> None:
        reference = f"out-{self.market.ledger.height}"
        done = self.attempt(
            "instruments",
            "burn",
            [*signed, REGISTRAR],
            instrument=instrument,
            account=account,
            quantity=quantity,
            reference=reference,
        )
        if done:
            self.attempt(
                "instruments", "confirm_release", [CUSTODIAN], instrument=instrument, reference=reference
            )

    @rule(leg=good_legs | wild_legs, signed=signers)
    def transfer(self, leg: dict[str, Any], signed: list[str]) -> None:
        self.attempt("instruments", "transfer", signed, **leg)

    @rule(leg=good_legs | wild_legs)
    def force(self, leg: dict[str, Any]) -> None:
        before = self.titles()
        if self.attempt("instruments", "force_transfer", [REGISTRAR], forced=True, reason="order", **leg):
            key = (leg["deliverer"], leg["instrument"])
            assert self.titles().get(key, 0) == before[key] - leg["quantity"]

    @rule(some=legs, signed=signers)
    def swap(self, some: tuple[Any, ...], signed: list[str]) -> None:
        self.attempt("settlement", "swap", signed, legs=some)

    @rule(some=legs, signed=signers)
    def propose(self, some: tuple[Any, ...], signed: list[str]) -> None:
        expiry = self.market.ledger.time_ms + 5
        if self.attempt("settlement", "propose", signed, legs=some, expiry=expiry):
            self.proposals += 1
            self.affirmed[self.proposals] = set()

    @precondition(lambda self: self.proposals > 0)
    @rule(back=st.integers(0, 2), signed=signers)
    def affirm(self, back: int, signed: list[str]) -> None:
        proposal = max(1, self.proposals - back)
        known = self.affirmed.setdefault(proposal, set())
        if self.attempt("settlement", "affirm", signed, also=known, proposal=proposal):
            known.update(signed)

    @precondition(lambda self: self.proposals > 0)
    @rule(back=st.integers(0, 2), signed=signers, entry=st.sampled_from(("cancel", "expire")))
    def close(self, back: int, signed: list[str], entry: str) -> None:
        proposal, before = max(1, self.proposals - back), self.titles()
        self.attempt("settlement", entry, signed, proposal=proposal)
        assert self.titles() == before

    @rule(account=accounts, signed=signers, entry=st.sampled_from(("freeze_account", "unfreeze_account")))
    def freeze(self, account: str, signed: list[str], entry: str) -> None:
        self.attempt("instruments", entry, signed, registrar=REGISTRAR, account=account, reason="audit")

    @rule(milliseconds=st.integers(1, 3))
    def wait(self, milliseconds: int) -> None:
        self.market.ledger.advance(milliseconds=milliseconds)

    @invariant()
    def nothing_is_lost_made_or_below_zero(self) -> None:
        self.market.check_conservation()

    def titles(self) -> Titles:
        """Return what every account owns, encumbered or not."""
        found: Titles = {}
        for instrument in INSTRUMENTS:
            for account in self.market.ledger.view(  # type: ignore[union-attr]  # a page of names
                "instruments", "holders", instrument=instrument, after="", limit=100
            ):
                place = self.market.position(str(account), instrument)
                found[str(account), instrument] = place["free"] + place["locked"] + place["pledged_out"]
        return found

    def attempt(
        self,
        contract: str,
        entry: str,
        signed: list[str],
        *,
        also: set[str] = frozenset(),  # type: ignore[assignment]  # read only
        forced: bool = False,
        **arguments: Any,
    ) -> bool:
        """Call, and check I5 if it fails and I6 if it succeeds."""
        ledger = self.market.ledger
        ledger.advance()
        before, titles, frozen = ledger.copy_state(), self.titles(), self.frozen()
        try:
            ledger.call(contract, entry, sender=signed[0], signers=signed, **arguments)
        except CallFailed:
            assert ledger.copy_state() == before, "a failed call left something behind"
            return False
        after = self.titles()
        for key in titles.keys() | after.keys():
            change = after.get(key, 0) - titles.get(key, 0)
            owner = key[0].partition("/")[0]
            assert change >= 0 or forced or owner in signed or owner in also, f"{key} lost {change}"
            assert change == 0 or forced or key[0] not in frozen, f"{key} moved by {change} while frozen"
        return True

    def frozen(self) -> set[str]:
        """Return the accounts the registrar has frozen."""
        return {
            account
            for account in ACCOUNTS
            if self.market.ledger.view("instruments", "frozen_because", account=account, instrument=USD)
        }


TestRegister = Register.TestCase
TestRegister.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
