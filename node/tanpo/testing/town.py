"""A town with one node: a chain with a register, and a client that asks the node without a network between.

What the node answers may be changed on the way, so that tests see who is believed. Tests of nodes, of clients
and of proof files share it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from tanpo.client import ClientConfig, Identity, RetryPolicy, StateListing, StateValue, statereads
from tanpo.client.context import Context
from tanpo.client.plan import Pause, Plan, Route
from tanpo.client.trust import Trust
from tanpo.ledger.errors import LedgerError, invariant
from tanpo.ledger.genesis import Genesis, collect_keys
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.lineage import EpochPin
from tanpo.ledger.receipt import Receipt
from tanpo.ledger.types import MemberId
from tanpo.ledger.validators import Validator
from tanpo.ledger.values import Value
from tanpo.node.mempool import Mempool, MempoolLimits
from tanpo.node.proofs import Proofs
from tanpo.node.reads import Reads
from tanpo.node.services.ledger import LedgerService
from tanpo.node.services.ports import NodePort
from tanpo.testing.chain import Chain

_T = TypeVar("_T")

STEPS_MAX: Final = 200
"""Most calls and pauses of one plan."""

YEN: Final[Mapping[str, Value]] = {
    "id": "yen",
    "name": "Yen",
    "kind": "deposit_token",
    "currency": "JPY",
    "decimals": 0,
    "denomination": 1,
    "registrar": "trust-bank",
    "custodian": "custody-bank",
    "issuer_lei": "",
    "asset_class": "cash",
    "country": "JP",
    "rating": "",
    "maturity": 0,
}

Lie = Callable[[Any], None]
"""Changes an answer of the node before the client sees it."""


class Town:
    """A chain with a register, and a client of its only node. `lies` change answers of `GetStateProof`."""

    def __init__(
        self, folder: Path, make_key: Callable[[str], PrivateKey] = lambda _: PrivateKey.generate()
    ) -> None:
        self.chain = Chain(folder, has_validators=True, has_register=True, make_key=make_key)
        self._make_key = make_key
        self.lies: list[Lie] = []
        self.asked: list[str] = []
        self.context = self.make_context()

    def make_context(self, pin: EpochPin | None = None) -> Context:
        """Return the context of a new client."""
        genesis, policy = self.chain.genesis, RetryPolicy(random=lambda: 0.0)
        config = ClientConfig(
            addresses=("127.0.0.1:1",),
            identity=Identity(certificate=b"", private_key=b"", authorities=b""),
            genesis=genesis,
            network_id=genesis.network_id,
            pin=pin,
            keys=collect_keys(genesis),
            member=MemberId("dealer-a"),
            signers=(),
            gas_limit=1_000_000,
            deadline_s=2.0,
            retry=policy,
        )
        return Context(config=config, route=Route(1, policy), trust=Trust(genesis, pin), layouts={})

    def call(self, contract: str, entry: str, arguments: Mapping[str, Value], *members: str) -> Receipt:
        """Run one transaction in a block of its own, and return its receipt."""
        (receipt,) = self.chain.run(self.chain.make_transaction(contract, entry, arguments, *members))
        return receipt

    def open_book(self, **quantities: int) -> None:
        """Define yen, and issue them to accounts, whose names are spelled with `_` for `-`."""
        self.call("instruments", "define", {"instrument": YEN}, "trust-bank")
        for account, quantity in quantities.items():
            name = account.replace("_", "-")
            lock: dict[str, Value] = {"instrument": "yen", "reference": f"v-{name}", "quantity": quantity}
            self.call("instruments", "confirm_lock", lock, "custody-bank")
            issued = self.call("instruments", "mint", {"account": name, **lock}, "trust-bank")
            invariant(issued.succeeded, f"nothing was issued: {issued.code}")

    def transfer(self, quantity: int) -> Receipt:
        """Deliver yen from dealer-a to dealer-b."""
        arguments: dict[str, Value] = {
            "deliverer": "dealer-a",
            "receiver": "dealer-b",
            "instrument": "yen",
            "quantity": quantity,
        }
        return self.call("instruments", "transfer", arguments, "dealer-a")

    def run(self, plan: Plan[_T]) -> _T:
        """Drive a plan of the client with answers of the node; whenever it pauses, a block is committed."""
        answer: Any = None
        failure: LedgerError | None = None
        for _ in range(STEPS_MAX):
            try:
                step = plan.send(answer) if failure is None else plan.throw(failure)
            except StopIteration as stop:
                return cast("_T", stop.value)
            answer, failure = None, None
            if isinstance(step, Pause):
                self.chain.run()
                continue
            try:
                answer = asyncio.run(self._answer(step.rpc.method, step.request))
            except LedgerError as error:
                failure = error
        invariant(False, "the plan does not end")
        raise AssertionError("an invariant raises")

    def value(
        self,
        variable: str,
        key: Value | None = None,
        *,
        height: int = 0,
        verified: bool = True,
        context: Context | None = None,
    ) -> StateValue:
        """Have the client read a variable of the register."""
        asking = context or self.context
        return self.run(statereads.value(asking, "instruments", variable, key, height, verified=verified))

    def listing(self, variable: str, group: Value, *, height: int = 0) -> StateListing:
        """Have the client list a group of an index of the register."""
        return self.run(
            statereads.listing(self.context, "instruments", variable, group, height, verified=True)
        )

    def make_validator(self, member: str, node: str) -> Validator:
        """Return a validator with a key that the chain signs with once it is in force."""
        key = self._make_key(f"{member}/{node}")
        self.chain.validator_keys[key.public_key.encoded] = key
        return Validator(member=MemberId(member), node=node, public_key=key.public_key.encoded)

    async def _answer(self, method: str, request: Any) -> Any:
        self.asked.append(method)
        execution, genesis = self.chain.execution, self.chain.genesis
        reads = Reads(execution=execution, mempool=Mempool(MempoolLimits()), network_id=genesis.network_id)
        core = _Core(genesis=genesis, reads=reads, proofs=Proofs.create(execution, genesis))
        service: Any = LedgerService(cast("NodePort", core))
        answer = await getattr(service, method)(request, None)
        if method == "GetStateProof":
            for lie in self.lies:
                lie(answer)
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Core:
    """What the methods that are asked here need of a node."""

    genesis: Genesis
    reads: Reads
    proofs: Proofs
