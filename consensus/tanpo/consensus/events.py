"""What can happen to a replica. Time enters only here: `now_ms` is monotonic, `wall_ms` is Unix time.

The driver sends `Ticked` every 10 to 50 ms while the replica is at work, and by `Replica.rest_until_ms`
while it is not; no other event needs a timer.
"""

from __future__ import annotations

from dataclasses import dataclass

from tanpo.consensus.messages import Message
from tanpo.ledger.types import BlockHash, Epoch, Height, MerkleRoot, StateRoot, ValidatorIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A well-formed message from an authenticated node, and the epoch that its sender is in.

    A `sender` not below the number of validators is a guest: an observer, or a validator of another epoch.
    The driver numbers its guests as it likes; with them the replica speaks of catching up only.
    """

    sender: ValidatorIndex
    epoch: Epoch
    message: Message
    now_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time has passed. `has_pending`: valid transactions wait; `has_overdue`: one of them for longer than
    `Timing.request_timeout_ms`."""

    now_ms: int
    wall_ms: int
    has_pending: bool
    has_overdue: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionsPending:
    """A transaction arrived: a leader with nothing in flight proposes it at once."""

    now_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockChecked:
    """The verdict on a `CheckBlock`: None, or what is wrong with the body."""

    block_hash: BlockHash
    fault: str | None
    now_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockExecuted:
    """The result of an `ExecuteBlock`; `pending_valset` as in `Roots`."""

    block_hash: BlockHash
    state_root: StateRoot
    receipts_root: MerkleRoot
    now_ms: int
    wall_ms: int
    pending_valset: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitStored:
    """Every `CommitBlock` up to this height is durable. The replica needs to hear of it: until then it
    keeps the blocks, and it votes at most `LAG_MAX` heights above."""

    height: Height
    now_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDownAsked:
    """The operator wants this node to lead no more: for as long as it runs it gives its terms away (T6)."""

    now_ms: int
    wall_ms: int


Event = Received | Ticked | TransactionsPending | BlockChecked | BlockExecuted | CommitStored | StepDownAsked
