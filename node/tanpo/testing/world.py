"""Four members that a test knows all keys of, for parts of a node that run without a chain."""

from __future__ import annotations

from typing import Any, Final

from tanpo.ledger.genesis import Genesis, Member, Parameters
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.transaction import Call, Envelope, build_transaction, sign_envelope
from tanpo.ledger.types import Epoch, MemberId
from tanpo.ledger.validators import Validator, ValidatorSet
from tanpo.node.identity import Role
from tanpo.node.pki import IssuedCertificate, create_authority, issue_certificate
from tanpo.node.roster import Roster

MEMBERS: Final = ("alpha", "beta", "gamma", "delta")


class World:
    """Four members with their CAs, keys and one validator each."""

    def __init__(self) -> None:
        self.authorities = {name: create_authority(MemberId(name), "testnet") for name in MEMBERS}
        self.keys = {name: PrivateKey.generate() for name in MEMBERS}
        self.signing_keys = {name: PrivateKey.generate() for name in MEMBERS}
        self.genesis = Genesis(
            network="testnet",
            time_ms=1_700_000_000_000,
            parameters=Parameters(),
            members=tuple(
                Member(
                    member=MemberId(name),
                    name=name.title(),
                    lei="",
                    roles=("dealer",),
                    ca_certificate=self.authorities[name].certificate_pem,
                    keys=(self.keys[name].public_key.encoded,),
                )
                for name in MEMBERS
            ),
            validators=tuple(
                Validator(
                    member=MemberId(name), node="n1", public_key=self.signing_keys[name].public_key.encoded
                )
                for name in MEMBERS
            ),
            contracts=(),
        )
        self.validators = ValidatorSet(self.genesis.validators)

    def make_roster(self, member: str) -> Roster:
        """Return the validators as a member's node sees them."""
        key = self.signing_keys.get(member)
        return Roster(
            own_name=f"{member}/n1",
            public_key=None if key is None else key.public_key.encoded,
            epoch=Epoch(0),
            validators=self.validators,
        )

    def issue(self, issuer: str, role: str, name: str = "someone", **options: Any) -> IssuedCertificate:
        """Return a certificate of a member's CA."""
        return issue_certificate(self.authorities[issuer], Role(role), name, **options)

    def envelope(self, request_id: str, *, member: str = "alpha", count: int = 1) -> Envelope:
        """Return a signed envelope."""
        key = self.keys[member]
        transactions = [
            build_transaction(
                network_id=self.genesis.network_id,
                member=MemberId(member),
                request_id=f"{request_id}.{number}",
                valid_until_ms=1_800_000_000_000,
                gas_limit=1000,
                signers=[key.key_id],
                call=Call.create("notes", "write", {"text": "x"}),
            )
            for number in range(count)
        ]
        return sign_envelope(self.genesis.network_id, transactions, [key])
