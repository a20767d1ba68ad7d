"""One block and one result for each height, each with a proof that holds offline, at a time that can be."""

from __future__ import annotations

from tanpo.consensus import Roots
from tanpo.ledger.block import Block
from tanpo.ledger.certificate import CommitProof, SignatureChecker, verify_commit_proof
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.types import BlockHash, NetworkId
from tanpo.simulator.violation import Violation


class Agreement:
    """The chain that honest nodes have committed, all together."""

    def __init__(self, *, network_id: NetworkId, genesis_ms: int, precision_ms: int) -> None:
        self._network_id = network_id
        self._genesis_ms = genesis_ms
        self._precision_ms = precision_ms
        self._chain: dict[int, tuple[BlockHash, Roots, int]] = {}
        self.latest_wall_ms = genesis_ms
        """The latest time that any honest clock has shown."""

    @property
    def height(self) -> int:
        """How many heights are committed by anyone."""
        return len(self._chain)

    def is_committed(self, block_hash: BlockHash, height: int) -> bool:
        """Whether this block is known to be the one of its height."""
        known = self._chain.get(height)
        return known is not None and known[0] == block_hash

    def check_commit(
        self,
        name: str,
        block: Block,
        proof: CommitProof,
        roots: Roots,
        *,
        tip_height: int,
        keys: SignatureChecker,
    ) -> bool:
        """Check the commit of one honest process on top of its `tip_height`; return whether it is the first.

        Raises:
            Violation: it contradicts another commit, or cannot be proven to somebody who was not there.
        """
        header = block.header
        if header.height != tip_height + 1:
            raise Violation("order", f"commits height {header.height} after {tip_height}", name)
        self._check_proof(name, block, proof, keys)
        known = self._chain.get(header.height)
        if known is not None:
            if known[0] != block.block_hash:
                raise Violation("agreement", f"two blocks at height {header.height}", name)
            if known[1] != roots:
                raise Violation("state", f"two results of height {header.height}", name)
            return False
        self._check_time(name, block)
        below = self._chain.get(header.height - 1)
        if below is not None and (header.parent_hash != below[0] or header.state_root != below[1].state_root):
            raise Violation("agreement", f"height {header.height} does not extend the one below", name)
        self._chain[header.height] = (block.block_hash, roots, header.time_ms)
        return True

    def _check_proof(self, name: str, block: Block, proof: CommitProof, keys: SignatureChecker) -> None:
        if proof.height < block.header.height:
            raise Violation(
                "proof", f"height {block.header.height} comes with a proof for {proof.height}", name
            )
        if proof.height == block.header.height and proof.block_hash != block.block_hash:
            raise Violation("proof", f"height {block.header.height} comes with another block's proof", name)
        try:
            verify_commit_proof(proof, self._network_id, keys)
        except PeerFault as fault:
            raise Violation("proof", f"height {block.header.height}: {fault.message}", name) from None

    def _check_time(self, name: str, block: Block) -> None:
        header = block.header
        below = self._chain.get(header.height - 1)
        earliest = self._genesis_ms if below is None else below[2]
        if header.time_ms <= earliest:
            raise Violation("time", f"height {header.height} is not later than its parent", name)
        if header.time_ms > self.latest_wall_ms + self._precision_ms:
            raise Violation("time", f"height {header.height} is ahead of every honest clock", name)
