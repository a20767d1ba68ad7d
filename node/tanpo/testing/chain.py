"""A chain of real blocks on a real store, executed as a node does it and signed with its validators' keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Final, cast

from tanpo.contracts import load_source
from tanpo.ledger.block import (
    EMPTY_ROOT,
    Block,
    BlockFlags,
    Header,
    compute_body_hash,
    compute_tx_root,
)
from tanpo.ledger.certificate import (
    CommitProof,
    QuorumCertificate,
    SignedKind,
    compute_quorum,
    compute_signed_digest,
    vote_bytes,
)
from tanpo.ledger.genesis import Genesis, InstalledContract, Member, Parameters
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.plans import (
    CONTRACTS_CONTRACT,
    PARTS_A_CALL,
    ContractPlan,
    plan_to_value,
    split_source,
)
from tanpo.ledger.receipt import Receipt, decode_receipt
from tanpo.ledger.transaction import Call, Envelope, Transaction, build_transaction, sign_envelope
from tanpo.ledger.types import Height, MemberId, Term, ValidatorIndex
from tanpo.ledger.validators import Validator, validators_to_value
from tanpo.ledger.values import Fields, Value
from tanpo.node.body import DecodedBlock, decode_body
from tanpo.node.config import ExecutionMode
from tanpo.node.contract_sets import Programs
from tanpo.node.execution import ExecutedBlock, Execution
from tanpo.node.metrics import Metrics
from tanpo.node.replaying import catch_up
from tanpo.node.running import play_blocking
from tanpo.node.worker.runner import open_runners
from tanpo.storage import LedgerStore
from tanpo.vm import GAS_LIMIT_MAX, GAS_TABLE_VERSION, LANGUAGE_VERSION, CallContext

START_MS: Final = 1_767_225_600_000
BLOCK_MS: Final = 1_000
DAY_MS: Final = 24 * 60 * 60 * 1_000
FIRST_TERM: Final = Term(1)
MEMBERS: Final = ("trust-bank", "custody-bank", "dealer-a", "dealer-b")
_ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "trust-bank": ("registrar", "cash_issuer", "participant"),
    "custody-bank": ("custodian",),
    "dealer-a": ("participant",),
    "dealer-b": ("participant",),
}


class Chain:
    """One node's execution and the blocks it was given. `open` it on a folder; the same folder goes on.

    `keys` are the members', and `validator_keys` by public key those that vote; later validators' are added.
    `make_key` makes those of the genesis, each by the name of its member or node.
    """

    def __init__(
        self,
        folder: Path,
        *,
        has_validators: bool = False,
        has_register: bool = False,
        mode: ExecutionMode = ExecutionMode.IN_PROCESS,
        make_key: Callable[[str], PrivateKey] = lambda _: PrivateKey.generate(),
    ) -> None:
        self.folder = folder
        self.mode = mode
        self.keys = {member: make_key(member) for member in MEMBERS}
        voting = {member: make_key(f"{member}/node") for member in MEMBERS}
        self.validator_keys = {key.public_key.encoded: key for key in voting.values()}
        self.genesis = _make_genesis(
            self.keys, voting, has_validators=has_validators, has_register=has_register
        )
        self.execution = self._open()
        self._requests = 0

    def reopen(self) -> None:
        """Stop and start: what is committed is read from disk."""
        self.close()
        self.execution = self._open()

    def close(self) -> None:
        """End the runners and close the store."""
        self.execution.runner.close()
        self.execution.views.close()
        self.execution.store.close()

    def make_transaction(
        self, contract: str, entry: str, arguments: Mapping[str, Value], *members: str
    ) -> Transaction:
        """Return a transaction of the first of these members, signed by all of them."""
        self._requests += 1
        return build_transaction(
            network_id=self.genesis.network_id,
            member=MemberId(members[0]),
            request_id=f"r-{self._requests}",
            valid_until_ms=START_MS + DAY_MS,
            gas_limit=1_000_000,
            signers=[self.keys[member].key_id for member in members],
            call=Call.create(contract, entry, arguments),
        )

    def execute(self, *transactions: Transaction, above: ExecutedBlock | None = None) -> ExecutedBlock:
        """Execute the next block and hold its results."""
        decoded = self._make_block(*transactions, above=above)
        play_blocking(self.execution.begin(decoded))
        return self.execution.get(decoded.block.block_hash)

    def commit(self, executed: ExecutedBlock, term: Term = FIRST_TERM) -> list[Receipt]:
        """Make an executed block final by a quorum's votes in a term, and return its receipts."""
        validators = self.execution.load_epoch(self.genesis).validators.validators
        quorum = validators[: compute_quorum(len(validators))]
        signers = [self.validator_keys[one.public_key] for one in quorum]
        self.execution.commit(executed.block_hash, certify(executed.decoded.block, signers, term))
        return [decode_receipt(one) for one in executed.receipts]

    def run(self, *transactions: Transaction) -> list[Receipt]:
        """Execute the next block and make it final."""
        return self.commit(self.execute(*transactions))

    def view(self, contract: str, view: str, **arguments: Value) -> Value | None:
        """Return what a view returns on the committed state."""
        context = CallContext(
            sender="", signers=(), time_ms=self.execution.tip_time_ms, height=0, tx_id=bytes(32)
        )
        session = self.execution.machine.open_session(self.execution.store)
        outcome = session.view(Call.create(contract, view, arguments), context, GAS_LIMIT_MAX)
        return outcome.value if outcome.ok else outcome.code

    def propose(self, plan: ContractPlan, source: str) -> int:
        """Propose a plan and deliver its source, in blocks of their own. Return the proposal's number."""
        deadline = START_MS + DAY_MS
        arguments: dict[str, Value] = {"plan": plan_to_value(plan), "deadline": deadline}
        (receipt,) = self.run(self.make_transaction(CONTRACTS_CONTRACT, "propose", arguments, MEMBERS[0]))
        number = cast("int", receipt.value)
        parts = split_source(source.encode())
        for first in range(0, len(parts), PARTS_A_CALL):
            pieces = tuple(parts[first : first + PARTS_A_CALL])
            self.run(
                self.make_transaction(
                    CONTRACTS_CONTRACT,
                    "deliver",
                    {"number": number, "first": first, "pieces": pieces},
                    MEMBERS[0],
                )
            )
        return number

    def make_approval(self, number: int, plan: ContractPlan) -> Transaction:
        """Return the transaction by which all members but the proposer approve."""
        arguments: dict[str, Value] = {"number": number, "plan": plan_to_value(plan)}
        return self.make_transaction(CONTRACTS_CONTRACT, "approve", arguments, *MEMBERS[1:])

    def install(self, contract: str, source: str, *, arguments: Fields = ()) -> Receipt:
        """Propose and approve a contract in the next blocks. Return the receipt of the last approval."""
        plan = make_plan(self, contract, source, arguments=arguments)
        number = self.propose(plan, source)
        (receipt,) = self.run(self.make_approval(number, plan))
        return receipt

    def _make_block(self, *transactions: Transaction, above: ExecutedBlock | None = None) -> DecodedBlock:
        """Return the next block, above one that is executed and not committed if it is named."""
        store = self.execution.store
        place = self.execution.load_epoch(self.genesis)
        valset_hash = place.validators.valset_hash
        is_end = place.pending_valset is not None and above is None
        height = above.decoded.block.header.height if above else store.executed_height
        envelopes = [self._seal(transaction).encoded for transaction in transactions]
        header = Header(
            network_id=self.genesis.network_id,
            epoch=place.epoch,
            term=FIRST_TERM,
            height=Height(height + 1),
            parent_hash=above.block_hash if above else store.executed_hash,
            parent_term=FIRST_TERM,
            time_ms=START_MS + (height + 1) * BLOCK_MS,
            proposer=ValidatorIndex(0),
            tx_root=compute_tx_root([transaction.tx_id for transaction in transactions]),
            tx_count=len(transactions),
            body_hash=compute_body_hash(envelopes),
            state_root=above.state_root if above else store.state_root,
            receipts_root=above.receipts_root if above else store.receipts_root,
            valset_hash=valset_hash,
            next_valset_hash=place.pending_valset or valset_hash if is_end else valset_hash,
            flags=BlockFlags.EPOCH_END if is_end else BlockFlags.NONE,
            evidence_root=EMPTY_ROOT,
        )
        return decode_body(Block.create(header, envelopes), self.genesis.network_id, lambda _: None)

    def _open(self) -> Execution:
        execution = self._open_behind()
        catch_up(execution, self.genesis.network_id)
        return execution

    def _open_behind(self) -> Execution:
        """Open the store, and leave the blocks that are not executed yet."""
        programs, metrics = Programs(), Metrics()
        runner, views = open_runners(self.mode, programs, metrics)
        return Execution.open(
            store=LedgerStore.open(self.folder, network_id=self.genesis.network_id),
            genesis=self.genesis,
            metrics=metrics,
            programs=programs,
            runner=runner,
            views=views,
        )

    def _seal(self, transaction: Transaction) -> Envelope:
        signers = [key for key in self.keys.values() if key.key_id in transaction.signers]
        return sign_envelope(self.genesis.network_id, [transaction], signers)


def open_copy(chain: Chain, folder: Path, *, is_behind: bool = False) -> Chain:
    """Return the node of a chain on a copy of its files; `is_behind` leaves what is not executed yet."""
    other = copy(chain)
    other.folder = folder
    other.execution = other._open_behind() if is_behind else other._open()
    return other


def change_validators(chain: Chain, *validators: Validator) -> None:
    """Vote for other validators and end the epoch."""
    arguments: dict[str, Value] = {"validators": validators_to_value(validators)}
    chain.run(chain.make_transaction("validators", "replace", arguments, *MEMBERS))
    chain.run()


def certify(block: Block, signers: Sequence[PrivateKey], term: Term = FIRST_TERM) -> CommitProof:
    """Return the proof that a block became final in a term, signed by its first validators."""
    header = block.header
    kind, epoch, height = SignedKind.VOTE_COMMIT, header.epoch, header.height
    message = vote_bytes(kind, header.network_id, epoch, term, height, block.block_hash)
    return CommitProof(
        certificate=QuorumCertificate(
            kind=kind,
            epoch=epoch,
            term=term,
            height=height,
            block_hash=block.block_hash,
            signatures=tuple(
                (ValidatorIndex(index), key.sign(compute_signed_digest(message)))
                for index, key in enumerate(signers)
            ),
        )
    )


def make_plan(chain: Chain, contract: str, source: str, *, arguments: Fields = ()) -> ContractPlan:
    """Return the plan to install a source, or to upgrade to it what is installed."""
    current = chain.execution.contracts.versions.get(contract)
    return ContractPlan.create(
        contract,
        source.encode(),
        language_version=LANGUAGE_VERSION,
        gas_table_version=GAS_TABLE_VERSION,
        version=current.version + 1 if current else 1,
        replaces=current.source_hash if current else b"",
        arguments=arguments,
    )


def _make_genesis(
    keys: Mapping[str, PrivateKey],
    voting: Mapping[str, PrivateKey],
    *,
    has_validators: bool,
    has_register: bool,
) -> Genesis:
    validators = tuple(
        Validator(member=MemberId(member), node="node", public_key=key.public_key.encoded)
        for member, key in voting.items()
    )
    arguments: dict[str, Fields] = {
        "members": (),
        "validators": (("validators", validators_to_value(validators)),),
        CONTRACTS_CONTRACT: (),
        "instruments": (("contracts", ()),),
    }
    left_out = {"validators": not has_validators, "instruments": not has_register}
    return Genesis(
        network="test",
        time_ms=START_MS,
        parameters=Parameters(),
        members=tuple(
            Member(
                member=MemberId(member),
                name=member,
                lei="",
                roles=_ROLES.get(member, ()) if has_register else (),
                ca_certificate=b"none",
                keys=(key.public_key.encoded,),
            )
            for member, key in keys.items()
        ),
        validators=validators,
        contracts=tuple(
            InstalledContract(name=name, source=load_source(name), arguments=given)
            for name, given in arguments.items()
            if not left_out.get(name, False)
        ),
    )
