"""The bodies of uncommitted blocks: decoded once, checked before a vote, selected for a proposal."""

from __future__ import annotations

from collections.abc import Sequence, Set

from tanpo.consensus import Payload
from tanpo.ledger.block import Block, compute_tx_root
from tanpo.ledger.errors import InvariantViolation, LedgerError
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.types import BlockHash, Height, NetworkId
from tanpo.node.body import DecodedBlock, decode_body, verify_body
from tanpo.node.evidence import Claim, EvidencePool, make_claim
from tanpo.node.execution import Execution
from tanpo.node.keyring import KeyRing
from tanpo.node.mempool import Mempool
from tanpo.node.verifying import Verifier


class Bodies:
    """Knows which requests the uncommitted chain holds. The replica's `PayloadSource`."""

    def __init__(
        self,
        *,
        network_id: NetworkId,
        parameters: Parameters,
        execution: Execution,
        mempool: Mempool,
        keyring: KeyRing,
        verifier: Verifier,
        evidence: EvidencePool,
    ) -> None:
        self._network_id = network_id
        self._parameters = parameters
        self._execution = execution
        self._mempool = mempool
        self._keyring = keyring
        self._verifier = verifier
        self._evidence = evidence
        self._decoded: dict[BlockHash, DecodedBlock] = {}

    async def check(self, block: Block, ancestors: Sequence[Block]) -> str | None:
        """Return None when a proposed body may be voted for, else what is wrong with it."""
        try:
            decoded = self._decode(block)
            taken = self._collect_digests(ancestors)
            verify_body(
                decoded,
                self._parameters,
                lambda digest: digest in taken or self._execution.is_taken(digest),
            )
            self._evidence.check(block.header.epoch, decoded.evidence, self._collect_claims(ancestors))
            for envelope in decoded.unchecked:
                self._keyring.check_envelope(envelope)
        except LedgerError as error:
            return str(error)
        for verdict in await self._verifier.verify(decoded.unchecked):
            if verdict is not None:
                return str(verdict)
        return None

    def get(self, block: Block) -> DecodedBlock:
        """Return the decoded body of a block that is certified, or was checked or proposed here.

        Raises:
            InvariantViolation: a quorum certified a body that this node cannot decode.
        """
        try:
            return self._decode(block)
        except LedgerError as error:
            raise InvariantViolation(
                f"certified block {block.header.height} has a body this node refuses: {error}"
            ) from None

    def forget(self, block_hashes: Set[BlockHash]) -> None:
        """Drop blocks that are dead."""
        for block_hash in block_hashes:
            self._decoded.pop(block_hash, None)

    def forget_up_to(self, height: Height) -> None:
        """Drop every block up to a committed height: it is committed, or it never will be.

        Not only those the replica names: a proposal that nobody could vote for it never held.
        """
        self.forget({h for h, known in self._decoded.items() if known.block.header.height <= height})

    def select(self, ancestors: Sequence[Block], time_ms: int, limits: Parameters) -> Payload:
        """Return pending envelopes and evidence for a block at `time_ms`, none in an ancestor or executed."""
        taken = self._collect_digests(ancestors)
        chosen = self._mempool.select(
            limits, time_ms, lambda digest: digest in taken or self._execution.is_taken(digest)
        )
        tx_ids = [tx.tx_id for envelope in chosen for tx in envelope.transactions]
        return Payload(
            envelopes=tuple(envelope.encoded for envelope in chosen),
            tx_root=compute_tx_root(tx_ids),
            tx_count=len(tx_ids),
            evidence=self._evidence.select(self._collect_claims(ancestors)),
        )

    def _collect_digests(self, ancestors: Sequence[Block]) -> set[bytes]:
        """Return the requests of those ancestors that `execution.is_taken` does not know of yet."""
        return {digest for block in self._find_above(ancestors) for digest in block.digests}

    def _collect_claims(self, ancestors: Sequence[Block]) -> set[Claim]:
        """Return what the evidence in those ancestors says, of which the state does not know yet."""
        return {make_claim(one) for block in self._find_above(ancestors) for one in block.evidence}

    def _find_above(self, ancestors: Sequence[Block]) -> list[DecodedBlock]:
        executed_height = self._execution.store.executed_height
        # The replica hears of a commit a little later; what it still names was forgotten here with it.
        return [self.get(block) for block in ancestors if block.header.height > executed_height]

    def _decode(self, block: Block) -> DecodedBlock:
        known = self._decoded.get(block.block_hash)
        if known is None:
            known = decode_body(block, self._network_id, self._mempool.find)
            self._decoded[block.block_hash] = known
        return known
