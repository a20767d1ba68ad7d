"""What the tests of the node's parts share: two members with keys, and envelopes they have signed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.membership import Registration
from tanpo.ledger.transaction import Call, Envelope, Transaction, build_transaction, sign_envelope
from tanpo.ledger.types import MemberId, NetworkId
from tanpo.node.keyring import KeyRing

NETWORK = NetworkId(bytes(range(32)))
TIME_MS = 1_700_000_000_000


@dataclass(frozen=True)
class Parties:
    """Two members, one key each, and what they make with them."""

    keys: dict[str, PrivateKey]
    network_id: NetworkId = NETWORK
    time_ms: int = TIME_MS

    @property
    def keyring(self) -> KeyRing:
        """Return a key ring with both members' keys."""
        return KeyRing(
            [
                Registration(
                    member=MemberId(member),
                    name=member,
                    lei="",
                    roles=(),
                    authorities=(),
                    keys=(key.public_key.encoded,),
                )
                for member, key in self.keys.items()
            ]
        )

    def transaction(
        self, request_id: str, *, member: str = "dealer-a", valid_for_ms: int = 60_000, gas_limit: int = 1_000
    ) -> Transaction:
        """Return a transaction of one member."""
        return build_transaction(
            network_id=self.network_id,
            member=MemberId(member),
            request_id=request_id,
            valid_until_ms=self.time_ms + valid_for_ms,
            gas_limit=gas_limit,
            signers=[self.keys[member].key_id],
            call=Call.create("notes", "write", {"text": request_id}),
        )

    def envelope(self, *transactions: Transaction) -> Envelope:
        """Return an envelope with the signatures its transactions name."""
        named = {key_id for tx in transactions for key_id in tx.signers}
        signers = [key for key in self.keys.values() if key.key_id in named]
        return sign_envelope(self.network_id, transactions, signers)


@pytest.fixture(scope="session")
def parties() -> Parties:
    """Return the two members."""
    return Parties({"dealer-a": PrivateKey.generate(), "dealer-b": PrivateKey.generate()})


@pytest.fixture
def make_envelope(parties: Parties) -> Callable[..., Envelope]:
    """Return a maker of envelopes with one transaction each."""

    def make(request_id: str, **fields: object) -> Envelope:
        return parties.envelope(parties.transaction(request_id, **fields))  # type: ignore[arg-type] # passed through

    return make
