"""Changes of the members, their keys and their CAs: checked, and then drafted or sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from tanpo.cli.connecting import find_signers, load_signers, read_owners
from tanpo.cli.founding.cards import Facts, load_authority_pem, spell_fingerprint
from tanpo.cli.validators import check_proposer, check_votes
from tanpo.client import Client, save_draft
from tanpo.ledger.errors import LedgerError, Reason, UsageError
from tanpo.ledger.genesis import MEMBERS_CONTRACT
from tanpo.ledger.keys import PublicKey
from tanpo.ledger.membership import MemberAuthority, Registration
from tanpo.ledger.transaction import SIGNERS_MAX, Call
from tanpo.ledger.types import MemberId
from tanpo.node.authorities import find_bearers, load_dated, read_subject

MEMBERS_MAX: Final = (3 * SIGNERS_MAX - 1) // 2
"""With one more, all who can sign a transaction would be no more than two thirds: no vote could pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """Who signs a change, as the command line says it: further key files, or who is to sign a draft."""

    directory: Path | None
    keys: Sequence[Path]
    draft: Path | None
    signers: Sequence[str]
    valid_for_s: float


def make_admission(client: Client, facts: Facts, *, takes_over: bool = False) -> Call:
    """Return the call that admits the member of a card; it `takes_over` what a dismissed member left under
    its name, or else there must be none of that name.

    Raises:
        UsageError: after it no vote on members, roles or validators could pass any more, the newcomer's CA
            would count for nothing, or the name is (or is not) that of a dismissed member.
    """
    members = client.network.members()
    count = len(members)
    if count >= MEMBERS_MAX:
        raise UsageError(
            Reason.MISUSE,
            f"{SIGNERS_MAX} members, all that can sign a transaction, would be too few for any later vote",
            value=f"{count} members",
            limit=f"{MEMBERS_MAX} members",
            remedy="have the members agree on another contract `members` first, by `tanpo contract propose`",
        )
    _check_subjects(members, facts.member, (facts.ca_certificate,))
    _check_name(client, facts.member, takes_over=takes_over)
    return _make_call(
        "readmit" if takes_over else "admit",
        member=facts.member,
        name=facts.name,
        lei=facts.lei,
        granted=facts.roles,
        ca_certificate=facts.ca_certificate,
        keys=(facts.transaction_key,),
    )


def make_dismissal(member: str) -> Call:
    """Return the call that dismisses a member."""
    return _make_call("dismiss", member=member)


def make_key_change(entry: str, member: str, key: bytes) -> Call:
    """Return the call that adds a key of a member, or removes one."""
    return _make_call(entry, member=member, key=key)


def make_authority_change(client: Client, member: str, paths: Sequence[Path]) -> Call:
    """Return the call that makes these the CAs of a member.

    Raises:
        UsageError: a file holds no CA, one would count for nothing, or the change would lock out the client
            that asks for it.
    """
    certificates: list[bytes] = []
    authorities: list[x509.Certificate] = []
    for path in paths:
        try:
            pem = path.read_bytes()
        except OSError as error:
            raise UsageError(
                Reason.CONFIGURATION,
                f"{path} cannot be read: {error.strerror}",
                value=path,
                limit="a PEM file with the certificate of a CA",
                remedy="name the file of the CA",
            ) from None
        authorities.append(load_authority_pem(pem, str(path), member))
        certificates.append(pem)
    _check_subjects(client.network.members(), member, certificates)
    if member == client.config.identity.member:
        _check_stays_welcome(client, authorities)
    return _make_call("replace_authority", member=member, ca_certificates=tuple(certificates))


def agree(client: Client, call: Call, signing: Signing, *, own: str = "") -> dict[str, Any]:
    """Send a change, signed by all keys at hand, or draft it for the signers; return what was done.

    It is voted on, unless the member `own`, whom it concerns alone, is among those who sign.

    Raises:
        LedgerError: the network would refuse it, or did.
    """
    signers = load_signers(client, signing.directory, signing.keys)
    owners = read_owners(client)
    key_ids = find_signers(owners, signing.signers) if signing.signers else [one.key_id for one in signers]
    members = sorted({str(owners[one]) for one in key_ids if one in owners})
    if own not in members:
        check_votes(members, len(set(owners.values())))
    check_proposer(client.config.member, members)
    if signing.draft is not None:
        save_draft(signing.draft, client.build(call, signers=key_ids, valid_for_s=signing.valid_for_s))
        return {"draft": str(signing.draft), "signers": members}
    done = client.submit(call, signers=signers, valid_for_s=signing.valid_for_s).raise_for_failure()
    return {"height": done.height, "signers": members}


def describe_member(member: Registration) -> dict[str, Any]:
    """Return a member of now, for people and programs."""
    return {
        "member": str(member.member),
        "name": member.name,
        "lei": member.lei,
        "roles": list(member.roles),
        "key_ids": [_spell_key(key) for key in member.keys],
        "authorities": [_spell_authority(one) for one in member.authorities],
    }


def _check_subjects(members: Sequence[Registration], member: str, certificates: Sequence[bytes]) -> None:
    """Refuse CAs of a member if nodes would trust another member's instead, which had the subject first."""
    last = max((one.added for other in members for one in other.authorities), default=0)
    held = {
        one.certificate: one.added for other in members if other.member == member for one in other.authorities
    }
    wanted = Registration(
        member=MemberId(member),
        name="",
        lei="",
        roles=(),
        authorities=tuple(
            MemberAuthority(certificate=pem, added=held.get(pem, last + 1)) for pem in certificates
        ),
        keys=(),
    )
    dated = load_dated([*(one for one in members if one.member != member), wanted])
    bearers = find_bearers(dated)
    for certificate in dated[wanted.member]:
        bearer = bearers[read_subject(certificate)]
        if bearer != member and certificate not in dated[bearer]:
            raise UsageError(
                Reason.CONFIGURATION,
                f"a CA of {bearer} has the subject of this one, and had it first: nodes trust that one alone",
                value=certificate.subject.rfc4514_string(),
                limit="a subject that no other member's CA has",
                remedy="make a CA with a subject of its own, as `tanpo member authority create` does",
            )


def _check_name(client: Client, member: str, *, takes_over: bool) -> None:
    """Refuse to give away what a dismissed member left, unless that is wanted: accounts go by name."""
    left = cast(
        "Mapping[str, str | int]", client.query(MEMBERS_CONTRACT, "departure_of", member=member).value
    )
    if bool(left["height"]) == takes_over:
        return
    if takes_over:
        raise UsageError(
            Reason.MISUSE,
            "no member of this name was dismissed: there is nothing to take over",
            value=member,
            limit="the name of a member that was dismissed, and that nobody has now",
            remedy="leave out --takes-over, or correct the name",
        )
    raise UsageError(
        Reason.MISUSE,
        f"{left['name']} had this name until block {left['height']}: whoever is admitted under it takes over "
        "all that its accounts hold",
        value=member,
        limit="a name that was no member's",
        remedy="choose another name, or say --takes-over if these accounts are to be the newcomer's",
    )


def _check_stays_welcome(client: Client, authorities: Sequence[x509.Certificate]) -> None:
    """Refuse to let a CA go that issued the very certificate with which this client connects: the node would
    not answer it again, so that nobody could mend the change from here."""
    leaf = x509.load_pem_x509_certificate(client.config.identity.certificate)
    for authority in authorities:
        try:
            leaf.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return
    raise UsageError(
        Reason.CONFIGURATION,
        "none of these CAs issued the certificate of this profile: the node would not let it in again",
        value=leaf.issuer.rfc4514_string(),
        limit=" or ".join(spell_fingerprint(one) for one in authorities),
        remedy="name the old CA beside the new one, and issue every certificate anew before the old one goes",
    )


def _make_call(entry: str, **arguments: Any) -> Call:
    return Call.create(MEMBERS_CONTRACT, entry, arguments)


def _spell_key(encoded: bytes) -> str:
    try:
        return PublicKey.decode(encoded).key_id.hex()
    except LedgerError:
        return f"none: {encoded.hex()}"  # The contract sees the form of a key alone.


def _spell_authority(authority: MemberAuthority) -> dict[str, object]:
    try:
        certificate = x509.load_pem_x509_certificate(authority.certificate)
    except (ValueError, x509.InvalidVersion):
        return {"sha256": "none", "valid_until": "", "added": authority.added}
    until = certificate.not_valid_after_utc.isoformat(timespec="seconds")
    return {"sha256": spell_fingerprint(certificate), "valid_until": until, "added": authority.added}
