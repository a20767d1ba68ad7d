"""What `tanpo cert` does with files: issue certificates or ask for them, and say what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from tanpo.cli.founding.cards import check_host
from tanpo.cli.founding.creating import SECRET_MODE, create_file, refuse_existing
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.types import MemberId
from tanpo.node.identity import Caller, Role, find_caller
from tanpo.node.pki import Authority, create_authority, create_request, issue_certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The certificate that is asked for."""

    member: str
    role: str
    name: str
    hosts: tuple[str, ...]


def issue_files(wanted: Wanted, days: int, ca: Path, ca_key: Path, folder: Path) -> tuple[Path, Path]:
    """Write a new certificate and its key, and return their paths.

    Raises:
        UsageError: the role, a host name or the CA is none, only nodes have hosts, or there are such files.
    """
    caller = _check_wanted(wanted)
    authority = Authority.load(caller.member, ca.read_bytes(), ca_key.read_bytes())
    issued = issue_certificate(
        authority, caller.role, caller.name, dns_names=wanted.hosts, valid_for=timedelta(days=days)
    )
    return _write_pair(folder, wanted.name, "crt", issued.certificate, issued.private_key)


def request_files(wanted: Wanted, folder: Path) -> tuple[Path, Path]:
    """Write a new key, and the request for its certificate that goes to a CA; return their paths, the
    request's first. Raises as `issue_files` does."""
    made = create_request(_check_wanted(wanted), wanted.hosts)
    return _write_pair(folder, wanted.name, "csr", made.request, made.private_key)


def create_authority_files(member: str, organisation: str, folder: Path) -> tuple[Path, Path]:
    """Write the certificate and the key of a new CA, and return their paths.

    Raises:
        UsageError: the member's name or the institution's is none, or there are such files.
    """
    command = "member authority create"
    if find_caller(Caller(member=MemberId(member), role=Role.NODE, name="any").uri) is None:
        limit = "a-z, 0-9, '-' and '_', a letter first, 48 at most"
        raise _misuse("this is no name of a member", member, limit, command)
    if not organisation.strip():
        raise _misuse("the institution has no name", repr(organisation), "a name", command)
    made = create_authority(MemberId(member), organisation)
    return _write_pair(folder, "ca", "crt", made.certificate_pem, made.private_key_pem)


def describe_certificate(path: Path) -> dict[str, object]:
    """Return what is in a certificate, as commands print it. Raises `UsageError` if it is none."""
    try:
        leaf = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        raise _misuse("this is no certificate", path, "a PEM certificate") from None
    return {
        "certificate": str(path),
        "holder": ", ".join(_list_names(leaf, x509.UniformResourceIdentifier)),
        "hosts": ", ".join([*_list_names(leaf, x509.DNSName), *_list_addresses(leaf)]),
        "subject": leaf.subject.rfc4514_string(),
        "issuer": leaf.issuer.rfc4514_string(),
        "serial": f"{leaf.serial_number:X}",
        "valid_from": spell_time(leaf.not_valid_before_utc.timestamp()),
        "valid_until": spell_time(leaf.not_valid_after_utc.timestamp()),
        "days_left": (leaf.not_valid_after_utc - datetime.now(UTC)).days,
    }


def spell_time(seconds: float) -> str:
    """Return a Unix time as people and programs read it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _check_wanted(wanted: Wanted) -> Caller:
    if wanted.role not in tuple(Role):
        raise _misuse("there is no such role", wanted.role, ", ".join(Role))
    if wanted.hosts and wanted.role != Role.NODE:
        raise _misuse("only a node's certificate has host names", wanted.role, Role.NODE)
    for host in wanted.hosts:
        check_host(host)
    return Caller(member=MemberId(wanted.member), role=Role(wanted.role), name=wanted.name)


def _write_pair(folder: Path, name: str, kind: str, public: bytes, private: bytes) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    first, key = folder / f"{name}.{kind}", folder / f"{name}.key"
    for path in (first, key):
        if path.exists():
            raise refuse_existing(path)
    create_file(key, private, SECRET_MODE)
    create_file(first, public)
    return first, key


def _list_names(
    leaf: x509.Certificate, kind: type[x509.UniformResourceIdentifier | x509.DNSName]
) -> list[str]:
    found = _find_alternatives(leaf)
    return [] if found is None else found.get_values_for_type(kind)


def _list_addresses(leaf: x509.Certificate) -> list[str]:
    found = _find_alternatives(leaf)
    return [] if found is None else [str(one) for one in found.get_values_for_type(x509.IPAddress)]


def _find_alternatives(leaf: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _misuse(why: str, value: object, limit: object, command: str = "cert") -> UsageError:
    return UsageError(Reason.MISUSE, why, value=value, limit=limit, remedy=f"see `tanpo {command} --help`")
