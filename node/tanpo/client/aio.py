"""`AsyncClient`: the asynchronous client, on grpc.aio. It has the surface of `Client`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tanpo.client import exporting, requests, statereads
from tanpo.client.aio_link import AsyncLink, read_backup, read_events, submit_batch
from tanpo.client.backups import BackupData, BackupOrigin
from tanpo.client.batch import WINDOW, Batch
from tanpo.client.config import DEADLINE_S, VALID_FOR_S, ClientConfig
from tanpo.client.context import Context, make_call
from tanpo.client.draft import Draft
from tanpo.client.events import RECONNECT_FOR_S, Checkpoint, EventCursor, LedgerEvent
from tanpo.client.identity import Identity
from tanpo.client.results import (
    BatchResult,
    Committed,
    CommittedBlock,
    CommittedTransaction,
    ContractSource,
    ContractView,
    EvidenceView,
    NodeStatus,
    Outcome,
    QueryResult,
    Result,
    RotatedCertificate,
    TransactionList,
    TransactionPosition,
    ValidatorsView,
    in_order_of,
)
from tanpo.client.statereads import Holdings, StateListing, StateValue
from tanpo.ledger.genesis import Genesis, Parameters
from tanpo.ledger.lineage import EpochPin
from tanpo.ledger.membership import Registration
from tanpo.ledger.prooffile import ReceiptFile, StateFile
from tanpo.ledger.proofs import VerifiedReceipt
from tanpo.ledger.receipt import Receipt
from tanpo.ledger.statelayout import StateLayout
from tanpo.ledger.transaction import Call, Envelope, Signer
from tanpo.ledger.types import KeyId, MemberId, TxId
from tanpo.ledger.values import Value


class AsyncClient:
    """A member's way to its ledger. Every call waits at most its deadline, retries included.

    `network` tells of members, validators and the node itself, `chain` of blocks and proofs, `state` of what
    contracts keep, proved. Every method raises `LedgerError`: `TransactionRejected` and `UsageError` for what
    the caller must change, `Unavailable` for what may work later, `PeerFault` for a node that is not to be
    believed.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._context = Context.create(config)
        self._link = AsyncLink(self._context)
        self.network = NetworkCalls(self._link)
        self.admin = AdminCalls(self._link)
        self.chain = ChainCalls(self._link)
        self.state = StateCalls(self._link)

    @classmethod
    def connect(
        cls,
        addresses: str | Sequence[str],
        *,
        identity: Identity,
        genesis: Genesis | Path | str,
        signers: Iterable[Signer] = (),
        member: str = "",
        deadline_s: float = DEADLINE_S,
        pin: EpochPin | str | None = None,
    ) -> AsyncClient:
        """Return a client of the node at `host:port`; further addresses are nodes to fall back to.

        The connection is made by the first call. With a `pin`, proofs are checked from that epoch on.

        Raises:
            UsageError: an argument is unusable, or the certificate is not valid now.
        """
        return cls(
            ClientConfig.create(
                addresses,
                identity=identity,
                genesis=genesis,
                signers=signers,
                member=member,
                deadline_s=deadline_s,
                pin=pin,
            )
        )

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Calls in progress fail, later ones raise `UsageError`."""
        await self._link.close()

    async def submit(
        self,
        call: Call | str,
        entry: str = "",
        arguments: Mapping[str, Value] | None = None,
        *,
        signers: Iterable[Signer] | None = None,
        request_id: str | None = None,
        valid_for_s: float = VALID_FOR_S,
        gas_limit: int | None = None,
        deadline_s: float | None = None,
    ) -> Committed:
        """Sign and submit one call, and wait until it is committed.

        Its contract may have failed: see `succeeded`, or call `raise_for_failure()`.

        Raises:
            TransactionRejected: it is in no block and will be in none.
            OutcomeUnknown: no answer came in time; it says how to find out.
        """
        envelope = self._context.compose(
            make_call(call, entry, arguments),
            signers=signers,
            request_id=request_id,
            valid_for_s=valid_for_s,
            gas_limit=gas_limit,
        )
        plan = requests.submit_one(self._context, envelope, self._context.compute_deadline(deadline_s))
        return await self._link.run(plan)

    async def submit_envelope(
        self, envelope: Envelope | bytes, *, deadline_s: float | None = None
    ) -> tuple[Result, ...]:
        """Submit a sealed envelope and return its transactions' outcomes in order. Repeating it is safe.

        Raises as `submit` does; a rejection only when no transaction of the envelope was committed.
        """
        found = self._context.read_envelope(envelope)
        plan = requests.submit(self._context, found, self._context.compute_deadline(deadline_s))
        return await self._link.run(plan)

    def submit_batch(
        self,
        envelopes: Iterable[Envelope] | AsyncIterable[Envelope],
        *,
        deadline_s: float | None = None,
        window: int = WINDOW,
    ) -> AsyncIterator[BatchResult]:
        """Submit many envelopes on one stream and yield one result a transaction, as they arrive.

        At most `window` envelopes are in flight, each for at most the deadline. The envelopes may come at
        their own pace; answers are read meanwhile.
        """
        batch = Batch(self._context, deadline_s=self._context.compute_deadline(deadline_s), window=window)
        return submit_batch(self._link, batch, envelopes)

    async def submit_many(
        self, envelopes: Sequence[Envelope], *, deadline_s: float | None = None
    ) -> tuple[BatchResult, ...]:
        """Submit envelopes as `submit_batch` does and return the results in the order of the envelopes."""
        return in_order_of(
            envelopes, [result async for result in self.submit_batch(envelopes, deadline_s=deadline_s)]
        )

    def build(
        self,
        calls: Call | Sequence[Call],
        *,
        signers: Iterable[KeyId] | None = None,
        request_id: str | None = None,
        valid_for_s: float = VALID_FOR_S,
        gas_limit: int | None = None,
    ) -> Draft:
        """Return a draft for the keys named to sign, ordinarily this client's own. Nothing is sent."""
        return self._context.build(
            calls, signers=signers, request_id=request_id, valid_for_s=valid_for_s, gas_limit=gas_limit
        )

    async def outcome(self, request_id: str, member: str | None = None) -> Outcome:
        """Return what the node knows of a request, of this client's member unless another is named."""
        named = self.config.member if member is None else MemberId(member)
        return await self._link.run(requests.outcome(self._context, named, request_id))

    async def query(self, contract: str, view: str, /, **arguments: Value) -> QueryResult:
        """Run a view of a contract on the state after the latest block that the node executed.

        It is committed and tells its height. A node may lag behind the others, never behind what it answered
        before; only a transaction is sure to see all that was committed before it began.

        Raises `TransactionRejected` if the view fails.
        """
        return await self._link.run(requests.query(self._context, contract, view, arguments))

    def events(
        self,
        contracts: Iterable[str] = (),
        checkpoint: Checkpoint | None = None,
        *,
        reconnect_for_s: float = RECONNECT_FOR_S,
    ) -> AsyncIterator[LedgerEvent]:
        """Yield events from a checkpoint on and then as blocks commit, each once, across lost connections.

        Raises `Unavailable` when no node could be reached for `reconnect_for_s`.
        """
        cursor = EventCursor(
            self._context.route,
            contracts=contracts,
            checkpoint=checkpoint,
            reconnect_for_s=reconnect_for_s,
        )
        return read_events(self._link, cursor)


class ChainCalls:
    """Blocks, transactions, receipts and proofs: `client.chain`."""

    def __init__(self, link: AsyncLink) -> None:
        self._link = link

    async def block(self, height: int = 0) -> CommittedBlock:
        """Return a block, 0 for the latest, having verified that it is final."""
        return await self._link.run(requests.block(self._link.context, height))

    async def transaction(self, tx_id: TxId) -> CommittedTransaction:
        """Return a committed transaction with its envelope."""
        return await self._link.run(requests.transaction(self._link.context, tx_id))

    async def receipt(self, tx_id: TxId) -> Receipt:
        """Return the receipt of a committed transaction, by the node's word."""
        return await self._link.run(requests.receipt(self._link.context, tx_id))

    async def transactions_of(
        self, member: str, before: TransactionPosition | None = None, *, limit: int = 100
    ) -> TransactionList:
        """Return the latest transactions that concern a member, or the latest before one of them.

        Those it sent or signed, and those whose arguments or events name it or an account of it. A node that
        joined by a snapshot lists those of later blocks alone: `first_height` of the list tells.
        """
        return await self._link.run(requests.transactions(self._link.context, member, before, limit))

    async def prove(self, tx_id: TxId) -> VerifiedReceipt:
        """Return the receipt of a committed transaction, verified against the genesis."""
        return await self._link.run(requests.prove(self._link.context, tx_id))

    async def export_receipt(self, tx_id: TxId) -> ReceiptFile:
        """Return all that proves what became of a transaction to whoever has the genesis and nothing else.

        Raises as `prove`.
        """
        return await self._link.run(exporting.receipt_file(self._link.context, tx_id))

    async def export_blocks(self, first: int, last: int, write: Callable[[bytes], object]) -> None:
        """Hand to `write` the parts of a file that proves blocks, and what they did, to all with the genesis.

        The node must hold them all, and the block above the last one. `verify_block_file` checks the file.
        """
        await self._link.run(exporting.block_file(self._link.context, first, last, write))

    async def query_at(
        self, height: int, contract: str, view: str, arguments: Mapping[str, Value]
    ) -> QueryResult:
        """Run a view on the state at a height, which the node must hold."""
        return await self._link.run(requests.query(self._link.context, contract, view, arguments, height))


class StateCalls:
    """What contracts keep in the state: `client.state`.

    Each call reads the state after the block at `height`, 0 for the newest that is certified, and checks the
    proof with the validators that this client trusts, following them from epoch to epoch. With
    `verified=False` it takes the node's word.
    """

    def __init__(self, link: AsyncLink) -> None:
        self._link = link

    async def value(
        self,
        contract: str,
        variable: str,
        key: Value | None = None,
        *,
        height: int = 0,
        verified: bool = True,
    ) -> StateValue:
        """Return what a contract keeps in a variable, or under a key of a `Map`.

        Raises `TransactionRejected` for a contract, variable or key that cannot be, `UsageError` for a height
        that the node no longer holds, and `PeerFault` for an answer that proves nothing.
        """
        return await self._link.run(
            statereads.value(self._link.context, contract, variable, key, height, verified=verified)
        )

    async def listing(
        self, contract: str, variable: str, group: Value, *, height: int = 0, verified: bool = True
    ) -> StateListing:
        """Return all members of a group of an `Index`. Raises as `value`."""
        return await self._link.run(
            statereads.listing(self._link.context, contract, variable, group, height, verified=verified)
        )

    async def balance(
        self, account: str, instrument: str, *, height: int = 0, verified: bool = True
    ) -> StateValue:
        """Return what an account has of an instrument (`read_position`). Raises as `value`."""
        return await self._link.run(
            statereads.balance(self._link.context, account, instrument, height, verified=verified)
        )

    async def holdings(self, account: str, *, height: int = 0, verified: bool = True) -> Holdings:
        """Return all that an account has: complete, no instrument is left out. Raises as `value`."""
        return await self._link.run(
            statereads.holdings(self._link.context, account, height, verified=verified)
        )

    async def layout(self, contract: str) -> StateLayout:
        """Return the variables of a contract, proved."""
        return await self._link.run(statereads.layout_of(self._link.context, contract))

    async def export_value(
        self, contract: str, variable: str, key: Value | None = None, *, height: int = 0
    ) -> StateFile:
        """Return all that proves a value, or its absence, to whoever has the genesis and nothing else.

        Raises as `value`.
        """
        return await self._link.run(exporting.value_file(self._link.context, contract, variable, key, height))

    async def export_listing(
        self, contract: str, variable: str, group: Value, *, height: int = 0
    ) -> StateFile:
        """Return all that proves who is in a group to somebody who has the genesis. Raises as `value`."""
        return await self._link.run(
            exporting.listing_file(self._link.context, contract, variable, group, height)
        )


class NetworkCalls:
    """The network as the node sees it: `client.network`."""

    def __init__(self, link: AsyncLink) -> None:
        self._link = link

    async def status(self) -> NodeStatus:
        """Return the node's status."""
        return await self._link.run(requests.status(self._link.context))

    async def members(self) -> tuple[Registration, ...]:
        """Return the members."""
        return await self._link.run(requests.members(self._link.context))

    async def validators(self) -> ValidatorsView:
        """Return the validators of the current epoch."""
        return await self._link.run(requests.validators(self._link.context))

    async def pin(self) -> EpochPin:
        """Return the current epoch and the hash of its validators, proved from those that are trusted.

        A client or a verifier that begins there no longer depends on keys that were replaced before.
        """
        return await self._link.run(requests.pin(self._link.context))

    async def evidence(self) -> tuple[EvidenceView, ...]:
        """Return what is known against validators, in the chain or waiting for a block.

        Each piece tells whether it was verified, with the validators of its epoch, followed from the trusted.
        """
        return await self._link.run(requests.evidence(self._link.context))

    async def parameters(self) -> Parameters:
        """Return the limits that the network enforces."""
        return await self._link.run(requests.parameters(self._link.context))

    async def contracts(self) -> tuple[ContractView, ...]:
        """Return the installed contracts with their interfaces."""
        return await self._link.run(requests.contracts(self._link.context))

    async def contract_source(self, name: str, version: int = 0) -> ContractSource:
        """Return a version of a contract with its source, the one in force for 0."""
        return await self._link.run(requests.contract_source(self._link.context, name, version))


class AdminCalls:
    """For the operator of a node: `client.admin`, on a client with an operator's certificate."""

    def __init__(self, link: AsyncLink) -> None:
        self._link = link

    async def why_stalled(self) -> tuple[str, ...]:
        """Return why nothing moves, each with its remedy in deploy/README.md; empty while all is well."""
        return await self._link.run(requests.why_stalled(self._link.context))

    async def set_log_level(self, level: str) -> str:
        """Change how much the node logs: debug, info, warning or error. Return the level before.

        Raises `UsageError` for any other level.
        """
        return await self._link.run(requests.set_log_level(self._link.context, level))

    async def rotate_certificate(self) -> RotatedCertificate:
        """Have the node take over the certificate and key in its files, without a restart.

        Raises `UsageError` if something is wrong with them; the node then goes on with those before.
        """
        return await self._link.run(requests.rotate_certificate(self._link.context))

    async def drain(self) -> int:
        """Have the node lead no more and admit nothing more; return how many transactions still wait."""
        return await self._link.run(requests.drain(self._link.context))

    def stream_backup(self) -> AsyncIterator[BackupOrigin | BackupData]:
        """Yield the node's ledger as it is now: what it is of, then its files. It is whole at the end.

        Raises `UsageError` on a client of several nodes, and `Unavailable` when the stream breaks.
        """
        return read_backup(self._link)
