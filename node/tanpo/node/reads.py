"""What clients may read: blocks, transactions, receipts with their proofs, outcomes, views."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tanpo.ledger.block import decode_block
from tanpo.ledger.codec import Reader
from tanpo.ledger.contractversion import ContractVersion
from tanpo.ledger.errors import LedgerError, Reason, TransactionRejected, Unavailable, UsageError
from tanpo.ledger.merkle import prove_leaf
from tanpo.ledger.receipt import decode_receipt
from tanpo.ledger.transaction import Call, compute_request_digest, decode_envelope
from tanpo.ledger.types import Height, MemberId, NetworkId, TxId
from tanpo.ledger.values import encode_value, read_fields
from tanpo.node.execution import Execution
from tanpo.node.finality import find_final
from tanpo.node.mempool import Mempool
from tanpo.node.outcome import Outcome, OutcomeState
from tanpo.node.versions import find_version
from tanpo.storage import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRead:
    """A committed block with its receipts, all encoded. `proof` makes the last of `descendants` final, which
    are the headers above the block, or the block itself when there are none."""

    height: int
    block_hash: bytes
    block: bytes
    proof: bytes
    descendants: tuple[bytes, ...]
    receipts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionRead:
    """A committed transaction: the envelope it came in and its position there."""

    height: int
    index: int
    envelope: bytes
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRead:
    """An encoded receipt and its place in the chain."""

    height: int
    index: int
    receipt: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptProofRead:
    """A receipt, its path to the receipts root of `header`, and what makes that header final."""

    receipt: bytes
    height: int
    index: int
    leaf_count: int
    siblings: tuple[bytes, ...]
    header: bytes
    descendants: tuple[bytes, ...]
    commit_proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewRead:
    """The encoded value of a view and the state it was computed on."""

    value: bytes
    height: int
    state_root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractRead:
    """An installed contract: the version in force, and its interface as JSON."""

    version: ContractVersion
    interface_json: str


class Reads:
    """Answers from committed state only."""

    def __init__(self, *, execution: Execution, mempool: Mempool, network_id: NetworkId) -> None:
        self._execution = execution
        self._store = execution.store
        self._mempool = mempool
        self._network_id = network_id

    @property
    def first_height(self) -> Height:
        """The first block whose transactions, receipts and events are held."""
        return self._store.beginning.first_answered

    @property
    def since_time_ms(self) -> int:
        """A request valid until a time before this may be in a block that is not held; 0 if all are."""
        return self._execution.since_time_ms

    @property
    def tip_time_ms(self) -> int:
        """The block time of the latest executed block; 0 before the first."""
        return self._execution.tip_time_ms

    def outcome(self, member: str, request_id: str) -> Outcome:
        """Return what became of a request.

        Raises:
            Unavailable: it was executed in a block before those that are held (HEIGHT_PRUNED).
        """
        digest = compute_request_digest(MemberId(member), request_id)
        place = self._store.find_request(digest)
        if place is not None:
            return self._committed(*place, member=member, request_id=request_id)
        if self._execution.is_taken(digest):
            raise executed_before(request_id)
        waiting = self._mempool.find_request(digest)
        return self.make_outcome(
            OutcomeState.UNKNOWN if waiting is None else OutcomeState.PENDING,
            tx_id=waiting or b"",
            member=member,
            request_id=request_id,
        )

    def make_outcome(
        self,
        state: OutcomeState,
        *,
        tx_id: bytes,
        member: str,
        request_id: str,
        error: LedgerError | None = None,
    ) -> Outcome:
        """Return an outcome other than committed, as of the latest executed block."""
        return Outcome(
            state=state,
            tx_id=tx_id,
            member=member,
            request_id=request_id,
            error=error,
            as_of_height=self._store.executed_height,
            as_of_time_ms=self._execution.tip_time_ms,
            since_time_ms=self.since_time_ms,
        )

    def block(self, height: int) -> BlockRead:
        """Return a committed block, the latest for height 0."""
        wanted = Height(height or self._store.executed_height)
        if not 1 <= wanted <= self._store.executed_height:
            raise self._no_height(height)
        stored = self._store.read_block(wanted)
        _, descendants, proof = find_final(self._store, wanted)
        return BlockRead(
            height=wanted,
            block_hash=stored.block_hash,
            block=stored.block,
            proof=proof,
            descendants=descendants,
            receipts=self._store.get_receipts(wanted),
        )

    def transaction(self, tx_id: bytes) -> TransactionRead:
        """Return a committed transaction by its id."""
        height, index = self._find(tx_id)
        block = decode_block(self._store.read_block(height).block)
        before = 0
        for encoded in block.envelopes:
            envelope = decode_envelope(self._network_id, encoded)
            if index < before + len(envelope.transactions):
                return TransactionRead(height=height, index=index, envelope=encoded, position=index - before)
            before += len(envelope.transactions)
        raise self._not_found(tx_id)

    def receipt(self, tx_id: bytes) -> ReceiptRead:
        """Return the receipt of a committed transaction."""
        height, index = self._find(tx_id)
        return ReceiptRead(height=height, index=index, receipt=self._store.get_receipts(height)[index])

    def receipt_proof(self, tx_id: bytes) -> ReceiptProofRead:
        """Return the proof of a receipt. Raises `Unavailable` until the next block has sealed it."""
        height, index = self._find(tx_id)
        if self._store.executed_height <= height:
            raise Unavailable(
                Reason.NOT_FOUND,
                "the block that certifies this receipt is not committed yet",
                value=height,
                limit=height + 1,
                remedy="ask again in a moment",
            )
        leaves = self._store.get_receipts(height)
        proof = prove_leaf(leaves, index)
        header, descendants, commit_proof = find_final(self._store, Height(height + 1))
        return ReceiptProofRead(
            receipt=leaves[index],
            height=height,
            index=index,
            leaf_count=proof.leaf_count,
            siblings=proof.siblings,
            header=header,
            descendants=descendants,
            commit_proof=commit_proof,
        )

    async def view(self, contract: str, view: str, arguments: bytes, height: int) -> ViewRead:
        """Run a view on the state after the latest executed block, or after an earlier one.

        Raises:
            TransactionRejected: unknown contract, view or arguments, or the view failed.
            UsageError: the state of that height is not held. Unavailable: the view could not be run now.
        """
        reader = Reader(arguments)
        fields = read_fields(reader)
        reader.finish()
        call = Call(contract=contract, entry=view, arguments=fields)
        if height in (0, self._store.executed_height):
            receipt = await self._execution.view(call, time_ms=self._execution.tip_time_ms)
            at, root = self._store.executed_height, self._store.state_root
        else:
            current = self._execution.contracts
            receipt = await self._execution.past_views.run(call, Height(height), current)
            at, root = Height(height), self._store.history.at(Height(height)).state_root
        if not receipt.succeeded:
            raise view_failed(receipt.code, contract, view, dict(receipt.details))
        return ViewRead(value=encode_value(receipt.value), height=at, state_root=root)

    def list_of_party(self, member: str, before: tuple[int, int] | None, limit: int) -> list[Position]:
        """Return the latest transactions that concern a member, or the latest before a height and index."""
        return self._store.list_of_party(member, before, limit) if member.isascii() else []

    def contracts(self) -> list[ContractRead]:
        """Return the installed contracts in ascending order of name."""
        contracts = self._execution.contracts
        return [
            ContractRead(
                version=version,
                interface_json=json.dumps(contracts.compiled[name].interface.describe()),
            )
            for name, version in sorted(contracts.versions.items())
        ]

    def contract_version(self, name: str, version: int) -> ContractVersion:
        """Return a version of an installed contract, the one in force for 0."""
        found = find_version(self._store, self._execution.contracts, name, version)
        if found is None:
            current = self._execution.contracts.versions.get(name)
            raise TransactionRejected(
                Reason.CONTRACT_UNKNOWN if current is None else Reason.NOT_FOUND,
                f"contract {name} is not installed" if current is None else f"{name} has no such version",
                value=name if current is None else version,
                limit="" if current is None else f"1..{current.version}",
                remedy="list the contracts with `tanpo contract list`",
            )
        return found

    def _committed(self, height: Height, index: int, *, member: str, request_id: str) -> Outcome:
        receipt = self._store.get_receipts(height)[index]
        return Outcome(
            state=OutcomeState.COMMITTED,
            tx_id=decode_receipt(receipt).tx_id,
            member=member,
            request_id=request_id,
            height=height,
            index=index,
            receipt=receipt,
            as_of_height=self._store.executed_height,
            as_of_time_ms=self._execution.tip_time_ms,
        )

    def _find(self, tx_id: bytes) -> tuple[Height, int]:
        place = self._store.find_transaction(TxId(tx_id))
        if place is None:
            raise self._not_found(tx_id)
        return place

    def _not_found(self, tx_id: bytes) -> LedgerError:
        first = self._store.beginning.height
        if first:
            return UsageError(
                Reason.HEIGHT_PRUNED,
                f"no transaction of blocks {first + 1} to {self._store.executed_height} has this id, "
                "and none of before are held here",
                value=tx_id.hex(),
                limit=f"blocks {first + 1} to {self._store.executed_height}",
                remedy="ask a node that holds the chain from its genesis",
            )
        return TransactionRejected(
            Reason.NOT_FOUND,
            f"no committed transaction has this id up to height {self._store.executed_height}",
            value=tx_id.hex(),
            remedy="check the id, or ask for the outcome by request id",
        )

    def _no_height(self, height: int) -> TransactionRejected:
        return TransactionRejected(
            Reason.HEIGHT_UNKNOWN,
            "this node does not hold that height",
            value=height,
            limit=self._store.executed_height,
            remedy="ask for 0, the latest height",
        )


def executed_before(request_id: str) -> Unavailable:
    """Return the error for a request that was, or may have been, executed in a block that is not held."""
    return Unavailable(
        Reason.HEIGHT_PRUNED,
        "the request was executed before all that this node holds, or may have been: it has no outcome of it",
        value=request_id,
        remedy="ask a node that holds the chain from its genesis for the outcome",
    )


def view_failed(code: str, contract: str, view: str, details: object) -> TransactionRejected:
    """Return the refusal for a view that failed, keeping a code of ours where it is one."""
    reason = Reason(code) if code in Reason.__members__ else Reason.VIEW_FAILED
    return TransactionRejected(
        reason,
        f"view {contract}.{view} failed: {code}",
        value=details or code,
        remedy="see the contract's interface with `tanpo query --list`",
    )
