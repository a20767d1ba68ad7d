"""Which validators certify what: the sets of all epochs, each proved by the one before it.

A checker trusts one set, that of the genesis or of an epoch it has pinned. The last block of an epoch names
the next set in its header, and is final by the votes of its own epoch. So each set follows from the one
before, and a header of any later epoch can be checked without trusting a node.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tanpo.ledger.block import BlockFlags, Header, compute_block_hash, read_header
from tanpo.ledger.certificate import VALIDATORS_MAX, CommitProof, decode_commit_proof, verify_commit_proof
from tanpo.ledger.codec import U64_MAX, Reader
from tanpo.ledger.errors import PeerFault, Reason, TransactionRejected, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import Epoch, NetworkId
from tanpo.ledger.validators import Validator, ValidatorSet, compute_valset_hash

DESCENDANTS_MAX: Final = 2_048
"""Headers between one that is to be proved and the one that a quorum made final: ordinarily none, more where
one proof came with many blocks. Bounds the work of checking."""

_PIN: Final = re.compile(r"(0|[1-9][0-9]{0,19}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochPin:
    """The validators that a checker trusts to begin with: an epoch, and the hash of its validators.

    Pinned to a recent epoch, a checker is out of reach of whoever gets hold of keys that validators have
    long replaced; and what was certified before that epoch it can no longer check.
    """

    epoch: Epoch
    valset_hash: bytes

    def __str__(self) -> str:
        return f"{self.epoch}:{self.valset_hash.hex()}"

    @classmethod
    def of_genesis(cls, genesis: Genesis) -> EpochPin:
        """Return the pin of the validators that the genesis names."""
        return cls(epoch=Epoch(0), valset_hash=compute_valset_hash(genesis.validators))

    @classmethod
    def parse(cls, text: str) -> EpochPin:
        """Return the pin in `EPOCH:HASH`. Raises `UsageError` for any other text."""
        match = _PIN.fullmatch(text)
        if match is None or int(match[1]) > U64_MAX:
            raise UsageError(
                Reason.CONFIGURATION,
                "a pin of an epoch has another form",
                value=text,
                limit="EPOCH:HASH, the hash in 64 hexadecimal digits",
                remedy="take it from a member's own node, with `tanpo validator pin`",
            )
        return cls(epoch=Epoch(int(match[1])), valset_hash=bytes.fromhex(match[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochStep:
    """From one epoch to the next: the last block's header, what makes it final, and the next validators."""

    header: bytes
    commit_proof: bytes
    validators: tuple[Validator, ...]


class Lineage:
    """The validators of the epochs known so far, from a pin on. It grows by what is proved, and never else.

    Threads may share one: a set, once there, is never replaced.
    """

    __slots__ = ("_sets", "network_id", "pin")

    def __init__(self, network_id: NetworkId, pin: EpochPin, validators: Sequence[Validator]) -> None:
        known = _parse_validators(validators)
        if known.valset_hash != pin.valset_hash:
            raise _invalid(
                f"these are not the validators of epoch {pin.epoch} that are trusted",
                value=known.valset_hash.hex(),
                limit=pin.valset_hash.hex(),
            )
        self.network_id = network_id
        self.pin = pin
        self._sets: dict[int, ValidatorSet] = {pin.epoch: known}

    @classmethod
    def of_genesis(cls, genesis: Genesis) -> Lineage:
        """Return the lineage that begins with the validators of the genesis."""
        return cls(genesis.network_id, EpochPin.of_genesis(genesis), genesis.validators)

    @property
    def newest(self) -> Epoch:
        """The latest epoch whose validators are known."""
        return Epoch(self.pin.epoch + len(self._sets) - 1)

    def get(self, epoch: int) -> ValidatorSet:
        """Return the validators of an epoch. Raises `PeerFault` (EPOCH_UNKNOWN) if they are not known."""
        found = self._sets.get(epoch)
        if found is not None:
            return found
        is_older = epoch < self.pin.epoch
        raise PeerFault(
            Reason.EPOCH_UNKNOWN,
            f"the validators of epoch {epoch} are not known here",
            value=epoch,
            limit=f"{self.pin.epoch}..{self.newest}",
            remedy="check it with the genesis, or with an older pin"
            if is_older
            else "have the epochs between proved, by a node or in the file",
        )

    def extend(self, step: EpochStep) -> Epoch:
        """Learn the validators of the next epoch, or see again what is known; return the epoch that ended.

        Raises:
            PeerFault: the step does not stand, or leads from an epoch that is not known.
        """
        header = decode_header(step.header)
        self.verify_final((header,), step.commit_proof)
        if not header.flags & BlockFlags.EPOCH_END:
            raise _invalid(f"block {header.height} is not the last of epoch {header.epoch}")
        following = _parse_validators(step.validators)
        if following.valset_hash != header.next_valset_hash:
            raise _invalid(
                f"block {header.height} names other validators for epoch {header.epoch + 1}",
                value=following.valset_hash.hex(),
                limit=header.next_valset_hash.hex(),
            )
        self._sets.setdefault(header.epoch + 1, following)
        return header.epoch

    def verify_final(self, headers: Sequence[Header], commit_proof: bytes) -> CommitProof:
        """Return the proof that makes the last of the headers final, and with it all that it descends from.

        Raises:
            PeerFault: the headers are no chain, the proof is for another block or does not stand, or it is
                of an epoch whose validators are not known.
        """
        self.verify_chain(headers)
        commit = decode_commit_proof(commit_proof)
        top = headers[-1]
        if (commit.block_hash, commit.height) != (compute_block_hash(top), top.height):
            raise _invalid("the commit proof is for another block", value=commit.height, limit=top.height)
        # The last block of an epoch may be proposed once more, and so become final, in a later term.
        is_late = commit.child is None and top.flags & BlockFlags.EPOCH_END and commit.term > top.term
        if commit.certificate.epoch != top.epoch or not (is_late or commit.term == top.term):
            raise _invalid(
                "the commit proof is of another epoch or term than its block",
                value=f"{commit.certificate.epoch}/{commit.term}",
                limit=f"{top.epoch}/{top.term}",
            )
        verify_commit_proof(commit, self.network_id, self.get(top.epoch))
        return commit

    def verify_chain(self, headers: Sequence[Header]) -> None:
        """Raise `PeerFault` unless each header is the next one's parent and names its epoch's validators."""
        parent: Header | None = None
        for header in headers:
            if header.network_id != self.network_id:
                raise _invalid(
                    "a header is of another network",
                    value=header.network_id.hex(),
                    limit=self.network_id.hex(),
                )
            if header.valset_hash != self.get(header.epoch).valset_hash:
                raise _invalid("a header names other validators than its epoch has", value=header.height)
            if parent is not None and (header.parent_hash, header.height) != (
                compute_block_hash(parent),
                parent.height + 1,
            ):
                raise _invalid("the headers do not follow each other", value=header.height)
            parent = header


def decode_headers(encoded: Sequence[bytes]) -> list[Header]:
    """Return the headers of a chain. Raises `PeerFault` for bytes that are none, or for too many."""
    if len(encoded) > DESCENDANTS_MAX + 1:
        raise _invalid("there are too many headers", value=len(encoded), limit=DESCENDANTS_MAX + 1)
    return [decode_header(header) for header in encoded]


def decode_header(encoded: bytes) -> Header:
    """Return the header that `encoded` spells. Raises `PeerFault` for other bytes."""
    reader = Reader(encoded)
    header = read_header(reader)
    reader.finish()
    return header


def _parse_validators(validators: Sequence[Validator]) -> ValidatorSet:
    if not 1 <= len(validators) <= VALIDATORS_MAX:
        raise _invalid("their number is not allowed", value=len(validators), limit=f"1..{VALIDATORS_MAX}")
    try:
        return ValidatorSet(tuple(validators))
    except TransactionRejected as error:
        raise _invalid(f"a validator has no usable key: {error.message}") from None


def _invalid(why: str, *, value: object = "", limit: object = "") -> PeerFault:
    return PeerFault(
        Reason.PROOF_INVALID, f"proof: {why}", value=value, limit=limit, remedy="ask another node"
    )
