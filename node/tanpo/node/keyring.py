"""The registered keys (D4): which member a signature speaks for, by one state.

A block is checked and executed with the keys of its parent's state: all nodes have the same then. A ring
never changes; where a block changed the members, the next block has another ring.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tanpo.ledger.errors import CorruptState, LedgerError, PeerFault, Reason, TransactionRejected
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.keys import PublicKey
from tanpo.ledger.membership import (
    Registration,
    StateSource,
    find_members,
    list_genesis_members,
    touches_members,
)
from tanpo.ledger.transaction import Envelope
from tanpo.ledger.types import KeyId, MemberId
from tanpo.node.logs import get_logger

_LOG = get_logger("members")


class KeyRing:
    """Every key that may sign transactions, by id, with its public half parsed once; `members` have them.

    `names` are the names of those members.
    """

    __slots__ = ("_keys", "_owners", "members", "names")

    def __init__(self, members: Sequence[Registration], before: KeyRing | None = None) -> None:
        known = {} if before is None else {key.encoded: key for key in before._keys.values()}
        self.members = tuple(members)
        self.names = frozenset(str(one.member) for one in members)
        self._keys: dict[KeyId, PublicKey] = {}
        self._owners: dict[KeyId, MemberId] = {}
        for one in members:
            for encoded in one.keys:
                key = known.get(encoded) or _decode(one.member, encoded)
                # Ids are cut hashes: should two keys ever share one, the first keeps it, on every node.
                if key is not None and key.key_id not in self._keys:
                    self._keys[key.key_id], self._owners[key.key_id] = key, one.member

    @classmethod
    def of_genesis(cls, genesis: Genesis) -> KeyRing:
        """Return the keys that a genesis registers."""
        return cls(list_genesis_members(genesis))

    @classmethod
    def load(cls, state: StateSource, genesis: Genesis) -> KeyRing:
        """Return the keys of a state; those of the genesis if the state keeps none.

        Raises:
            CorruptState: the state has records of members that cannot be read.
        """
        members = _read(state)
        return cls.of_genesis(genesis) if members is None else cls(members)

    def follow(self, changed: Iterable[bytes], state: StateSource) -> KeyRing:
        """Return the keys of a state that differs, from that of these keys, in the state keys `changed`.

        Raises:
            CorruptState: the state has records of members that cannot be read.
        """
        members = _read(state) if touches_members(changed) else None
        return self if members is None else KeyRing(members, self)

    def holds(self, envelope: Envelope) -> bool:
        """Return whether all keys that signed an envelope are registered."""
        return self.has(key_id for key_id, _ in envelope.signatures)

    def has(self, key_ids: Iterable[KeyId]) -> bool:
        """Return whether all these keys are registered."""
        return all(key_id in self._keys for key_id in key_ids)

    def accepts(self, envelope: Envelope) -> bool:
        """Return whether `check_envelope` lets an envelope pass."""
        try:
            self.check_envelope(envelope)
        except TransactionRejected:
            return False
        return True

    def find_public_key(self, key_id: KeyId) -> PublicKey | None:
        """Return a registered key."""
        return self._keys.get(key_id)

    def check_envelope(self, envelope: Envelope) -> None:
        """Raise `TransactionRejected` unless all keys are registered and every submitter's own key signs."""
        for key_id, _ in envelope.signatures:
            if key_id not in self._keys:
                raise key_unknown(key_id)
        for transaction in envelope.transactions:
            signing = self.get_signing_members(transaction.signers)
            if transaction.member not in signing:
                raise TransactionRejected(
                    Reason.SIGNATURE_MISSING,
                    "the submitting member is not among those who sign",
                    value=transaction.member,
                    limit=", ".join(signing),
                    remedy="name one of the member's own keys among the signers, and sign with it",
                )

    def get_signing_members(self, signers: Sequence[KeyId]) -> tuple[MemberId, ...]:
        """Return the members behind registered keys, each once, in ascending order."""
        return tuple(sorted({self._owners[key_id] for key_id in signers}))


def key_unknown(key_id: KeyId) -> TransactionRejected:
    """Return the refusal of a signature by a key that no member has now."""
    return TransactionRejected(
        Reason.KEY_UNKNOWN,
        "no member has registered this key, or it is removed",
        value=key_id.hex(),
        remedy="sign with a registered key",
    )


def key_removed(member: MemberId) -> TransactionRejected:
    """Return why a transaction left the pool whose signer was removed, or dismissed, while it waited."""
    return TransactionRejected(
        Reason.KEY_UNKNOWN,
        "a key that signed it was removed before it reached a block",
        value=member,
        remedy="sign it with a key that is registered now, under a new request id",
    )


def _read(state: StateSource) -> tuple[Registration, ...] | None:
    try:
        return find_members(state)
    except LedgerError as error:
        raise CorruptState(
            Reason.DATA_CORRUPT,
            f"a member's record in the state cannot be read: {error.message}",
            value=error.value,
            limit=error.limit,
            remedy="run the software version the network runs",
        ) from None


def _decode(member: MemberId, encoded: bytes) -> PublicKey | None:
    try:
        return PublicKey.decode(encoded)
    except PeerFault:
        # The contract sees its form alone. It is no point of the curve, so nobody can sign with it.
        _LOG.warning("a registered key is none", member=member, key=encoded.hex())
        return None
