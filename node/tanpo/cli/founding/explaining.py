"""What a genesis says, in plain words, for the people who are asked to sign it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from cryptography import x509
from tanpo.cli.founding.cards import Card, load_authority_pem, spell_fingerprint
from tanpo.cli.founding.signing import check_card
from tanpo.contracts import PRODUCT_CONTRACTS, load_source
from tanpo.ledger.certificate import compute_faulty_max, compute_quorum
from tanpo.ledger.genesis import MEMBERS_CONTRACT, Genesis, InstalledContract, Member, Parameters
from tanpo.ledger.keys import PublicKey
from tanpo.ledger.lei import is_lei
from tanpo.ledger.validators import Validator
from tanpo.ledger.values import value_to_json
from tanpo.node.epochs import VALIDATORS_CONTRACT

_FAULT_TOLERANT: Final = 4
"""Fewest validators of which one may fail in any way."""

_TOLD: Final = (MEMBERS_CONTRACT, VALIDATORS_CONTRACT)
"""Contracts that start with what is told anyway: the members' roles and the validators (`check_start`)."""

_LIMITS: Final = {
    "block_transactions_max": "transactions in a block",
    "block_bytes_max": "bytes of a block",
    "validity_max_ms": "milliseconds that a transaction may be valid",
    "gas_limit_max": "gas of a transaction",
    "block_gas_max": "gas of a block",
}


def check_against_cards(genesis: Genesis, cards: Sequence[Card]) -> None:
    """Raise `UsageError` unless a genesis says of each member just what its card says."""
    for card in cards:
        check_card(genesis, card.facts, f"card {card.source}")


def explain_genesis(genesis: Genesis, cards: Sequence[Card]) -> list[str]:
    """Return what a genesis says, one sentence a line; `cards` are those that it was found to agree with."""
    return [
        f'The network is called "{genesis.network}" and begins at {_spell_time(genesis.time_ms)}.',
        f"Its id is {genesis.network_id.hex()}: that of no other genesis.",
        f"It has {len(genesis.members)} members:",
        *(line for member in genesis.members for line in _explain_member(member)),
        *_explain_validators(genesis.validators),
        f"It starts with {len(genesis.contracts)} contracts:",
        *(line for contract in genesis.contracts for line in _explain_contract(contract)),
        "Its limits are, at most:",
        *_explain_limits(genesis.parameters),
        *_explain_cards(genesis, cards),
    ]


def describe_genesis(genesis: Genesis) -> dict[str, Any]:
    """Return what a genesis says as JSON data."""
    return {
        "network": genesis.network,
        "network_id": genesis.network_id.hex(),
        "time_ms": genesis.time_ms,
        "members": [_describe_member(member) for member in genesis.members],
        "validators": [
            {
                "member": one.member,
                "node": one.node,
                "key_id": PublicKey.decode(one.public_key).key_id.hex(),
                "public_key": one.public_key.hex(),
            }
            for one in genesis.validators
        ],
        "quorum": compute_quorum(len(genesis.validators)),
        "faulty_max": compute_faulty_max(len(genesis.validators)),
        "contracts": [
            {
                "name": one.name,
                "source_hash": compute_source_hash(one),
                "is_own": is_own(one),
                "arguments": value_to_json(dict(one.arguments)),
            }
            for one in genesis.contracts
        ],
        "parameters": asdict(genesis.parameters),
    }


def compute_source_hash(contract: InstalledContract) -> str:
    """Return the hash that `tanpo contract list` shows for this source."""
    return sha256(contract.source.encode("utf-8")).hexdigest()


def is_own(contract: InstalledContract) -> bool:
    """Return whether a contract is, to the byte, the one that comes with this installation."""
    return contract.name in PRODUCT_CONTRACTS and contract.source == load_source(contract.name)


def _describe_member(member: Member) -> dict[str, Any]:
    authority = _load_authority(member)
    return {
        "member": member.member,
        "name": member.name,
        "lei": member.lei,
        "roles": list(member.roles),
        "ca_fingerprint": spell_fingerprint(authority),
        "ca_valid_until": authority.not_valid_after_utc.isoformat(timespec="seconds"),
        "key_ids": [PublicKey.decode(key).key_id.hex() for key in member.keys],
    }


def _explain_member(member: Member) -> Iterator[str]:
    told = _describe_member(member)
    lei = f"LEI {member.lei}" if member.lei else "without LEI"
    if member.lei and not is_lei(member.lei):
        lei += ", WHOSE CHECK DIGITS ARE WRONG"
    yield f'  {member.member}: "{_quote(member.name)}", {lei}, as {", ".join(member.roles) or "nothing yet"}.'
    yield f"    Its CA, valid until {told['ca_valid_until']}, has the SHA-256 fingerprint"
    yield f"    {told['ca_fingerprint']}."
    yield f"    Its transactions are signed with key {' or '.join(told['key_ids']) or 'none'}."


def _explain_validators(validators: Sequence[Validator]) -> Iterator[str]:
    total, faulty = len(validators), compute_faulty_max(len(validators))
    yield f"{total} of its nodes are validators: {compute_quorum(total)} of them make a block final."
    for one in validators:
        yield f"  {one.member}/{one.node} with key {PublicKey.decode(one.public_key).key_id.hex()}."
    if total < _FAULT_TOLERANT:
        yield f"  NONE OF THEM MAY BE FAULTY: of {_FAULT_TOLERANT} or more, one may fail in any way."
    else:
        yield f"  {faulty} of them may fail in any way."


def _explain_contract(contract: InstalledContract) -> Iterator[str]:
    origin = "as in this installation" if is_own(contract) else "NOT AS IN THIS INSTALLATION: read it"
    yield f"  {contract.name}: {origin}; source hash {compute_source_hash(contract)}."
    if contract.name not in _TOLD and contract.arguments:
        yield f"    It starts with {json.dumps(value_to_json(dict(contract.arguments)))}."


def _explain_limits(parameters: Parameters) -> Iterator[str]:
    ordinary = Parameters()
    for field in fields(Parameters):
        value, usual = getattr(parameters, field.name), getattr(ordinary, field.name)
        note = "" if value == usual else f" (ordinarily {usual:,})"
        yield f"  {value:,} {_LIMITS[field.name]}{note}."


def _explain_cards(genesis: Genesis, cards: Sequence[Card]) -> Iterator[str]:
    named = {card.facts.member for card in cards}
    without = [str(one.member) for one in genesis.members if one.member not in named]
    if named:
        yield f"It says what the cards say of {', '.join(sorted(named))}."
    if without:
        yield f"NOT COMPARED WITH A CARD: {', '.join(without)}."


def _load_authority(member: Member) -> x509.Certificate:
    return load_authority_pem(member.ca_certificate, f"member {member.member} of the genesis", member.member)


def _spell_time(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms, which is no time"


def _quote(text: str) -> str:
    """Return a text without control characters: nobody adds a line of their own."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
