"""What a member keeps to itself, and the certificates that its CA issues."""

from __future__ import annotations

from dataclasses import dataclass

from tanpo.cli.founding.creating import SECRET_MODE, create_file
from tanpo.cli.layout import MemberFiles
from tanpo.client.keyfile import save_key
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import MemberId
from tanpo.node.identity import Role
from tanpo.node.pki import Authority, create_authority, issue_certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSecrets:
    """The private keys of one member: its CA's, the one that its node votes with, and the one that signs its
    transactions."""

    authority: Authority
    validator: PrivateKey
    transaction: PrivateKey


def create_secrets(member: MemberId, organisation: str) -> MemberSecrets:
    """Return new keys. The CA's certificate names the organisation."""
    return MemberSecrets(
        authority=create_authority(member, organisation),
        validator=PrivateKey.generate(),
        transaction=PrivateKey.generate(),
    )


def write_authority(files: MemberFiles, authority: Authority) -> None:
    """Write the CA's certificate and key."""
    certificate, private_key = files.pem("ca")
    create_file(certificate, authority.certificate_pem)
    create_file(private_key, authority.private_key_pem, SECRET_MODE)


def write_client_secrets(files: MemberFiles, secrets: MemberSecrets) -> None:
    """Write what acts for the member: the transaction key, certificates of a client and an operator."""
    for role, name in ((Role.CLIENT, "client"), (Role.OPERATOR, "operator")):
        _issue(files, secrets.authority, role, name)
    save_key(files.transaction_key, secrets.transaction)


def write_node_secrets(
    files: MemberFiles, authority: Authority, name: str, hosts: tuple[str, ...] = ()
) -> None:
    """Write the certificate and the key of a node, and the CA that it believes for its own member.

    `hosts` are further names that the node is reached by.
    """
    certificate = files.pem("ca")[0]
    if not certificate.exists():  # It is there where a member has one folder for everything.
        create_file(certificate, authority.certificate_pem)
    _issue(files, authority, Role.NODE, name, hosts)


def _issue(
    files: MemberFiles, authority: Authority, role: Role, name: str, hosts: tuple[str, ...] = ()
) -> None:
    issued = issue_certificate(authority, role, name, dns_names=hosts)
    certificate, private_key = files.pem(role.value)
    create_file(certificate, issued.certificate)
    create_file(private_key, issued.private_key, SECRET_MODE)
