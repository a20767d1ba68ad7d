"""The registered keys (D4): which member a signature speaks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tanpo.ledger.errors import Reason, TransactionRejected
from tanpo.ledger.genesis import RegisteredKey
from tanpo.ledger.keys import PublicKey
from tanpo.ledger.transaction import Envelope
from tanpo.ledger.types import KeyId, MemberId


class KeyRing:
    """Every key that may sign transactions, by id, with its public half parsed once; `members` have them."""

    __slots__ = ("_keys", "members")

    def __init__(self, keys: Mapping[KeyId, RegisteredKey]) -> None:
        self._keys = keys
        self.members = frozenset(str(key.member) for key in keys.values())

    def get_public_key(self, key_id: KeyId) -> PublicKey:
        """Return a key that `check_envelope` has found registered."""
        return self._keys[key_id].public_key

    def check_envelope(self, envelope: Envelope) -> None:
        """Raise `TransactionRejected` unless all keys are registered and every submitter's own key signs."""
        for key_id, _ in envelope.signatures:
            if key_id not in self._keys:
                raise TransactionRejected(
                    Reason.KEY_UNKNOWN,
                    "no member has registered this key",
                    value=key_id.hex(),
                    remedy="sign with a registered key",
                )
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
        return tuple(sorted({self._keys[key_id].member for key_id in signers}))
