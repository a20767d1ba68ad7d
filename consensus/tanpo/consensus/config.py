"""What a replica is told before its first event: its network, its place in it, its limits and its past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from tanpo.ledger.block import Block
from tanpo.ledger.certificate import (
    CommitProof,
    QuorumCertificate,
    base_certificate,
    genesis_certificate,
)
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.types import (
    BlockHash,
    Epoch,
    Height,
    MerkleRoot,
    NetworkId,
    StateRoot,
    Term,
    ValidatorIndex,
)

DOUBLINGS_MAX: Final = 16
"""Most times a delay is doubled before its own maximum applies; keeps the arithmetic small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Delays of the protocol. Only liveness depends on them, never agreement."""

    base_timeout_ms: int = 1000
    """How long a leader of the first attempt may be silent or without progress."""
    timeout_max_ms: int = 60_000
    request_timeout_ms: int = 2000
    """How long a valid transaction may wait before its leader is suspected (the driver measures it)."""
    linger_ms: int = 5
    """Least time between two blocks that are not full, while blocks follow each other; 0 on an idle chain."""
    precision_ms: int = 500
    """How far validators' clocks may differ."""
    message_delay_ms: int = 2000
    """How old a block's time may be when it arrives; doubles with every term without a commit."""

    @property
    def heartbeat_ms(self) -> int:
        """How often a leader shows itself, and how often lost messages are sent again."""
        return max(1, self.base_timeout_ms // 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseBlock:
    """The block that an epoch starts from: genesis, or the last block of the epoch before."""

    height: Height
    block_hash: BlockHash


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaConfig:
    """A replica's place in one epoch. `validator` is None for an observer, which never signs.

    `base` is None for the first epoch, which starts from genesis. `may_rejoin` is the operator's word that a
    validator which lost its record may sign again after asking a quorum of the others (D8); it may hold for
    one validator of a network at a time.
    """

    network_id: NetworkId
    epoch: Epoch
    validator: ValidatorIndex | None
    validator_count: int
    valset_hash: bytes
    parameters: Parameters
    timing: Timing = field(default_factory=Timing)
    base: BaseBlock | None = None
    may_rejoin: bool = False

    @property
    def base_certificate(self) -> QuorumCertificate:
        """What the first block of the epoch extends."""
        if self.base is None:
            return genesis_certificate(self.network_id)
        return base_certificate(self.epoch, self.base.height, self.base.block_hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """The results of executing a block. `pending_valset` is the hash of the validator set that the state
    wants next; the block above must then end the epoch (E1)."""

    state_root: StateRoot
    receipts_root: MerkleRoot
    pending_valset: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedTip:
    """The last block that is final and whose state the driver holds; genesis before the first.

    `roots` are the results *after* executing it; `proof` is None for genesis only.
    """

    height: Height
    block_hash: BlockHash
    term: Term
    time_ms: int
    roots: Roots
    proof: CommitProof | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStart:
    """What to resume from: the stored tip, the last durable record (None on a first start) and the blocks
    of earlier `Persist` effects that were not dropped.

    `has_forgotten` says that there ought to be a record and is none: the validator has amnesia (D6).
    """

    tip: CommittedTip
    record: bytes | None = None
    blocks: tuple[Block, ...] = ()
    has_forgotten: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What a leader puts into a block."""

    envelopes: tuple[bytes, ...]
    tx_root: MerkleRoot
    tx_count: int
    evidence: tuple[bytes, ...] = ()


class PayloadSource(Protocol):
    """Where a leader finds transactions: the mempool."""

    def select(self, ancestors: Sequence[Block], time_ms: int, limits: Parameters) -> Payload:
        """Return verified envelopes for a block at `time_ms`, none of them in `ancestors` or committed, and
        evidence that neither holds yet.

        `ancestors` are the blocks below it, oldest first, that are not reported stored yet. Selecting
        changes nothing: a transaction leaves the mempool when its block is committed. The replica may
        select and not propose.
        """
        ...


def genesis_start(
    network_id: NetworkId, time_ms: int, state_root: StateRoot, receipts_root: MerkleRoot
) -> ReplicaStart:
    """Return the start of a network: its genesis is the block of height 0."""
    return ReplicaStart(
        tip=CommittedTip(
            height=Height(0),
            block_hash=BlockHash(network_id),
            term=Term(0),
            time_ms=time_ms,
            roots=Roots(state_root=state_root, receipts_root=receipts_root),
        )
    )
