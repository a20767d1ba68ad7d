"""What a checked proof says, in plain words: one sentence a line, nothing that was not proved.

Whatever a contract or a member wrote is shown without control characters: nobody adds a line of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tanpo.ledger.blockcheck import BlocksVerdict
from tanpo.ledger.errors import clip
from tanpo.ledger.genesis import MEMBERS_CONTRACT, Genesis
from tanpo.ledger.proofcheck import ReceiptVerdict, StateVerdict, Verdict
from tanpo.ledger.prooffile import SignerStatus
from tanpo.ledger.prooftrail import Certification
from tanpo.ledger.receipt import Event
from tanpo.ledger.standing import AuthorityStanding
from tanpo.ledger.values import Value, value_to_json

REGISTER: Final = "instruments"
"""The contract whose events and positions are told as sentences."""

_ISIN: Final = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]")
_MS: Final = 1_000

_SENTENCES: Final[Mapping[str, str]] = {
    "Defined": "{registrar} entered {instrument} into the register",
    "LockConfirmed": "the custodian confirmed to hold {quantity} of {instrument}, reference {reference}",
    "Minted": "{quantity} of {instrument} were issued to {account}",
    "Burned": "{quantity} of {instrument} were taken back from {account}",
    "Transferred": "{deliverer} delivered {quantity} of {instrument} to {receiver}",
    "ForcedTransfer": "{quantity} of {instrument} of {deliverer} were moved to {receiver} by order of "
    "{registrar}, reason: {reason}",
    "Locked": "{quantity} of {instrument} of {account} were locked by {holder}",
    "Unlocked": "{quantity} of {instrument} of {account} were unlocked by {holder}",
    "Pledged": "{giver} pledged {quantity} of {instrument} to {taker}",
    "PledgeReleased": "{taker} released {quantity} of {instrument} that {giver} had pledged",
    "PledgeRealised": "{quantity} of {instrument} that {giver} had pledged to {taker} passed to {receiver}",
}
"""Events of the register, by name. Others are told field by field."""

_NO_STANDING: Final = (
    "Which roles and CAs the members that signed had then is not proved: a node proves it while it holds the "
    "state after that block."
)

_ACCOUNTS: Final = frozenset({"deliverer", "receiver", "account", "giver", "taker", "registrar"})


def describe_verdict(verdict: Verdict, genesis: Genesis) -> list[str]:
    """Return what a checked file proves, in sentences."""
    if isinstance(verdict, ReceiptVerdict):
        return _describe_receipt(verdict, genesis)
    return _describe_state(verdict, genesis)


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """Return what a checked file proves as JSON data."""
    certification = verdict.certification
    certified = _certification_to_json(certification)
    if isinstance(verdict, ReceiptVerdict):
        receipt = verdict.receipt
        return {
            "kind": "receipt",
            "tx_id": receipt.tx_id.hex(),
            "member": verdict.transaction.member,
            "request_id": verdict.transaction.request_id,
            "contract": verdict.transaction.call.contract,
            "entry": verdict.transaction.call.entry,
            "signers": [one.member for one in verdict.signers],
            "standing": None
            if verdict.standing is None
            else {one.member: None if one.roles is None else list(one.roles) for one in verdict.standing},
            "authorities": None
            if verdict.standing is None
            else {
                one.member: [_authority_to_json(held) for held in one.authorities] for one in verdict.standing
            },
            "succeeded": receipt.succeeded,
            "code": receipt.code,
            "height": receipt.height,
            "time_ms": verdict.block.time_ms,
            **certified,
        }
    return {
        "kind": "value" if verdict.members is None else "listing",
        "contract": verdict.contract,
        "variable": verdict.variable,
        "key": None if verdict.key is None else value_to_json(verdict.key),
        "value": None if verdict.value is None else value_to_json(verdict.value),
        "members": None if verdict.members is None else value_to_json(verdict.members),
        "height": verdict.height,
        "state_root": certification.header.state_root.hex(),
        **certified,
    }


def describe_blocks(verdict: BlocksVerdict, genesis: Genesis) -> list[str]:
    """Return what a checked file of blocks proves, in sentences."""
    first, last, above = verdict.first, verdict.last, verdict.certification.header
    count, failed = verdict.transaction_count, verdict.failed_count
    return [
        f"These are the blocks {first.height:,} to {last.height:,}, made from {_tell_time(first.time_ms)} to "
        f"{_tell_time(last.time_ms)}: each names the one before by its hash.",
        f"Block {first.height:,} is {verdict.first_hash.hex()}; before it is {first.parent_hash.hex()}.",
        f"Block {last.height:,} is {verdict.last_hash.hex()}.",
        f"They hold {count:,} transactions, each with its receipt: {count - failed:,} succeeded, and "
        f"{failed:,} were refused and changed nothing.",
        f"None of it can have been added, left out or changed: block {above.height:,} is final, which names "
        "the last one and what it did.",
        f"{verdict.certified_count:,} of the blocks have the votes of a quorum of their own as well.",
        *_describe_certification(verdict.certification, genesis),
    ]


def blocks_to_json(verdict: BlocksVerdict) -> dict[str, Any]:
    """Return what a checked file of blocks proves as JSON data."""
    return {
        "kind": "blocks",
        "first_height": verdict.first.height,
        "first_block_hash": verdict.first_hash.hex(),
        "first_parent_hash": verdict.first.parent_hash.hex(),
        "last_height": verdict.last.height,
        "last_block_hash": verdict.last_hash.hex(),
        "blocks": verdict.block_count,
        "transactions": verdict.transaction_count,
        "failed": verdict.failed_count,
        "certified": verdict.certified_count,
        **_certification_to_json(verdict.certification),
    }


def _certification_to_json(certification: Certification) -> dict[str, Any]:
    return {
        "epoch": certification.final_header.epoch,
        "voters": [f"{one.member}/{one.node}" for one in certification.voters],
        "validators": certification.validator_count,
        "trusted": str(certification.trusted),
    }


def _describe_receipt(verdict: ReceiptVerdict, genesis: Genesis) -> list[str]:
    transaction, receipt = verdict.transaction, verdict.receipt
    call = f"{transaction.call.contract}.{transaction.call.entry}"
    when = f"at {_tell_time(verdict.block.time_ms)}, final in block {receipt.height:,}"
    sender = _tell_account(transaction.member, genesis)
    if receipt.succeeded:
        lines = [f"{_describe_event(event, genesis)}, {when}." for event in receipt.events]
        lines.append(f"{sender} called {call}, and it succeeded, {when}.")
    else:
        details = _tell_fields(dict(receipt.details), genesis)
        lines = [f"{sender} called {call}, and it was refused with {receipt.code}{details}, {when}."]
        lines.append("Nothing was changed by it.")
    lines.append(f"The transaction is {receipt.tx_id.hex()}, request {_tell(transaction.request_id)}.")
    lines += [_describe_signer(one, genesis) for one in verdict.signers]
    lines += _describe_standing(verdict, genesis)
    return [*lines, *_describe_certification(verdict.certification, genesis)]


def _describe_state(verdict: StateVerdict, genesis: Genesis) -> list[str]:
    when = f"after block {verdict.height:,}"
    place = f"{verdict.contract}.{verdict.variable}"
    key = "" if verdict.key is None else f"[{_tell_value(verdict.key)}]"
    if verdict.members is not None:
        named = ", ".join(_tell_value(one) for one in verdict.members) or "nothing"
        count = len(verdict.members)
        lines = [f"{place}{key} had {count:,} members {when}, and no others: {named}."]
    elif (verdict.contract, verdict.variable) == (REGISTER, "positions") and isinstance(verdict.key, tuple):
        lines = [_describe_position(verdict, genesis, when)]
    elif verdict.value is None:
        lines = [f"{place}{key} held nothing {when}."]
    else:
        lines = [f"{place}{key} was {_tell_value(verdict.value)} {when}."]
    lines.append(f"The root of that state is {verdict.certification.header.state_root.hex()}.")
    return [*lines, *_describe_certification(verdict.certification, genesis)]


def _describe_position(verdict: StateVerdict, genesis: Genesis, when: str) -> str:
    account, instrument = verdict.key if isinstance(verdict.key, tuple) else ("", "")
    owner, what = _tell_account(account, genesis), _tell_instrument(instrument)
    if not isinstance(verdict.value, Mapping):
        return f"{owner} had nothing of {what} {when}."
    amounts = {name: amount for name, amount in verdict.value.items() if isinstance(amount, int)}
    told = ", ".join(f"{amount:,} {name.replace('_', ' ')}" for name, amount in amounts.items())
    return f"{owner} had of {what} {when}: {told}."


def _describe_event(event: Event, genesis: Genesis) -> str:
    fields = dict(event.fields)
    sentence = _SENTENCES.get(event.name) if event.contract == REGISTER else None
    if sentence is None:
        return f"{event.contract} announced {event.name}{_tell_fields(fields, genesis)}"
    told = {
        name: _tell_account(value, genesis)
        if name in _ACCOUNTS
        else _tell_instrument(value)
        if name == "instrument"
        else _tell(value)
        for name, value in fields.items()
    }
    try:
        return sentence.format(**told)
    except KeyError:
        # A later version of the contract may announce the same with other fields.
        return f"{event.contract} announced {event.name}{_tell_fields(fields, genesis)}"


def _describe_signer(status: SignerStatus, genesis: Genesis) -> str:
    owner = _tell_account(status.member, genesis)
    since = f"block {status.registered_height}" if status.registered_height else "genesis"
    return f"Signed with key {status.key_id.hex()} of {owner}, registered since {since} and not revoked."


def _describe_standing(verdict: ReceiptVerdict, genesis: Genesis) -> list[str]:
    if verdict.standing is None:
        return [_NO_STANDING] if any(one.name == MEMBERS_CONTRACT for one in genesis.contracts) else []
    lines: list[str] = []
    for one in verdict.standing:
        who = f"After that block {_tell_account(one.member, genesis)} was"
        if one.roles is None:
            lines.append(f"{who} no member.")
            continue
        named = ", ".join(_tell(role) for role in one.roles)
        known = f"{_tell(one.name)}, {f'LEI {_tell(one.lei)}' if one.lei else 'without an LEI'}"
        lines.append(f"{who} a member with {f'the roles {named}' if named else 'no role'}: {known}.")
        lines += [_describe_authority(one.member, held, verdict.block.time_ms) for held in one.authorities]
    return lines


def _describe_authority(member: str, held: AuthorityStanding, time_ms: int) -> str:
    since = f"block {held.added}" if held.added else "genesis"
    if held.certificate is None:
        return f"A CA of {_tell(member)}, since {since}, has no certificate that can be read."
    digest, valid_from_ms, valid_until_ms = held.certificate
    is_valid = valid_from_ms <= time_ms <= valid_until_ms
    span = f"{_tell_time(valid_from_ms)} to {_tell_time(valid_until_ms)}"
    return (
        f"A CA of {_tell(member)}, since {since}, had the certificate {digest.hex()} (SHA-256), "
        f"{'' if is_valid else 'not '}valid then ({span})."
    )


def _authority_to_json(held: AuthorityStanding) -> dict[str, Any]:
    digest, valid_from_ms, valid_until_ms = held.certificate or (b"", 0, 0)
    return {
        "added": held.added,
        "sha256": digest.hex(),
        "valid_from_ms": valid_from_ms,
        "valid_until_ms": valid_until_ms,
    }


def _describe_certification(certification: Certification, genesis: Genesis) -> list[str]:
    final, voters = certification.final_header, certification.voters
    named = ", ".join(f"{one.member}/{one.node}" for one in voters)
    trusted = certification.trusted
    since = "that the genesis names" if not trusted.epoch else f"pinned at epoch {trusted.epoch}"
    follow = "" if final.epoch == trusted.epoch else f", through {final.epoch - trusted.epoch} changes"
    return [
        f"Certified by {len(voters)} of the {certification.validator_count} validators of epoch "
        f"{final.epoch}: {named}.",
        f"They follow from the validators {since}{follow}; the network is {_tell(genesis.network)}, "
        f"{genesis.network_id.hex()}.",
    ]


def _tell_fields(fields: Mapping[str, Value], genesis: Genesis) -> str:
    told = ", ".join(
        f"{name} {_tell_account(value, genesis) if name in _ACCOUNTS else _tell_value(value)}"
        for name, value in fields.items()
    )
    return f" ({told})" if told else ""


def _tell_account(account: object, genesis: Genesis) -> str:
    """Return an account with the name of the member that it belongs to."""
    text = _tell(account)
    names = {str(one.member): one.name for one in genesis.members}
    name = names.get(text.partition("/")[0], "")
    return f"{text} ({_tell(name)})" if name and name != text else text


def _tell_instrument(instrument: object) -> str:
    text = _tell(instrument)
    return f"ISIN {text}" if _ISIN.fullmatch(text) else text


def _tell_value(value: Value) -> str:
    return _tell(value) if isinstance(value, bool | int | str) else _tell(json.dumps(value_to_json(value)))


def _tell(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return clip(str(value))


def _tell_time(time_ms: int) -> str:
    try:
        moment = datetime.fromtimestamp(time_ms // _MS, tz=UTC)
    except (OverflowError, OSError, ValueError):
        return f"{time_ms} ms after 1970"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{time_ms % _MS:03d} UTC"
