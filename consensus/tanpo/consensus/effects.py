"""What a replica asks of its driver. The order of effects is part of the contract.

The driver may run many events first and make all their `Persist` effects durable in one sync; but no
`Send` or `Broadcast` leaves, and no `CommitBlock` is stored, before every `Persist` that precedes it is
durable (D1). The other effects need not wait. A later `Persist` replaces the record of an earlier one and
adds to its blocks; of one block, the latest word counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from tanpo.consensus.messages import Message
from tanpo.ledger.block import Block
from tanpo.ledger.certificate import CommitProof
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.evidence import Evidence
from tanpo.ledger.types import BlockHash, Height, ValidatorIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Persist:
    """Make the record (`record.py`) and these blocks durable, and forget the dropped ones."""

    record: bytes
    blocks: tuple[Block, ...]
    dropped: tuple[BlockHash, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send to one validator. It may be lost: whatever matters is sent again."""

    to: ValidatorIndex
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """Send to every other validator."""

    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckBlock:
    """Check a proposed body (V2): canonical form, `tx_root` and `tx_count`, limits, signatures, expiry at the
    header's time, evidence, and that no transaction or evidence is committed or in `ancestors`; answer with
    `BlockChecked`.

    `ancestors` are the blocks below it, oldest first, that are not reported stored yet.
    """

    block: Block
    parent_time_ms: int
    ancestors: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteBlock:
    """Execute in an overlay on its parent, which is the committed tip or was to be executed before;
    answer with `BlockExecuted`. A certified block comes without a `CheckBlock`: a quorum checked it."""

    block: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitBlock:
    """Final: store it with its state and `proof`, which covers it or a descendant; then `CommitStored`.
    Comes once for each height, in height order, and after `BlockExecuted`.

    Once a block with the mark `EPOCH_END` is stored this replica has done its work: the driver goes on with
    a new one for the next epoch, which it starts from that block (E3)."""

    block: Block
    proof: CommitProof


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeCommitted:
    """Answer with `build_committed` over the stored blocks from this height on; nothing if there are none."""

    to: ValidatorIndex
    from_height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscardBlocks:
    """These blocks can never commit: drop their overlays and pending checks and executions."""

    block_hashes: tuple[BlockHash, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportEvidence:
    """Signed messages of one validator that no honest validator makes: keep them, and give them to leaders
    with `Payload`. Comes once for each validator and kind while the replica runs."""

    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFault:
    """A message of this validator broke the protocol and was dropped: count it, log it at a bounded
    rate."""

    sender: ValidatorIndex
    fault: PeerFault


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Stop the process, loudly: our state or a commit contradicts what a quorum certified. The replica
    ignores every later event."""

    reason: str


Effect = (
    Persist
    | Send
    | Broadcast
    | CheckBlock
    | ExecuteBlock
    | CommitBlock
    | ServeCommitted
    | DiscardBlocks
    | ReportEvidence
    | ReportFault
    | Halt
)
