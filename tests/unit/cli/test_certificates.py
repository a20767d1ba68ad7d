"""Files of a node that others gave it: what a CA elsewhere issued, and keys that are not its own."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from tanpo.cli.layout import MemberFiles
from tanpo.cli.network import LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.ledger.types import MemberId
from tanpo.node.pki import Authority
from tanpo.testing.commands import read_json_here, run_tanpo_here

MEMBER: Final = "dealer-a"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    """The files of a network that nobody starts."""
    made = LocalNetwork.create(tmp_path_factory.mktemp("net") / ".net", plan_network(4, None))
    yield made
    made.stop()  # It holds its ports.


@pytest.fixture
def files(network: LocalNetwork) -> MemberFiles:
    return network.folder.get_member(MEMBER)


def ask(folder: Path, *options: str, name: str = "node-1") -> tuple[Path, Path]:
    made = read_json_here("cert", "request", "node", name, "--member", MEMBER, "--out", str(folder), *options)
    return Path(made["request"]), Path(made["key"])


def sign(request: Path, files: MemberFiles, *, days: int = 90, leaves_out: type[Any] | None = None) -> Path:
    """Do what a CA does: issue what the request asks for, as far as its rules let it."""
    asked = x509.load_pem_x509_csr(request.read_bytes())
    authority = Authority.load(MemberId(MEMBER), *(path.read_bytes() for path in files.pem("ca")))
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(asked.subject)
        .issuer_name(authority.certificate.subject)
        .public_key(asked.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
    )
    for extension in asked.extensions:
        if leaves_out is None or not isinstance(extension.value, leaves_out):
            builder = builder.add_extension(extension.value, critical=extension.critical)
    issued = request.with_suffix(".crt")
    certificate = builder.sign(authority.private_key, hashes.SHA256())
    issued.write_bytes(certificate.public_bytes(Encoding.PEM))
    return issued


def install(files: MemberFiles, certificate: Path, key: Path) -> tuple[str, ...]:
    return ("cert", "install", str(files.config), "--certificate", str(certificate), "--key", str(key))


def test_the_key_stays_where_the_request_is_made_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    request, key = ask(tmp_path, "--host", "node.example.com", "--host", "192.0.2.7")
    asked = x509.load_pem_x509_csr(request.read_bytes())
    names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert asked.is_signature_valid
    assert b"PRIVATE" not in request.read_bytes()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["tanpo:dealer-a:node:node-1"]
    assert "node.example.com" in names.get_values_for_type(x509.DNSName)
    assert "192.0.2.7" in map(str, names.get_values_for_type(x509.IPAddress))


def test_no_request_is_written_over(tmp_path: Path) -> None:
    _, key = ask(tmp_path)
    kept = key.read_bytes()

    done = run_tanpo_here("cert", "request", "node", "node-1", "--member", MEMBER, "--out", str(tmp_path))

    assert (done.returncode, "there is such a file already" in done.stderr) == (1, True)
    assert key.read_bytes() == kept


def test_what_the_ca_issued_is_installed_and_the_files_of_before_stay(
    files: MemberFiles, tmp_path: Path
) -> None:
    request, key = ask(tmp_path, "--host", "192.0.2.7")
    places = files.pem("node")
    before = [place.read_bytes() for place in places]

    installed = read_json_here(*install(files, sign(request, files), key))

    assert (installed["holder"], installed["days_left"]) == ("tanpo:dealer-a:node:node-1", 89)
    assert "192.0.2.7" in installed["hosts"]
    assert places[1].read_bytes() == key.read_bytes()
    assert [place.with_name(f"{place.name}.before").read_bytes() for place in places] == before
    assert stat.S_IMODE(places[1].stat().st_mode) == 0o600
    assert run_tanpo_here("node", "config", "check", str(files.config)).returncode == 0
    assert not list(files.root.glob("*.installing"))


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("names left out", "names no single holder"),
        ("purposes left out", "is not for server authentication"),
        ("expired", "has expired"),
        ("another node", "names another holder"),
        ("another key", "tls.key does not belong to tls.certificate"),
        ("another member's CA", "was not issued by the CA of dealer-a"),
        ("no certificate", "holds no CERTIFICATE"),
        ("no file", "cannot read"),
    ],
)
def test_what_a_start_would_refuse_is_not_installed(
    case: str, words: str, files: MemberFiles, network: LocalNetwork, tmp_path: Path
) -> None:
    request, key = ask(tmp_path, name="node-2" if case == "another node" else "node-1")
    left_out = {"names left out": x509.SubjectAlternativeName, "purposes left out": x509.ExtendedKeyUsage}
    authority = network.folder.get_member("dealer-b") if case == "another member's CA" else files
    issued = sign(request, authority, days=-1 if case == "expired" else 90, leaves_out=left_out.get(case))
    if case == "another key":
        key = files.pem("node")[1]
    elif case == "no certificate":
        issued.write_bytes(request.read_bytes())
    elif case == "no file":
        issued.unlink()
    kept = [place.read_bytes() for place in files.pem("node")]

    done = run_tanpo_here(*install(files, issued, key))

    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert "the one before stays" in done.stderr
    assert [place.read_bytes() for place in files.pem("node")] == kept


def test_a_check_names_the_validator_whose_key_this_is(files: MemberFiles, network: LocalNetwork) -> None:
    own = files.validator_key.read_bytes()
    files.validator_key.write_bytes(network.folder.get_member("dealer-b").validator_key.read_bytes())

    done = run_tanpo_here("node", "config", "check", str(files.config), "-o", "json")
    files.validator_key.write_bytes(own)

    assert done.returncode == 0
    assert "is the key that genesis names for dealer-b/node-1" in done.stdout


def make_authority(folder: Path) -> tuple[str, ...]:
    return ("member", "authority", "create", str(folder), "--member", MEMBER, "--name", "Asagao Securities")


def test_a_certificate_of_another_ca_is_installed_with_that_ca_or_not_at_all(
    files: MemberFiles, tmp_path: Path
) -> None:
    made = read_json_here(*make_authority(tmp_path))
    issued = read_json_here(
        *("cert", "issue", "node", "node-1", "--member", MEMBER, "--out", str(tmp_path / "new")),
        *("--ca", made["certificate"], "--ca-key", made["key"]),
    )
    wanted = install(files, Path(issued["certificate"]), Path(issued["key"]))
    place = files.pem("ca")[0]
    before = place.read_bytes()

    refused = run_tanpo_here(*wanted)
    assert (refused.returncode, "was not issued by the CA of dealer-a" in refused.stderr) == (1, True)
    no_authority = run_tanpo_here(*wanted, "--ca", issued["key"])
    assert (no_authority.returncode, "holds no CERTIFICATE" in no_authority.stderr) == (1, True)
    assert place.read_bytes() == before

    read_json_here(*wanted, "--ca", made["certificate"])
    assert place.read_bytes() == Path(made["certificate"]).read_bytes()
    assert place.with_name("ca.crt.before").read_bytes() == before
    place.write_bytes(before)


def test_another_ca_has_a_key_that_only_its_owner_reads_and_is_not_written_over(tmp_path: Path) -> None:
    made = read_json_here(*make_authority(tmp_path))
    assert stat.S_IMODE(Path(made["key"]).stat().st_mode) == 0o600
    assert re.fullmatch("CN=dealer-a CA [0-9a-f]{8},O=Asagao Securities", str(made["subject"]))
    assert made["issuer"] == made["subject"]

    again = run_tanpo_here(*make_authority(tmp_path))
    assert (again.returncode, "there is such a file already" in again.stderr) == (1, True)
    for member, name, words in (("Dealer A", "x", "no name of a member"), (MEMBER, " ", "has no name")):
        done = run_tanpo_here(
            *("member", "authority", "create", str(tmp_path / "none")), "--member", member, "--name", name
        )
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
        assert "`tanpo member authority create --help`" in done.stderr
    assert not (tmp_path / "none").exists()
