"""A ledger in memory for tests of contracts: deploy, call, look; nothing between the test and the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256, sha512
from typing import Final

from tanpo.client import GAS_LIMIT
from tanpo.contracts import PRODUCT_CONTRACTS, load_source
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.receipt import Event
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value
from tanpo.testing.compared import ComparedSession, build_machines
from tanpo.testing.state import MemoryState
from tanpo.vm import (
    GAS_LIMIT_MAX,
    CallContext,
    CompiledContract,
    Interface,
    Outcome,
    compile_contract,
    describe_layout,
    find_upgrade_breaks,
)

BLOCK_CHANGES_MAX: Final = 16
"""After a call, changes beyond these end the block: they are encoded and compared after every call."""

START_MS: Final = 1_767_225_600_000
"""The time at which a new ledger stands: 2026-01-01 00:00 UTC."""


_KEY_PREFIX: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
"""What a P-256 public key begins with in DER; the point follows."""


class CallFailed(AssertionError):
    """A call ended with a code; as an assertion error it fails the test that did not expect it."""

    def __init__(self, call: str, outcome: Outcome) -> None:
        self.code = outcome.code
        self.details = dict(outcome.details)
        self.contract = outcome.contract
        self.line = outcome.line
        shown = ", ".join(f"{name}={value!r}" for name, value in outcome.details)
        super().__init__(f"{call} failed with {outcome.code}({shown}) at {outcome.contract}:{outcome.line}")


class UpgradeRefused(AssertionError):
    """Nodes would not put the source in the place of the contract: `code` is theirs, `reasons` say why."""

    def __init__(self, contract: str, code: str, reasons: tuple[str, ...]) -> None:
        self.code = code
        self.reasons = reasons
        super().__init__(f"the upgrade of {contract} is refused: {code}: {'; '.join(reasons)}")


@lru_cache(maxsize=64)
def _compile(source: str, contract: str, known: tuple[tuple[str, Interface], ...]) -> CompiledContract:
    # Every test of a suite deploys the same few contracts, and checking one costs more than running it.
    return compile_contract(source, name=contract, interfaces=dict(known))


@dataclass(frozen=True, slots=True, kw_only=True)
class GasUse:
    """What one call spent, and the code that it failed with, if it did.

    `entry` is an entry point or a view, or `@init` or `@migrate`, whose `contract` was installed or upgraded.
    """

    contract: str
    entry: str
    gas: int
    code: str = ""


_watcher: Final[ContextVar[Callable[[GasUse], None] | None]] = ContextVar("gas watcher", default=None)


def watch_gas(watcher: Callable[[GasUse], None]) -> Callable[[], None]:
    """Tell `watcher` what every call of every ledger in this context spends, until the result is called."""
    before = _watcher.set(watcher)
    return lambda: _watcher.reset(before)


def build_validator(member: str, node: str = "node-1", *, key: str = "") -> dict[str, Value]:
    """Return a validator as the contract `validators` takes it, with a made-up public key of the right form.

    Another text as `key` gives another public key.
    """
    point = sha512(f"{member}/{node}/{key}".encode()).digest()
    return {"member": member, "node": node, "public_key": _KEY_PREFIX + point}


def build_key(name: str) -> bytes:
    """Return a made-up public key of the right form, another one for another name."""
    return _KEY_PREFIX + sha512(name.encode()).digest()


def build_member(member: str, roles: Sequence[str] = (), **changes: Value) -> dict[str, Value]:
    """Return a member as the contract `members` is set up with it; `changes` replace fields.

    What it is not told is made up: a name, a CA certificate, one key.
    """
    plain: dict[str, Value] = {
        "member": member,
        "name": member.title(),
        "lei": "",
        "roles": tuple(roles),
        "ca_certificate": f"the CA of {member}".encode(),
        "keys": (build_key(member),),
    }
    return {**plain, **changes}


def build_member_arguments(*members: Mapping[str, Value], voters: Sequence[str] = ()) -> dict[str, Value]:
    """Return the arguments that set up the contract `members`, of which `voters` have validators."""
    return {"members": tuple(members), "voters": tuple(voters)}


class Ledger:
    """Contracts and their state in memory. A call is a transaction: it takes effect whole or not at all.

    Every call runs on each engine of the machine, and a difference between them is an `EnginesDiffer`.
    """

    def __init__(self) -> None:
        self.time_ms = START_MS
        self.height = 1
        self.events: list[Event] = []
        self.gas_report: list[GasUse] = []
        self._contracts: dict[str, CompiledContract] = {}
        self._stored: dict[str, dict[str, str]] = {}
        self._machines = build_machines(())
        self._state = MemoryState()
        self._session: ComparedSession | None = None
        self._calls = 0
        self._before_failure: dict[bytes, bytes] | None = None

    def deploy(
        self, contract: str, *, source: str | None = None, arguments: Mapping[str, Value] | None = None
    ) -> Interface:
        """Check a contract, install it and run its `@init`. Without a source, the product's own is deployed.

        Raises:
            ContractRefused: the source is not a contract.
            CallFailed: `@init` failed; the contract is not installed then.
        """
        if contract in self._contracts:
            raise UsageError(Reason.MISUSE, f"contract {contract} is already deployed", value=contract)
        known = tuple((name, one.interface) for name, one in self._contracts.items())
        compiled = _compile(load_source(contract) if source is None else source, contract, known)
        before = self._install({**self._contracts, contract: compiled})
        given = tuple(sorted((arguments or {}).items()))
        outcome = self._open_session().initialise(contract, given, self._context("", ()), GAS_LIMIT_MAX)
        self._report(contract, "@init", outcome)
        if not outcome.ok:
            self._install(before)
            raise CallFailed(f"{contract}.@init", outcome)
        self._stored[contract] = describe_layout(compiled)
        self.events.extend(outcome.events)
        return compiled.interface

    def upgrade(self, contract: str, source: str) -> Interface:
        """Put a source in the place of a contract, if nodes would, and run its `@migrate` on what is stored.

        What nodes themselves call in `validators` and `contracts` is theirs to check.

        Raises:
            ContractRefused: the source is not a contract.
            UpgradeRefused: it would change what is stored or what others use, or is in force.
            CallFailed: `@migrate` failed; the contract is as before.
        """
        old = self._contracts.get(contract)
        if old is None:
            raise UsageError(Reason.MISUSE, f"contract {contract} is not deployed", value=contract)
        others = tuple((name, one.interface) for name, one in self._contracts.items() if name != contract)
        compiled = _compile(source, contract, others)
        self._check_upgrade(old, compiled)
        before = self._install({**self._contracts, contract: compiled})
        outcome = self._open_session().migrate(contract, self._context("", ()), GAS_LIMIT_MAX)
        self._report(contract, "@migrate", outcome)
        if not outcome.ok:
            self._install(before)
            raise CallFailed(f"{contract}.@migrate", outcome)
        self._stored[contract] |= describe_layout(compiled)
        self.events.extend(outcome.events)
        return compiled.interface

    def deploy_product(
        self,
        members: Sequence[Mapping[str, Value]],
        *,
        operators: Sequence[str] = ("settlement", "collateral"),
    ) -> None:
        """Deploy the product's contracts for these members, each as `build_member` returns it.

        `operators` are the contracts that the register of instruments lets act for members.
        """
        arguments: dict[str, Mapping[str, Value]] = {
            "members": build_member_arguments(*members, voters=[str(one["member"]) for one in members]),
            "validators": {"validators": tuple(build_validator(str(one["member"])) for one in members)},
            "instruments": {"contracts": tuple(operators)},
        }
        for contract in PRODUCT_CONTRACTS:
            self.deploy(contract, arguments=arguments.get(contract))

    def call(
        self,
        contract: str,
        entry: str,
        /,
        *,
        sender: str,
        signers: Sequence[str] | None = None,
        gas_limit: int = GAS_LIMIT,
        **arguments: Value,
    ) -> Value | None:
        """Call an entry point as `sender`, signed by it or by `signers`, and return the result.

        The limit is that of clients which name none; a call that passes here passes for them.

        Raises:
            CallFailed: the call ended with a code; nothing changed.
        """
        call = Call.create(contract, entry, arguments)
        return self.submit(call, sender=sender, signers=signers, gas_limit=gas_limit)

    def submit(
        self, call: Call, *, sender: str, signers: Sequence[str] | None = None, gas_limit: int = GAS_LIMIT
    ) -> Value | None:
        """Do what `call` does, for arguments of any name.

        Raises:
            CallFailed: the call ended with a code; nothing changed.
        """
        signed = (sender,) if signers is None else tuple(sorted(set(signers)))
        session = self._open_session()
        outcome = session.run(call, self._context(sender, signed), gas_limit)
        self._report(call.contract, call.entry, outcome)
        if not outcome.ok:
            raise CallFailed(f"{call.contract}.{call.entry}", outcome)
        self.events.extend(outcome.events)
        # Compares what the engines have changed, at once; short blocks keep that cheap.
        if len(session.collect_changes()) > BLOCK_CHANGES_MAX:
            self._flush()
        if self._before_failure is not None:
            self._before_failure = self.copy_state()
        return outcome.value

    def view(
        self, contract: str, name: str, /, *, sender: str = "reader", **arguments: Value
    ) -> Value | None:
        """Return what a view returns; like nodes, it has the most gas there is.

        Raises:
            CallFailed: the view ended with a code.
        """
        call = Call.create(contract, name, arguments)
        outcome = self._open_session().view(call, self._context(sender, ()), GAS_LIMIT_MAX)
        self._report(contract, name, outcome)
        if not outcome.ok:
            raise CallFailed(f"{contract}.{name}", outcome)
        return outcome.value

    @contextmanager
    def expect_abort(self, code: str, **details: Value) -> Iterator[None]:
        """Expect the last call inside to fail with this code, these details among others, and no effect."""
        self._before_failure = self.copy_state()
        try:
            yield
            raise AssertionError(f"expected {code}({details}), but the call succeeded")
        except CallFailed as failure:
            found = {name: failure.details.get(name) for name in details}
            if failure.code != code or found != details:
                raise AssertionError(f"expected {code}({details}), but {failure}") from failure
            if self.copy_state() != self._before_failure:
                raise AssertionError(f"the call that failed with {code} has changed the state") from failure
        finally:
            # While it is set, every call copies all of the state.
            self._before_failure = None

    def advance(self, *, blocks: int = 1, milliseconds: int = 0) -> None:
        """Move on in height and block time."""
        self.height += blocks
        self.time_ms += milliseconds

    def list_events(self, name: str) -> list[dict[str, Value]]:
        """Return the fields of every event of this name so far, oldest first."""
        return [dict(event.fields) for event in self.events if event.name == name]

    def copy_state(self) -> dict[bytes, bytes]:
        """Return all of the state, as it would be stored."""
        self._flush()
        return self._state.snapshot()

    def _report(self, contract: str, entry: str, outcome: Outcome) -> None:
        # Nothing ran where nothing was spent: there is no `@init`, or the call was refused at the door.
        if entry.startswith("@") and outcome.ok and outcome.gas_used == 0:
            return
        use = GasUse(contract=contract, entry=entry, gas=outcome.gas_used, code=outcome.code)
        self.gas_report.append(use)
        watcher = _watcher.get()
        if watcher is not None:
            watcher(use)

    def _install(self, contracts: dict[str, CompiledContract]) -> dict[str, CompiledContract]:
        """Run with these contracts from now on, over what is stored, and return those before."""
        self._flush()
        self._session = None
        before, self._contracts = self._contracts, contracts
        self._machines = build_machines(tuple(contracts.values()))
        return before

    def _check_upgrade(self, old: CompiledContract, new: CompiledContract) -> None:
        if new.source == old.source:
            raise UpgradeRefused(old.name, "SOURCE_UNCHANGED", ("this source is in force",))
        breaks = find_upgrade_breaks(old, new, stored=self._stored[old.name], contracts=self._contracts)
        if breaks:
            raise UpgradeRefused(old.name, breaks[0].code, tuple(one.message for one in breaks))

    def _context(self, sender: str, signers: tuple[str, ...]) -> CallContext:
        self._calls += 1
        return CallContext(
            sender=sender,
            signers=signers,
            time_ms=self.time_ms,
            height=self.height,
            tx_id=sha256(self._calls.to_bytes(8, "big")).digest(),
        )

    def _open_session(self) -> ComparedSession:
        if self._session is None:
            self._session = ComparedSession(self._machines, self._state)
        return self._session

    def _flush(self) -> None:
        """Store what the session holds. The next call begins another block."""
        if self._session is not None:
            self._state.apply(self._session.collect_changes().items())
            self._session.restart(self._state)
