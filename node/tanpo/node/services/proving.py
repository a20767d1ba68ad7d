"""The methods of `tanpo.api.v1.Ledger` that answer with proofs; questions are checked here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tanpo.api.v1 import ledger_pb2, ledger_pb2_grpc
from tanpo.ledger.errors import Reason, TransactionRejected
from tanpo.ledger.statekey import KEY_BYTES_MAX
from tanpo.ledger.stateproof import PROOF_KEYS_MAX, PathRange
from tanpo.ledger.validators import Validator
from tanpo.node.proofs import LineageRead, StateProofRead, StateQuestion
from tanpo.node.services.convert import check_tx_id
from tanpo.node.services.guard import Context
from tanpo.node.services.ports import NodePort
from typing_extensions import override

_PATH_BYTES: Final = 32


class ProofMethods(ledger_pb2_grpc.LedgerServicer):
    """Those methods of `Ledger` that answer with proofs: to gRPC a service is one class, however long."""

    def __init__(self, core: NodePort) -> None:
        self._core = core

    @override
    async def GetProof(
        self, request: ledger_pb2.GetProofRequest, context: Context
    ) -> ledger_pb2.GetProofResponse:
        read = self._core.reads.receipt_proof(check_tx_id(request.tx_id))
        return ledger_pb2.GetProofResponse(
            receipt=read.receipt,
            height=read.height,
            index=read.index,
            leaf_count=read.leaf_count,
            siblings=read.siblings,
            header=read.header,
            descendants=read.descendants,
            commit_proof=read.commit_proof,
        )

    @override
    async def GetStateProof(
        self, request: ledger_pb2.GetStateProofRequest, context: Context
    ) -> ledger_pb2.GetStateProofResponse:
        return state_proof_to_message(await self._core.proofs.state(read_question(request)))

    @override
    async def GetLineage(
        self, request: ledger_pb2.GetLineageRequest, context: Context
    ) -> ledger_pb2.GetLineageResponse:
        return lineage_to_message(self._core.proofs.lineage(request.from_epoch))


def read_question(request: ledger_pb2.GetStateProofRequest) -> StateQuestion:
    """Return what is to be proved. Raises `TransactionRejected` if it is nothing, or too much."""
    asked = len(request.keys) + len(request.hashed_keys) + len(request.ranges) + bool(request.group)
    if not 1 <= asked <= PROOF_KEYS_MAX:
        raise _malformed("nothing is to be proved, or too much at once", asked, f"1..{PROOF_KEYS_MAX} keys")
    for key in (*request.keys, *request.hashed_keys, request.group):
        if len(key) > KEY_BYTES_MAX:
            raise _malformed("a key is too long", f"{len(key)} bytes", f"{KEY_BYTES_MAX} bytes")
    return StateQuestion(
        height=request.height,
        keys=tuple(request.keys),
        hashed_keys=tuple(request.hashed_keys),
        group=request.group,
        ranges=tuple(_read_range(one) for one in request.ranges),
    )


def state_proof_to_message(read: StateProofRead) -> ledger_pb2.GetStateProofResponse:
    """Return a proof of the state as protobuf."""
    return ledger_pb2.GetStateProofResponse(
        height=read.height,
        partial_tree=read.partial_tree,
        entries=[ledger_pb2.StateEntry(key=key, value=value) for key, value in read.entries],
        header=read.header,
        descendants=read.descendants,
        commit_proof=read.commit_proof,
        group_keys=read.group_keys,
    )


def lineage_to_message(read: LineageRead) -> ledger_pb2.GetLineageResponse:
    """Return how validators follow each other as protobuf."""
    return ledger_pb2.GetLineageResponse(
        validators=_validators_to_messages(read.validators),
        steps=[
            ledger_pb2.EpochStep(
                header=step.header,
                commit_proof=step.commit_proof,
                validators=_validators_to_messages(step.validators),
            )
            for step in read.steps
        ],
    )


def _validators_to_messages(validators: Iterable[Validator]) -> list[ledger_pb2.EpochValidator]:
    return [
        ledger_pb2.EpochValidator(member=one.member, node=one.node, public_key=one.public_key)
        for one in validators
    ]


def _read_range(asked: ledger_pb2.PathRange) -> PathRange:
    if not len(asked.first) == len(asked.last) == _PATH_BYTES or asked.first > asked.last:
        raise _malformed(
            "a range is not from one path to a later one",
            f"{asked.first[:_PATH_BYTES].hex()}..{asked.last[:_PATH_BYTES].hex()}",
            f"{_PATH_BYTES} bytes each, in ascending order",
        )
    return PathRange(start=int.from_bytes(asked.first, "big"), stop=int.from_bytes(asked.last, "big") + 1)


def _malformed(what: str, value: object, limit: object) -> TransactionRejected:
    return TransactionRejected(
        Reason.MALFORMED, what, value=value, limit=limit, remedy="correct the field and send again"
    )
