"""A node that answers from memory over real gRPC and mTLS: its proofs hold, its faults are made to order."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from tanpo.api.v1 import ledger_pb2, ledger_pb2_grpc, network_pb2, network_pb2_grpc
from tanpo.client import Client, Identity, RetryPolicy
from tanpo.client.config import ClientConfig
from tanpo.ledger.block import (
    EMPTY_ROOT,
    Block,
    BlockFlags,
    Header,
    compute_body_hash,
    compute_tx_root,
    encode_block,
    encode_header,
)
from tanpo.ledger.certificate import (
    CommitProof,
    QuorumCertificate,
    SignedKind,
    compute_signed_digest,
    encode_commit_proof,
    vote_bytes,
)
from tanpo.ledger.codec import Reader, Writer
from tanpo.ledger.errors import LedgerError, Reason, TransactionRejected, Unavailable
from tanpo.ledger.genesis import Genesis, Member, Parameters, genesis_to_json
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.membership import list_genesis_members
from tanpo.ledger.merkle import compute_merkle_root, prove_leaf
from tanpo.ledger.receipt import Event, Receipt, decode_receipt, encode_receipt
from tanpo.ledger.transaction import (
    Call,
    Envelope,
    Transaction,
    build_transaction,
    decode_envelope,
    sign_envelope,
)
from tanpo.ledger.types import BlockHash, Epoch, Height, MemberId, StateRoot, Term, ValidatorIndex
from tanpo.ledger.validators import Validator, compute_valset_hash
from tanpo.ledger.values import encode_value, read_fields, write_fields
from tanpo.node.identity import Role
from tanpo.node.pki import create_authority, issue_certificate
from tanpo.node.services.convert import encode_member
from tanpo.node.status import build_status, find_code
from typing_extensions import override

BLOCK_TIME_MS = 1_700_000_000_000
FAR_MS = 4_000_000_000_000

Handler = Callable[[Any, Any], Any]
Fault = Callable[[Any, Any, Handler], Any]
"""Takes a request, its context and the honest handler; returns an answer or aborts."""


class Chain:
    """One envelope a block; the entry point `fail` fails, others return their name and emit one event."""

    def __init__(self) -> None:
        self.member_key = PrivateKey.generate()
        self.validator_keys = [PrivateKey.generate() for _ in range(4)]
        self.authority = create_authority(MemberId("alpha"), "testnet")
        members = ("alpha", "beta", "gamma", "delta")
        self.genesis = Genesis(
            network="testnet",
            time_ms=BLOCK_TIME_MS,
            parameters=Parameters(),
            members=tuple(
                Member(
                    member=MemberId(name),
                    name=name,
                    lei="",
                    roles=("dealer",),
                    ca_certificate=self.authority.certificate_pem,
                    keys=(self.member_key.public_key.encoded,) if name == "alpha" else (),
                )
                for name in members
            ),
            validators=tuple(
                Validator(member=MemberId(name), node="n1", public_key=key.public_key.encoded)
                for name, key in zip(members, self.validator_keys, strict=True)
            ),
            contracts=(),
        )
        self.network_id = self.genesis.network_id
        self.blocks: list[Block] = []
        self.receipts: list[list[Receipt]] = []
        self.changed = threading.Condition()

    @property
    def height(self) -> int:
        return len(self.blocks)

    def envelope(self, entry: str = "write", *, request_id: str = "r1", count: int = 1) -> Envelope:
        """Return a signed envelope of so many calls."""
        transactions = [
            build_transaction(
                network_id=self.network_id,
                member=MemberId("alpha"),
                request_id=request_id if count == 1 else f"{request_id}.{number}",
                valid_until_ms=FAR_MS,
                gas_limit=1000,
                signers=[self.member_key.key_id],
                call=Call.create("notes", entry, {"text": "x"}),
            )
            for number in range(count)
        ]
        return sign_envelope(self.network_id, transactions, [self.member_key])

    def submit(self, encoded: bytes) -> list[ledger_pb2.Outcome]:
        """Commit an envelope unless it was before, and return its outcomes."""
        envelope = decode_envelope(self.network_id, encoded)
        with self.changed:
            if self.find(envelope.transactions[0].tx_id) is None:
                self._commit(envelope)
            return [self._committed(tx) for tx in envelope.transactions]

    def seal(self) -> None:
        """Add the empty block that certifies the last results."""
        with self.changed:
            self._commit(None)

    def find(self, tx_id: bytes) -> Receipt | None:
        return next((r for receipts in reversed(self.receipts) for r in receipts if r.tx_id == tx_id), None)

    def outcome(self, member: str, request_id: str) -> ledger_pb2.Outcome:
        """Return what became of a request."""
        for block in self.blocks:
            for encoded in block.envelopes:
                for tx in decode_envelope(self.network_id, encoded).transactions:
                    if (tx.member, tx.request_id) == (member, request_id):
                        return self._committed(tx)
        return ledger_pb2.Outcome(
            state=ledger_pb2.Outcome.UNKNOWN,
            member=member,
            request_id=request_id,
            as_of_height=self.height,
            as_of_time_ms=BLOCK_TIME_MS + self.height,
        )

    def prove(self, tx_id: bytes) -> ledger_pb2.GetProofResponse:
        """Return the proof of a receipt."""
        receipt = self.find(tx_id)
        if receipt is None:
            raise TransactionRejected(Reason.NOT_FOUND, "no such transaction", value=tx_id.hex())
        if self.height <= receipt.height:
            raise Unavailable(Reason.NOT_FOUND, "not certified yet", value=receipt.height)
        leaves = [encode_receipt(found) for found in self.receipts[receipt.height - 1]]
        proof = prove_leaf(leaves, receipt.index)
        headers = [encode_header(block.header) for block in self.blocks[receipt.height :]]
        return ledger_pb2.GetProofResponse(
            receipt=leaves[receipt.index],
            height=receipt.height,
            index=receipt.index,
            leaf_count=proof.leaf_count,
            siblings=proof.siblings,
            header=headers[0],
            descendants=headers[1:],
            commit_proof=self.commit_proof(self.blocks[-1]),
        )

    def commit_proof(self, block: Block) -> bytes:
        """Return three of the four validators' votes for a block."""
        header = block.header
        message = vote_bytes(
            SignedKind.VOTE_COMMIT,
            self.network_id,
            header.epoch,
            header.term,
            header.height,
            block.block_hash,
        )
        return encode_commit_proof(
            CommitProof(
                certificate=QuorumCertificate(
                    kind=SignedKind.VOTE_COMMIT,
                    epoch=header.epoch,
                    term=header.term,
                    height=header.height,
                    block_hash=block.block_hash,
                    signatures=tuple(
                        (ValidatorIndex(index), key.sign(compute_signed_digest(message)))
                        for index, key in enumerate(self.validator_keys[:3])
                    ),
                )
            )
        )

    def event_batch(self, height: int, index: int) -> ledger_pb2.EventBatch:
        """Return the events of a block from an index on."""
        events = [
            ledger_pb2.Event(
                index=position,
                tx_id=receipt.tx_id,
                contract=event.contract,
                name=event.name,
                fields=encode_fields(event),
            )
            for position, (receipt, event) in enumerate(
                (receipt, event) for receipt in self.receipts[height - 1] for event in receipt.events
            )
            if position >= index
        ]
        return ledger_pb2.EventBatch(
            height=height,
            block_hash=self.blocks[height - 1].block_hash,
            time_ms=BLOCK_TIME_MS + height,
            events=events,
            next_height=height + 1,
        )

    def _committed(self, tx: Transaction) -> ledger_pb2.Outcome:
        receipt = self.find(tx.tx_id)
        assert receipt is not None
        return ledger_pb2.Outcome(
            state=ledger_pb2.Outcome.COMMITTED,
            tx_id=tx.tx_id,
            member=tx.member,
            request_id=tx.request_id,
            height=receipt.height,
            index=receipt.index,
            receipt=encode_receipt(receipt),
            as_of_height=self.height,
        )

    def _commit(self, envelope: Envelope | None) -> None:
        height = Height(self.height + 1)
        envelopes = [] if envelope is None else [envelope.encoded]
        transactions = () if envelope is None else envelope.transactions
        leaves = [encode_receipt(receipt) for receipt in self.receipts[-1]] if self.receipts else []
        valset_hash = compute_valset_hash(self.genesis.validators)
        header = Header(
            network_id=self.network_id,
            epoch=Epoch(0),
            term=Term(1),
            height=height,
            parent_hash=self.blocks[-1].block_hash if self.blocks else BlockHash(self.network_id),
            parent_term=Term(1 if self.blocks else 0),
            time_ms=BLOCK_TIME_MS + height,
            proposer=ValidatorIndex(0),
            tx_root=compute_tx_root([tx.tx_id for tx in transactions]),
            tx_count=len(transactions),
            body_hash=compute_body_hash(envelopes),
            state_root=StateRoot(bytes(32)),
            receipts_root=compute_merkle_root(leaves),
            valset_hash=valset_hash,
            next_valset_hash=valset_hash,
            flags=BlockFlags.NONE,
            evidence_root=EMPTY_ROOT,
        )
        self.blocks.append(Block.create(header, envelopes))
        self.receipts.append([execute(tx, height, index) for index, tx in enumerate(transactions)])
        self.changed.notify_all()


def execute(tx: Transaction, height: Height, index: int) -> Receipt:
    succeeded = tx.call.entry != "fail"
    written = Event(contract=tx.call.contract, name="Written", fields=(("text", "x"),))
    return Receipt(
        tx_id=tx.tx_id,
        height=height,
        index=index,
        succeeded=succeeded,
        code="" if succeeded else "INSUFFICIENT",
        details=() if succeeded else (("leg", 1), ("needed", 500)),
        contract="" if succeeded else "instruments",
        line=0 if succeeded else 42,
        gas_used=7,
        value=tx.call.entry if succeeded else (),
        events=(written,) if succeeded else (),
    )


def encode_fields(event: Event) -> bytes:
    write_fields(writer := Writer(), event.fields)
    return writer.finish()


class FakeNode(ledger_pb2_grpc.LedgerServicer, network_pb2_grpc.NetworkServicer):
    """Serves a chain. `faults[method]` are used up one a call before the honest handler is."""

    def __init__(self, chain: Chain, *, valid_for: Any = None) -> None:
        self.chain = chain
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.submitted: list[bytes] = []
        self.evidence: list[network_pb2.Evidence] = []
        self.stream_requests: list[ledger_pb2.StreamEventsRequest] = []
        options = {} if valid_for is None else {"valid_for": valid_for}
        self._issued = issue_certificate(chain.authority, Role.NODE, "n1", **options)
        self._is_stopping = threading.Event()
        self.port = 0
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the port of last time if there was one."""
        self._is_stopping.clear()
        self._server = grpc.server(ThreadPoolExecutor(8), options=(("grpc.so_reuseport", 0),))
        ledger_pb2_grpc.add_LedgerServicer_to_server(self, self._server)
        network_pb2_grpc.add_NetworkServicer_to_server(self, self._server)
        credentials = grpc.ssl_server_credentials(
            [(self._issued.private_key, self._issued.certificate)],
            root_certificates=self.chain.authority.certificate_pem,
            require_client_auth=True,
        )
        self.port = self._server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        self._server.start()

    def stop(self) -> None:
        """Break all connections and stop listening."""
        self._is_stopping.set()
        with self.chain.changed:
            self.chain.changed.notify_all()
        self._server.stop(None).wait()

    @override
    def Submit(self, request: Any, context: Any) -> Any:
        self.submitted.append(request.envelope)
        return self._answer(
            "Submit",
            request,
            context,
            lambda req, _: ledger_pb2.SubmitResponse(outcomes=self.chain.submit(req.envelope)),
        )

    @override
    def SubmitBatch(self, request_iterator: Any, context: Any) -> Iterator[Any]:
        position = 0
        fault = self._take_fault("SubmitBatch")
        for request in request_iterator:
            self.submitted += request.envelopes
            if fault is not None:
                yield fault((position, request), context, self._submit_all)
            else:
                yield self._submit_all(request, context)
            position += len(request.envelopes)

    @override
    def GetOutcome(self, request: Any, context: Any) -> Any:
        return self._answer(
            "GetOutcome", request, context, lambda req, _: self.chain.outcome(req.member, req.request_id)
        )

    @override
    def GetBlock(self, request: Any, context: Any) -> Any:
        return self._answer("GetBlock", request, context, self._get_block)

    @override
    def GetTransaction(self, request: Any, context: Any) -> Any:
        return self._answer("GetTransaction", request, context, self._get_transaction)

    @override
    def GetReceipt(self, request: Any, context: Any) -> Any:
        return self._answer("GetReceipt", request, context, self._get_receipt)

    @override
    def ListTransactions(self, request: Any, context: Any) -> Any:
        heights = range((request.before_height or 10) - 1, 0, -1)[: request.limit]
        found = [ledger_pb2.TransactionPosition(height=one, tx_id=bytes([one]) * 32) for one in heights]
        return ledger_pb2.ListTransactionsResponse(transactions=found)

    @override
    def Query(self, request: Any, context: Any) -> Any:
        def answer(req: Any, _: Any) -> Any:
            fields = dict(read_fields(Reader(req.arguments)))
            return ledger_pb2.QueryResponse(
                value=encode_value({"view": req.view, **fields}),
                height=self.chain.height,
                state_root=bytes(32),
            )

        return self._answer("Query", request, context, answer)

    @override
    def GetProof(self, request: Any, context: Any) -> Any:
        return self._answer("GetProof", request, context, lambda req, _: self.chain.prove(req.tx_id))

    @override
    def GetStateProof(self, request: Any, context: Any) -> Any:
        return ledger_pb2.GetStateProofResponse()

    @override
    def GetLineage(self, request: Any, context: Any) -> Any:
        return ledger_pb2.GetLineageResponse()

    @override
    def StreamEvents(self, request: Any, context: Any) -> Iterator[Any]:
        self.stream_requests.append(request)
        height, index = max(request.from_height, 1), request.from_index
        while self._wait_for(height, context):
            fault = self._take_fault("StreamEvents")
            batch = self.chain.event_batch(height, index)
            yield batch if fault is None else fault(batch, context, lambda found, _: found)
            height, index = height + 1, 0

    @override
    def GetStatus(self, request: Any, context: Any) -> Any:
        status = network_pb2.NodeStatus(
            network="testnet",
            network_id=self.chain.network_id,
            member="alpha",
            node="n1",
            height=self.chain.height,
            leader="alpha/n1",
            is_ready=True,
        )
        return self._answer("GetStatus", request, context, lambda *_: status)

    @override
    def GetMembers(self, request: Any, context: Any) -> Any:
        members = list_genesis_members(self.chain.genesis)
        return network_pb2.GetMembersResponse(members=map(encode_member, members))

    @override
    def GetValidators(self, request: Any, context: Any) -> Any:
        return network_pb2.GetValidatorsResponse(
            validators=[
                network_pb2.Validator(index=i, **asdict(v))
                for i, v in enumerate(self.chain.genesis.validators)
            ],
            quorum=3,
            faulty_max=1,
        )

    @override
    def GetEvidence(self, request: Any, context: Any) -> Any:
        return network_pb2.GetEvidenceResponse(evidence=self.evidence)

    @override
    def GetParameters(self, request: Any, context: Any) -> Any:
        return network_pb2.GetParametersResponse(**asdict(self.chain.genesis.parameters))

    @override
    def GetContracts(self, request: Any, context: Any) -> Any:
        contract = network_pb2.Contract(
            name="notes", source_hash=bytes(32), language_version=1, interface_json='{"entries": []}'
        )
        response = network_pb2.GetContractsResponse(contracts=[contract])
        return self._answer("GetContracts", request, context, lambda *_: response)

    @override
    def GetContractVersion(self, request: Any, context: Any) -> Any:
        name, version = "notes" if request.name == "lie" else request.name, request.version or 2
        return network_pb2.ContractVersion(name=name, version=version, height=7, source="x = 1\n")

    def _wait_for(self, height: int, context: Any) -> bool:
        """Wait until a block exists. Return whether it does; not when node or reader went away."""
        while not self._is_stopping.is_set() and context.is_active():
            with self.chain.changed:
                if self.chain.height >= height:
                    return True
                self.chain.changed.wait(timeout=0.1)
        return False

    def _get_block(self, request: Any, context: Any) -> Any:
        height = request.height or self.chain.height
        if not 1 <= height <= self.chain.height:
            raise TransactionRejected(Reason.HEIGHT_UNKNOWN, "no such height", value=height)
        block = self.chain.blocks[height - 1]
        return ledger_pb2.GetBlockResponse(
            height=height,
            block_hash=block.block_hash,
            block=encode_block(block),
            commit_proof=self.chain.commit_proof(block),
            receipts=[encode_receipt(receipt) for receipt in self.chain.receipts[height - 1]],
        )

    def _get_transaction(self, request: Any, context: Any) -> Any:
        receipt = decode_receipt(self._get_receipt(request, context).receipt)
        return ledger_pb2.GetTransactionResponse(
            height=receipt.height,
            index=receipt.index,
            envelope=self.chain.blocks[receipt.height - 1].envelopes[0],
            position=receipt.index,
        )

    def _get_receipt(self, request: Any, context: Any) -> Any:
        receipt = self.chain.find(request.tx_id)
        if receipt is None:
            raise TransactionRejected(Reason.NOT_FOUND, "no such transaction", value=request.tx_id.hex())
        return ledger_pb2.GetReceiptResponse(
            height=receipt.height, index=receipt.index, receipt=encode_receipt(receipt)
        )

    def _submit_all(self, request: Any, context: Any) -> Any:
        return ledger_pb2.SubmitBatchResponse(
            outcomes=[found for encoded in request.envelopes for found in self.chain.submit(encoded)]
        )

    def _take_fault(self, method: str) -> Fault | None:
        return self.faults[method].popleft() if self.faults[method] else None

    def _answer(self, method: str, request: Any, context: Any, honest: Handler) -> Any:
        fault = self._take_fault(method)
        try:
            return honest(request, context) if fault is None else fault(request, context, honest)
        except LedgerError as error:
            return abort(context, build_status(error))


def abort(context: Any, status: status_pb2.Status) -> Any:
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    return context.abort(find_code(status), status.message)


@pytest.fixture(scope="session")
def _authority_chain() -> Chain:
    """Making keys and a CA takes longer than most tests here."""
    return Chain()


@pytest.fixture
def chain(_authority_chain: Chain) -> Chain:
    """An empty chain; keys and genesis are those of every test."""
    _authority_chain.blocks, _authority_chain.receipts = [], []
    return _authority_chain


@pytest.fixture
def node(make_node: Callable[..., FakeNode]) -> FakeNode:
    return make_node()


@pytest.fixture
def other_node(make_node: Callable[..., FakeNode]) -> FakeNode:
    """A second node of the same chain."""
    return make_node()


@pytest.fixture
def make_node(chain: Chain) -> Iterator[Callable[..., FakeNode]]:
    """Makes nodes, with certificates of their own validity."""
    running: list[FakeNode] = []

    def make(**options: Any) -> FakeNode:
        running.append(FakeNode(chain, **options))
        return running[-1]

    yield make
    for found in running:
        found.stop()


@pytest.fixture
def identity(chain: Chain) -> Identity:
    issued = issue_certificate(chain.authority, Role.CLIENT, "desk")
    return Identity(
        certificate=issued.certificate,
        private_key=issued.private_key,
        authorities=chain.authority.certificate_pem,
        source="desk.pem",
    )


@pytest.fixture
def make_config(chain: Chain, node: FakeNode, identity: Identity) -> Callable[..., ClientConfig]:
    """Makes configurations for the node, with quick retries."""

    def make(*addresses: str, **changes: Any) -> ClientConfig:
        options: dict[str, Any] = {
            "identity": identity,
            "genesis": chain.genesis,
            "signers": [chain.member_key],
            "retry": RetryPolicy(delay_first_s=0.01, delay_max_s=0.05, attempt_min_s=0.3),
            **changes,
        }
        return ClientConfig.create(addresses or node.address, **options)

    return make


@pytest.fixture
def client(make_config: Callable[..., ClientConfig]) -> Iterator[Client]:
    with Client(make_config()) as connected:
        yield connected


@pytest.fixture
def genesis_file(chain: Chain, tmp_path: Path) -> Path:
    path = tmp_path / "genesis.json"
    path.write_text(genesis_to_json(chain.genesis))
    return path
