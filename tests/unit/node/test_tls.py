from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.genesis import Genesis, Member, Parameters
from tanpo.ledger.types import MemberId
from tanpo.node.identity import Role
from tanpo.node.pki import Authority, compute_host_name, create_authority, issue_certificate
from tanpo.node.tls import (
    compute_peer_channel_options,
    compute_server_options,
    load_rotating_server_credentials,
    read_pem,
)

ALPHA = MemberId("alpha")


def test_server_settings_are_those_of_the_design() -> None:
    assert dict(compute_server_options(4)) == {
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.min_ping_interval_without_data_ms": 10_000,
        "grpc.so_reuseport": 0,
        "grpc.max_receive_message_length": 4,
        "grpc.max_send_message_length": 4,
        "grpc.http2.bdp_probe": 1,
    }


def test_channel_settings_are_those_of_the_design() -> None:
    options = dict(compute_peer_channel_options(ALPHA, "n1"))
    assert options["grpc.keepalive_time_ms"] == 20_000
    assert options["grpc.keepalive_timeout_ms"] == 10_000
    assert options["grpc.keepalive_permit_without_calls"] == 1
    assert options["grpc.http2.max_pings_without_data"] == 0
    assert options["grpc.max_receive_message_length"] == 16 * 1024 * 1024
    assert options["grpc.ssl_target_name_override"] == "n1.alpha.tanpo"


def test_only_node_certificates_carry_host_names() -> None:
    authority = create_authority(ALPHA, "testnet")
    node = x509.load_pem_x509_certificate(
        issue_certificate(authority, Role.NODE, "n1", dns_names=["10.0.0.7", "ledger.example"]).certificate
    )
    client = x509.load_pem_x509_certificate(issue_certificate(authority, Role.CLIENT, "n1").certificate)
    names = node.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    client_names = client.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [
        compute_host_name(ALPHA, "n1"),
        "localhost",
        "ledger.example",
    ]
    assert len(names.get_values_for_type(x509.IPAddress)) == 3
    assert client_names.get_values_for_type(x509.DNSName) == []


def test_authority_survives_its_files() -> None:
    authority = create_authority(ALPHA, "testnet")
    loaded = Authority.load(ALPHA, authority.certificate_pem, authority.private_key_pem)
    assert loaded.certificate == authority.certificate
    other = create_authority(ALPHA, "testnet")
    with pytest.raises(UsageError, match="does not belong"):
        Authority.load(ALPHA, authority.certificate_pem, other.private_key_pem)
    with pytest.raises(UsageError, match="not PEM"):
        Authority.load(ALPHA, b"x", authority.private_key_pem)


def test_holder_with_an_unusable_name_is_refused() -> None:
    with pytest.raises(UsageError, match="is not a name"):
        issue_certificate(create_authority(ALPHA, "testnet"), Role.CLIENT, "a:b")


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PRIVATE KEY-----\n"])
def test_file_without_the_expected_pem_is_named_with_its_key(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "node.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"tls\.certificate") as caught:
        read_pem(path, "tls.certificate", ("CERTIFICATE",))
    assert caught.value.reason is Reason.CONFIGURATION
    assert caught.value.value == str(path)


def test_grpc_is_given_each_configuration_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It frees what it is given: a configuration that it gets twice ends the process by a signal."""
    fetchers: list[Callable[[], object]] = []
    make = grpc.dynamic_ssl_server_credentials

    def note(initial: Any, fetch: Any, **options: bool) -> Any:
        fetchers.append(fetch)
        return make(initial, fetch, **options)

    monkeypatch.setattr(grpc, "dynamic_ssl_server_credentials", note)
    authority = create_authority(ALPHA, "testnet")
    issued = [issue_certificate(authority, Role.NODE, "n1") for _ in range(2)]
    shown = issued[0]
    roots = authority.certificate_pem
    load_rotating_server_credentials(lambda: roots, lambda: (shown.certificate, shown.private_key))
    (fetch,) = fetchers

    assert fetch() is None
    shown = issued[1]
    second = fetch()
    assert second is not None
    assert fetch() is None
    shown = issued[0]
    assert fetch() not in (None, second)
    roots += create_authority(ALPHA, "testnet").certificate_pem
    assert fetch() is not None
    assert fetch() is None


def make_genesis(authority: Authority) -> Genesis:
    member = Member(
        member=ALPHA, name="Alpha", lei="", roles=(), ca_certificate=authority.certificate_pem, keys=()
    )
    return Genesis(
        network="testnet", time_ms=0, parameters=Parameters(), members=(member,), validators=(), contracts=()
    )


def test_a_certificate_changes_while_many_connect_and_the_process_lives() -> None:
    program = Path(__file__).with_name("rotating_server.py")
    done = subprocess.run(
        [sys.executable, program, "300"], capture_output=True, text=True, check=False, timeout=100
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 300
