"""The validators of one epoch: their keys, the hash that headers carry, and which changes are allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, cast

from tanpo.ledger.certificate import VALIDATORS_MAX, compute_quorum, compute_signed_digest
from tanpo.ledger.codec import Writer
from tanpo.ledger.errors import Reason, TransactionRejected
from tanpo.ledger.keys import PublicKey
from tanpo.ledger.types import MemberId, Signature, ValidatorIndex
from tanpo.ledger.values import Value

_FAULT_TOLERANT: Final = 4
"""Fewest validators of which one may be faulty (S1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validator:
    """A node entitled to vote: its member, its name within the member, its DER public key."""

    member: MemberId
    node: str
    public_key: bytes


class ValidatorSet:
    """The validators of one epoch with their keys parsed; a `SignatureChecker`."""

    __slots__ = ("_keys", "validators", "valset_hash")

    def __init__(self, validators: tuple[Validator, ...]) -> None:
        self.validators = validators
        self._keys = tuple(PublicKey.decode(validator.public_key) for validator in validators)
        self.valset_hash = compute_valset_hash(validators)

    @property
    def validator_count(self) -> int:
        """How many validators there are."""
        return len(self.validators)

    def verify(self, validator: ValidatorIndex, message: bytes, signature: Signature) -> bool:
        """Return whether the validator at this index signed the message."""
        return 0 <= validator < len(self._keys) and self._keys[validator].verify(
            signature, compute_signed_digest(message)
        )

    def find_index(self, member: MemberId, node: str) -> ValidatorIndex | None:
        """Return the index of a member's node, None when it is no validator."""
        for index, validator in enumerate(self.validators):
            if (validator.member, validator.node) == (member, node):
                return ValidatorIndex(index)
        return None


def compute_valset_hash(validators: Sequence[Validator]) -> bytes:
    """Return the hash that headers carry for a validator set."""
    writer = Writer().raw(b"tanpo/valset/1").u8(len(validators))
    for validator in validators:
        writer.text(validator.member).text(validator.node).blob(validator.public_key)
    return sha256(writer.finish()).digest()


def validators_to_value(validators: Sequence[Validator]) -> Value:
    """Return validators as the contract that keeps them takes them."""
    return tuple(
        {"member": str(one.member), "node": one.node, "public_key": one.public_key} for one in validators
    )


def validators_from_value(value: Value) -> tuple[Validator, ...]:
    """Return the validators in what a view of that contract returns, which is trusted to be of that form."""
    return tuple(
        Validator(
            member=MemberId(cast("str", one["member"])),
            node=cast("str", one["node"]),
            public_key=cast("bytes", one["public_key"]),
        )
        for one in cast("Sequence[Mapping[str, Value]]", value)
    )


def keeps_quorum(count: int, kept: int, next_count: int) -> bool:
    """Return whether enough validators stay for the next epoch to make progress without the newcomers (E2).

    A set that tolerates no fault (under four) has none to lose.
    """
    return count < _FAULT_TOLERANT or kept >= compute_quorum(next_count)


def verify_change(now: Sequence[Validator], then: Sequence[Validator]) -> None:
    """Raise `TransactionRejected` unless one validator set may follow another (E2).

    The validators kept unchanged must be a quorum of the new set, so that the new epoch makes progress
    although none of the newcomers is up yet. A set that tolerates no fault (under four) has none to lose.
    """
    if not 1 <= len(then) <= VALIDATORS_MAX:
        remedy = "name as many as are allowed"
        raise _refused("their number is not allowed", len(then), f"1..{VALIDATORS_MAX}", remedy)
    for validator in then:
        PublicKey.decode(validator.public_key)
    names = {(validator.member, validator.node) for validator in then}
    keys = {validator.public_key for validator in then}
    if len(names) != len(then) or len(keys) != len(then):
        remedy = "name each node once, with a key that no other has; a new key for a validator is a rekey"
        raise _refused("a node or a key is listed twice", len(then), "each once", remedy)
    if compute_valset_hash(now) == compute_valset_hash(then):
        raise _refused("they are those of now", len(then), "a change", "nothing is to be done")
    kept = len(set(now) & set(then))
    quorum = compute_quorum(len(then))
    if not keeps_quorum(len(now), kept, len(then)):
        remedy = "change fewer validators at a time: each change takes one block to be in force"
        raise _refused("too few stay as they are", kept, f"{quorum}, a quorum of the {len(then)}", remedy)


def _refused(why: str, value: object, limit: object, remedy: str) -> TransactionRejected:
    return TransactionRejected(
        Reason.VALIDATORS_REFUSED,
        f"the validators cannot be changed so: {why}",
        value=value,
        limit=limit,
        remedy=remedy,
    )
