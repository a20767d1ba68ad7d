"""The proof files of the conformance tests, made anew: `python -m tanpo.testing.frozen_proofs DIR`.

They are frozen: a verifier of anybody's reads them. Whoever changes what a file holds, or a contract that the
genesis carries, writes them again, and the difference is reviewed. One version of the code always makes the
same bytes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from tanpo.cli.wording import describe_verdict
from tanpo.client import exporting
from tanpo.ledger.genesis import genesis_to_json
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.proofcheck import verify_proof_file
from tanpo.ledger.prooffile import ProofFile, encode_proof_file
from tanpo.ledger.values import Value
from tanpo.testing.chain import MEMBERS, START_MS, change_validators
from tanpo.testing.town import Town

GENESIS_NAME: Final = "genesis.json"
WORDS_NAME: Final = "words.json"

_NEWCOMER: Final = "fund-a"
_AUTHORITY_DAYS: Final = 365
_SERIAL: Final = 1


def write_frozen_proofs(folder: Path) -> None:
    """Write the genesis, a file of each kind, and what each proves in words; what is there is replaced."""
    with tempfile.TemporaryDirectory() as scratch:
        town = Town(Path(scratch), _derive_key)
        files = _tell_story(town)
        genesis = town.chain.genesis
        town.chain.close()
    words = {
        kind: describe_verdict(verify_proof_file(file, genesis), genesis) for kind, file in files.items()
    }
    (folder / GENESIS_NAME).write_text(genesis_to_json(genesis), encoding="utf-8")
    for kind, file in files.items():
        (folder / f"{kind}.json").write_text(encode_proof_file(file), encoding="utf-8")
    (folder / WORDS_NAME).write_text(json.dumps(words, indent=2) + "\n", encoding="utf-8")


def _tell_story(town: Town) -> dict[str, ProofFile]:
    """Return a file of each kind by name, from a chain whose validators and members have changed."""
    town.open_book(dealer_a=5_000_000)
    _change_members(town)
    for number in (1, 2):
        named = [
            town.make_validator(one.member, "node-2") if index < number else one
            for index, one in enumerate(town.chain.genesis.validators)
        ]
        change_validators(town.chain, *named)
    arguments: dict[str, Value] = {
        "deliverer": "dealer-a",
        "receiver": "dealer-b",
        "instrument": "yen",
        "quantity": 300,
    }
    moved = town.chain.make_transaction("instruments", "transfer", arguments, "dealer-a", _NEWCOMER)
    alone, refused = (
        town.chain.make_transaction("instruments", "transfer", {**arguments, "quantity": one}, "dealer-a")
        for one in (200, 9_000_000)
    )
    town.chain.run(moved, alone, refused)
    height = town.chain.execution.store.executed_height
    town.chain.run()
    context = town.context
    standing = town.run(exporting.receipt_file(context, moved.tx_id))
    receipt = town.run(exporting.receipt_file(context, alone.tx_id))
    position: Value = ("dealer-a", "yen")
    return {
        # As they are exported once the node has let the state go: by the genesis alone.
        "receipt": replace(receipt, standing=None),
        "refusal": town.run(exporting.receipt_file(context, refused.tx_id)),
        "standing": standing,
        "value": town.run(exporting.value_file(context, "instruments", "positions", position, height)),
        "absence": town.run(exporting.value_file(context, "members", "roles", "nobody", height)),
        "variable": town.run(exporting.value_file(context, "members", "member_count", None, height)),
        "listing": town.run(exporting.listing_file(context, "instruments", "accounts_of", "yen", height)),
    }


def _change_members(town: Town) -> None:
    """Admit a member, and give another a second CA."""
    key = town.chain.keys[_NEWCOMER] = _derive_key(_NEWCOMER)
    admission: dict[str, Value] = {
        "member": _NEWCOMER,
        "name": "Fund A",
        "lei": "",
        "granted": ("participant",),
        "ca_certificate": _make_authority(_NEWCOMER),
        "keys": (key.public_key.encoded,),
    }
    town.call("members", "admit", admission, *MEMBERS)
    pair: dict[str, Value] = {"member": "dealer-a", "ca_certificates": (b"none", _make_authority("dealer-a"))}
    town.call("members", "replace_authority", pair, "dealer-a")


def _make_authority(member: str) -> bytes:
    key = _derive_secret(f"{member}/ca")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{member} CA")])
    start = datetime.fromtimestamp(START_MS // 1_000, UTC)
    made = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name)
        .public_key(key.public_key())
        .serial_number(_SERIAL)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=_AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    return made.public_bytes(Encoding.PEM)


def _derive_key(name: str) -> PrivateKey:
    return PrivateKey(_derive_secret(name))


def _derive_secret(name: str) -> ec.EllipticCurvePrivateKey:
    """Return a key that everybody can make: it must sign nothing but these files."""
    secret = int.from_bytes(sha256(b"frozen proof of " + name.encode()).digest()[:31], "big")
    return ec.derive_private_key(secret, ec.SECP256R1())


if __name__ == "__main__":
    write_frozen_proofs(Path(sys.argv[1]))
