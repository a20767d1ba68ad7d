"""A state of real contracts: the product's register of instruments, in memory, with the real state root."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256, sha512
from types import MappingProxyType
from typing import Final, cast

from tanpo.consensus import Roots
from tanpo.contracts import load_source
from tanpo.ledger.block import Block
from tanpo.ledger.errors import invariant
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.statekey import compute_state_root, path_of, value_hash
from tanpo.ledger.transaction import Call
from tanpo.ledger.types import StateRoot
from tanpo.ledger.values import Value
from tanpo.simulator.application import TX_PREFIX, State, advance_reign
from tanpo.vm import CallContext, Interface, Machine, Outcome, compile_contract

CONTRACTS: Final = ("members", "instruments")
REGISTRAR: Final = "trust-bank"
CUSTODIAN: Final = "custody-bank"
DEALERS: Final = ("dealer-a", "dealer-b", "dealer-c")
ACCOUNTS: Final = tuple(f"{dealer}/main" for dealer in DEALERS)
INSTRUMENT: Final = "usd-deposit"
ISSUED: Final = 300
"""Little enough that transfers fail for want of it now and then: a failure is an outcome like any other."""

GAS_LIMIT: Final = 1_000_000
REIGN_KEY: Final = b"\x02\x00reign"
_KEY_PREFIX: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
_SCENE_MS: Final = 1_767_225_600_000


class ContractApplication:
    """Transfers between accounts. Each node executes every block by itself."""

    def __init__(self, valset_hashes: Sequence[bytes] = ()) -> None:
        self._valset_hashes = tuple(valset_hashes)
        machine, pairs = _set_scene()
        self._session = machine.open_session(_Pairs(pairs))
        self.genesis = State(
            roots=Roots(state_root=_compute_root(pairs), receipts_root=compute_merkle_root(())), pairs=pairs
        )

    def make_envelope(self, number: int) -> bytes:
        """Return the transaction of a number."""
        return TX_PREFIX + b"%d" % number

    def execute(self, block: Block, parent: State) -> State:
        """Return the state after a block."""
        reign, pending = advance_reign(block, parent, len(self._valset_hashes))
        session = self._session
        session.restart(_Pairs(parent.pairs))
        header = block.header
        receipts: list[bytes] = []
        for envelope in block.envelopes:
            call, sender = _read_call(envelope)
            context = _context(sender, header.time_ms, header.height, sha256(envelope).digest())
            outcome = session.run(call, context, GAS_LIMIT)
            receipts.append(f"{outcome.code} {outcome.gas_used}".encode())
        changes = {**session.collect_changes(), REIGN_KEY: f"{reign} {pending}".encode()}
        pairs = _apply(parent.pairs, changes)
        roots = Roots(
            state_root=_compute_root(pairs),
            receipts_root=compute_merkle_root(receipts),
            pending_valset=None if pending is None else self._valset_hashes[pending],
        )
        return State(roots=roots, reign=reign, pending=pending, pairs=pairs)

    def find_fault(self, state: State) -> str | None:
        """Return how a state breaks the conservation of assets, None if nothing was made or lost."""
        session = self._session
        session.restart(_Pairs(state.pairs))
        held = 0
        for account in ACCOUNTS:
            call = Call.create("instruments", "position", {"account": account, "instrument": INSTRUMENT})
            outcome = session.view(call, _context("", 0, 0, bytes(32)), GAS_LIMIT)
            position = cast(Mapping[str, int], outcome.value)
            if min(position.values()) < 0:
                return f"{account} has a balance below zero: {dict(position)}"
            held += position["free"] + position["locked"] + position["pledged_out"]
        return None if held == ISSUED else f"accounts hold {held}, {ISSUED} were issued"


class _Pairs:
    """Reads a state in memory."""

    def __init__(self, pairs: Mapping[bytes, bytes]) -> None:
        self._pairs = pairs

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key."""
        return self._pairs.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first pairs with start <= key < stop."""
        keys = sorted(self._pairs)
        chosen = keys[bisect_left(keys, start) : bisect_left(keys, stop)][:limit]
        return [(key, self._pairs[key]) for key in chosen]


@lru_cache(maxsize=1)
def _set_scene() -> tuple[Machine, Mapping[bytes, bytes]]:
    """Return the machine and the state at genesis: an instrument, issued to three dealers."""
    interfaces: dict[str, Interface] = {}
    compiled = {}
    for name in CONTRACTS:
        compiled[name] = compile_contract(load_source(name), name=name, interfaces=dict(interfaces))
        interfaces[name] = compiled[name].interface
    machine = Machine(compiled)
    session = machine.open_session(_Pairs({}))
    genesis = _context("", _SCENE_MS, 0, bytes(32))
    members: tuple[Value, ...] = (
        _describe_member(REGISTRAR, "registrar", "cash_issuer"),
        _describe_member(CUSTODIAN, "custodian"),
        *(_describe_member(dealer, "participant") for dealer in DEALERS),
    )
    _require(session.initialise("members", (("members", members), ("voters", ())), genesis, GAS_LIMIT))
    _require(session.initialise("instruments", (("contracts", ()),), genesis, GAS_LIMIT))
    for number, (sender, entry, arguments) in enumerate(_list_opening_calls()):
        context = _context(sender, _SCENE_MS, 0, sha256(b"scene %d" % number).digest())
        _require(session.run(Call.create("instruments", entry, arguments), context, GAS_LIMIT))
    return machine, _apply({}, {**session.collect_changes(), REIGN_KEY: b"0 None"})


def _describe_member(member: str, *roles: str) -> dict[str, Value]:
    """Return a member with made-up keys: here nobody signs."""
    return {
        "member": member,
        "name": member,
        "lei": "",
        "roles": roles,
        "ca_certificate": b"none",
        "keys": (_KEY_PREFIX + sha512(member.encode()).digest(),),
    }


def _list_opening_calls() -> Iterable[tuple[str, str, dict[str, Value]]]:
    definition: dict[str, Value] = {
        "id": INSTRUMENT,
        "name": "Deposit",
        "kind": "deposit_token",
        "currency": "USD",
        "decimals": 2,
        "denomination": 1,
        "registrar": REGISTRAR,
        "custodian": CUSTODIAN,
        "issuer_lei": "",
        "asset_class": "cash",
        "country": "",
        "rating": "",
        "maturity": 0,
    }
    yield REGISTRAR, "define", {"instrument": definition}
    for number, account in enumerate(ACCOUNTS):
        issue: dict[str, Value] = {
            "instrument": INSTRUMENT,
            "reference": f"lock-{number}",
            "quantity": ISSUED // len(ACCOUNTS),
        }
        yield CUSTODIAN, "confirm_lock", issue
        yield REGISTRAR, "mint", issue | {"account": account}


def _read_call(envelope: bytes) -> tuple[Call, str]:
    """Return the transfer that an envelope stands for, and who signs it; any envelope is one."""
    digest = sha256(envelope).digest()
    giver, step, quantity = digest[0] % 3, 1 + digest[1] % 2, 1 + digest[2] % 90
    arguments: dict[str, Value] = {
        "deliverer": ACCOUNTS[giver],
        "receiver": ACCOUNTS[(giver + step) % 3],
        "instrument": INSTRUMENT,
        "quantity": quantity,
    }
    return Call.create("instruments", "transfer", arguments), DEALERS[giver]


def _context(sender: str, time_ms: int, height: int, tx_id: bytes) -> CallContext:
    signers = (sender,) if sender else ()
    return CallContext(sender=sender, signers=signers, time_ms=time_ms, height=height, tx_id=tx_id)


def _require(outcome: Outcome) -> None:
    invariant(outcome.ok, f"the scene cannot be set: {outcome.code} {outcome.details}")


def _apply(pairs: Mapping[bytes, bytes], changes: Mapping[bytes, bytes | None]) -> Mapping[bytes, bytes]:
    merged: dict[bytes, bytes | None] = {**pairs, **changes}
    return MappingProxyType({key: value for key, value in merged.items() if value is not None})


def _compute_root(pairs: Mapping[bytes, bytes]) -> StateRoot:
    return compute_state_root((_path(key), _value(value)) for key, value in pairs.items())


@lru_cache(maxsize=4096)
def _path(key: bytes) -> bytes:
    return path_of(key)


@lru_cache(maxsize=4096)
def _value(value: bytes) -> bytes:
    return value_hash(value)
