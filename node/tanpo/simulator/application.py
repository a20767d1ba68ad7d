"""What blocks do to the state: either a chain of hashes, which costs nothing, or real contracts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Final, Protocol

from tanpo.consensus import Payload, Roots
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags, compute_tx_root
from tanpo.ledger.types import MerkleRoot, StateRoot, TxId
from tanpo.simulator.reigns import find_reign

BAD_PREFIX: Final = b"bad"
"""An envelope that starts so is not well-formed: no honest validator votes for its block."""

TX_PREFIX: Final = b"tx "
"""An envelope that starts so is an ordinary transaction."""

NOTHING: Final[Mapping[bytes, bytes]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The state after a block. Immutable: executing the next block makes another.

    `reign` is the number of the validator set in force, `pending` of the one that is wanted next.
    """

    roots: Roots
    reign: int = 0
    pending: int | None = None
    pairs: Mapping[bytes, bytes] = field(default_factory=lambda: NOTHING)


class Application(Protocol):
    """Executes blocks, alike on every node."""

    @property
    def genesis(self) -> State:
        """The state before the first block."""
        ...

    def make_envelope(self, number: int) -> bytes:
        """Return the transaction of a number."""
        ...

    def execute(self, block: Block, parent: State) -> State:
        """Return the state after a block."""
        ...

    def find_fault(self, state: State) -> str | None:
        """Return what must never be true of a state and is, for the checkers."""
        ...


class HashApplication:
    """A state that is the hash of all that was executed: it differs as soon as anything does."""

    genesis = State(roots=Roots(state_root=StateRoot(bytes(32)), receipts_root=EMPTY_ROOT))

    def __init__(self, valset_hashes: Sequence[bytes] = ()) -> None:
        self._valset_hashes = tuple(valset_hashes)

    def make_envelope(self, number: int) -> bytes:
        """Return the transaction of a number."""
        return TX_PREFIX + b"%d" % number

    def execute(self, block: Block, parent: State) -> State:
        """Return the state after a block."""
        reign, pending = advance_reign(block, parent, len(self._valset_hashes))
        content = b"".join(block.envelopes) + b"%d %d" % (reign, -1 if pending is None else pending)
        digest = sha256(parent.roots.state_root + content).digest()
        receipts = MerkleRoot(sha256(b"receipts" + digest).digest()) if block.envelopes else EMPTY_ROOT
        roots = Roots(
            state_root=StateRoot(digest),
            receipts_root=receipts,
            pending_valset=None if pending is None else self._valset_hashes[pending],
        )
        return State(roots=roots, reign=reign, pending=pending)

    def find_fault(self, _state: State) -> str | None:
        """Return None: a hash can be neither right nor wrong."""
        return None


def advance_reign(block: Block, parent: State, reign_count: int) -> tuple[int, int | None]:
    """Return which validator set is in force after a block, and which is wanted next.

    The last block of an epoch puts the wanted set in force before anything else (E1).
    """
    reign, pending = parent.reign, parent.pending
    if block.header.flags & BlockFlags.EPOCH_END and pending is not None:
        reign, pending = pending, None
    for envelope in block.envelopes:
        wanted = find_reign(envelope)
        if wanted == reign + 1 and pending is None and wanted < reign_count:
            pending = wanted
    return reign, pending


def build_payload(envelopes: Sequence[bytes], evidence: Sequence[bytes] = ()) -> Payload:
    """Return a payload of these envelopes, each of one transaction, and this evidence."""
    tx_root = compute_tx_root([TxId(envelope) for envelope in envelopes])
    return Payload(
        envelopes=tuple(envelopes), tx_root=tx_root, tx_count=len(envelopes), evidence=tuple(evidence)
    )
