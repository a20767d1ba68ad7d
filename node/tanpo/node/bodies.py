"""The bodies of uncommitted blocks: decoded once, checked before a vote, selected for a proposal.

Whose keys may sign is what the parent's state says, on every node: so a check ends once the parent is
executed. Without that no vote leaves anyway, and signatures are verified meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final, cast

from tanpo.consensus import Payload
from tanpo.ledger.block import Block, compute_tx_root
from tanpo.ledger.errors import (
    InvariantViolation,
    LedgerError,
    PeerFault,
    Reason,
    Unavailable,
    invariant,
)
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.transaction import Envelope
from tanpo.ledger.types import BlockHash, Height, NetworkId
from tanpo.node.body import DecodedBlock, decode_body, verify_body
from tanpo.node.evidence import Claim, EvidencePool, make_claim
from tanpo.node.execution import Execution
from tanpo.node.keyring import KeyRing
from tanpo.node.mempool import Mempool
from tanpo.node.verifying import Verifier

CHECKS_WAITING_MAX: Final = 64
"""Blocks that wait for their parents. While nothing can be executed each term brings one more, of a megabyte
at the most, and none of them can be voted for."""


class Bodies:
    """Knows which requests the uncommitted chain holds. The replica's `PayloadSource`."""

    def __init__(
        self,
        *,
        network_id: NetworkId,
        parameters: Parameters,
        execution: Execution,
        mempool: Mempool,
        verifier: Verifier,
        evidence: EvidencePool,
    ) -> None:
        self._network_id = network_id
        self._parameters = parameters
        self._execution = execution
        self._mempool = mempool
        self._verifier = verifier
        self._evidence = evidence
        self._decoded: dict[BlockHash, DecodedBlock] = {}
        self._waiting_count = 0

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
            await self._check_signatures(decoded)
        except LedgerError as error:
            return str(error)
        return None

    async def _check_signatures(self, decoded: DecodedBlock) -> None:
        """Raise `LedgerError` unless keys that the parent's state registers have signed all envelopes."""
        keyring = self._execution.keyrings.latest
        early = [envelope for envelope in decoded.unchecked if keyring.holds(envelope)]
        await self._verify(early, keyring)
        keyring = await self._wait_keyring(decoded.block)
        for envelope in decoded.envelopes:
            keyring.check_envelope(envelope)
        done = {envelope.signed_hash for envelope in early}
        await self._verify([one for one in decoded.unchecked if one.signed_hash not in done], keyring)

    async def _verify(self, envelopes: Sequence[Envelope], keyring: KeyRing) -> None:
        for verdict in await self._verifier.verify(envelopes, keyring):
            if verdict is not None:
                raise verdict

    async def _wait_keyring(self, block: Block) -> KeyRing:
        """Return the keys that count in a block, once its parent is executed.

        Raises:
            PeerFault: the chain has gone past the block. Unavailable: too many blocks wait.
        """
        header, execution = block.header, self._execution
        while (keyring := execution.keyrings.find(header.parent_hash)) is None:
            if execution.store.executed_height >= header.height - 1:
                raise PeerFault(Reason.PROTOCOL, "its parent is not of the chain", value=header.height)
            if self._waiting_count >= CHECKS_WAITING_MAX:
                raise Unavailable(
                    Reason.DEADLINE,
                    "too many blocks wait for their parents to be executed",
                    value=self._waiting_count,
                    limit=CHECKS_WAITING_MAX,
                )
            self._waiting_count += 1
            try:
                await execution.keyrings.wait_moved()
            finally:
                self._waiting_count -= 1
        return keyring

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
        keyring = self._find_keyring_above(ancestors)
        # What waits is signed by keys of the committed state: only above other keys it is looked at again.
        is_same = keyring is self._execution.keyrings.latest
        chosen = self._mempool.select(
            limits,
            time_ms,
            lambda digest: digest in taken or self._execution.is_taken(digest),
            lambda envelope: is_same or keyring.accepts(envelope),
        )
        tx_ids = [tx.tx_id for envelope in chosen for tx in envelope.transactions]
        return Payload(
            envelopes=tuple(envelope.encoded for envelope in chosen),
            tx_root=compute_tx_root(tx_ids),
            tx_count=len(tx_ids),
            evidence=self._evidence.select(self._collect_claims(ancestors)),
        )

    def _find_keyring_above(self, ancestors: Sequence[Block]) -> KeyRing:
        """Return the keys that count above the last of those ancestors, which is executed."""
        above, keyrings = self._find_above(ancestors), self._execution.keyrings
        found = keyrings.find(above[-1].block.block_hash) if above else keyrings.latest
        invariant(found is not None, "a leader proposes above a block that it has not executed")
        return cast("KeyRing", found)

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
