"""Every block of a scenario: what it is called in the story, and the state after executing it.

Block 3 of term 2 is called `3@2`; a rival of the same rank `3@2b`, the next `3@2c`. The state is a digest of
all transactions so far, and who the validators are: a transaction `validators:alice,bob,...` wants others.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from string import ascii_lowercase
from typing import Final

from tanpo.consensus import Message, Roots, messages
from tanpo.ledger.block import Block, BlockFlags
from tanpo.ledger.evidence import decode_evidence
from tanpo.ledger.types import BlockHash, Epoch, Height, MerkleRoot, NetworkId, StateRoot, Term
from tanpo.ledger.validators import keeps_quorum
from tanpo.testing.scenario.contents import find_certificates
from tanpo.testing.scenario.keys import compute_valset_hash

NETWORK: Final = NetworkId(sha256(b"scenario").digest())
GENESIS_MS: Final = 1_700_000_000_000
GENESIS_NAME: Final = "genesis"
GENESIS_HASH: Final = BlockHash(NETWORK)
CHANGE: Final = "validators:"
"""How a transaction begins that wants other validators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a block leaves behind. `wanted` are the validators that the next block must put in force (E1)."""

    root: StateRoot
    validators: tuple[str, ...]
    wanted: tuple[str, ...] | None = None

    @property
    def roots(self) -> Roots:
        """The results as the replica is told them."""
        return Roots(
            state_root=self.root,
            receipts_root=MerkleRoot(sha256(b"receipts" + self.root).digest()),
            pending_valset=None if self.wanted is None else compute_valset_hash(self.wanted),
        )


class Archive:
    """All blocks by name and by hash, and the validators of each epoch."""

    __slots__ = ("_blocks", "_certified", "_names", "_states", "sets")

    def __init__(self, validators: tuple[str, ...]) -> None:
        self.sets: dict[Epoch, tuple[str, ...]] = {Epoch(0): validators}
        self._blocks: dict[str, Block] = {}
        self._names: dict[BlockHash, str] = {GENESIS_HASH: GENESIS_NAME}
        genesis = State(root=StateRoot(bytes(32)), validators=validators)
        self._states: dict[BlockHash, State] = {GENESIS_HASH: genesis}
        self._certified: dict[tuple[Term, Height], BlockHash] = {(Term(0), Height(0)): GENESIS_HASH}

    @property
    def names(self) -> list[str]:
        """The names of all blocks in the order they appeared."""
        return list(self._blocks)

    def note(self, block: Block, name: str | None = None) -> str:
        """Return the name of a block, giving it one when it is seen first."""
        known = self._names.get(block.block_hash)
        if known is not None:
            return known
        rank = f"{block.header.height}@{block.header.term}"
        spare = [rank, *(f"{rank}{letter}" for letter in ascii_lowercase[1:])]
        name = name or next(one for one in spare if one not in self._blocks)
        self._blocks[name] = block
        self._names[block.block_hash] = name
        parent = self._states.get(block.header.parent_hash)
        if parent is not None:
            self._states[block.block_hash] = execute(parent, block)
        return name

    def note_message(self, message: Message) -> None:
        """Remember the blocks of a message, and which block of a rank is certified: there is one at most."""
        match message:
            case messages.Append() | messages.BlockAnswer():
                self.note(message.block)
            case messages.Committed():
                for block in message.blocks:
                    self.note(block)
            case _:
                pass  # It holds no block.
        for certificate in find_certificates(message):
            self._certified[certificate.rank] = certificate.block_hash

    def name_of(self, block_hash: BlockHash) -> str:
        """Return what a block is called."""
        return self._names.get(block_hash, f"block {block_hash.hex()[:8]}")

    def name_of_rank(self, rank: tuple[Term, Height]) -> str:
        """Return the name of the certified block of a rank."""
        block_hash = self._certified.get(rank)
        return f"{rank[1]}@{rank[0]}" if block_hash is None else self.name_of(block_hash)

    def find(self, name: str) -> Block | None:
        """Return the block with this name."""
        return self._blocks.get(name)

    def find_state(self, block_hash: BlockHash) -> State | None:
        """Return the state after a block, None if its parent's is not known."""
        return self._states.get(block_hash)

    def start_epoch(self, last: Block | None) -> tuple[Epoch, tuple[str, ...]]:
        """Return the epoch that follows a last block, and its validators; of genesis without one."""
        if last is None:
            return Epoch(0), self.sets[Epoch(0)]
        epoch = Epoch(last.header.epoch + 1)
        self.sets[epoch] = self._states[last.block_hash].validators
        self._certified[(Term(0), last.header.height)] = last.block_hash
        return epoch, self.sets[epoch]

    def describe(self, block: Block) -> str:
        """Return the name of a block and what is in it."""
        inside = [envelope.decode() for envelope in block.envelopes]
        inside += [f"evidence against {name}" for name in self.list_accused(block)]
        end = " ending the epoch" if block.header.flags & BlockFlags.EPOCH_END else ""
        what = f" with {' and '.join(inside)}" if inside else " empty"
        return f"{self.note(block)}{what}{end}"

    def list_accused(self, block: Block) -> list[str]:
        """Return whom the evidence in a block accuses."""
        items = [decode_evidence(encoded) for encoded in block.evidence]
        return [self.sets[item.epoch][item.accused] for item in items]


def execute(parent: State, block: Block) -> State:
    """Return the state after a block: a digest of all transactions, and the validators now and next."""
    validators, wanted = parent.validators, parent.wanted
    if block.header.flags & BlockFlags.EPOCH_END and wanted is not None:
        validators, wanted = wanted, None
    for envelope in block.envelopes:
        text = envelope.decode()
        if text.startswith(CHANGE):
            names = tuple(text.removeprefix(CHANGE).split(","))
            wanted = names if is_allowed(validators, names) else wanted
    root = StateRoot(sha256(parent.root + b" ".join(block.envelopes)).digest())
    return State(root=root, validators=validators, wanted=wanted)


def is_allowed(now: tuple[str, ...], then: tuple[str, ...]) -> bool:
    """Return whether one set of validators may follow another: those that stay are a quorum of it (E2)."""
    kept = [name for name in then if name in now]
    is_set = now != then and len(set(then)) == len(then)
    return is_set and keeps_quorum(len(now), len(kept), len(then))
