from __future__ import annotations

import pytest
from tanpo.node.link_errors import explain_link_failure

CONNECT = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
VERIFY = (
    "Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:"
    "OPENSSL_internal:CERTIFICATE_VERIFY_FAILED"
)


@pytest.mark.parametrize(
    ("details", "said"),
    [
        (f"{CONNECT}{VERIFY}: certificate has expired", "is refused: certificate has expired"),
        (
            f"{CONNECT}{VERIFY}: unable to get local issuer certificate",
            "is refused: unable to get local issuer certificate",
        ),
        (f"{CONNECT}{VERIFY}: certificate has expired (more)", "is refused: certificate has expired"),
        (f"{CONNECT}{VERIFY}", "is refused: it does not verify"),
        (f"{CONNECT}Hostname Verification Check failed.", "is refused: it does not name n1.m1.tanpo"),
        (
            f"{CONNECT}Peer name n1.m1.tanpo is not in peer certificate",
            "is refused: it does not name n1.m1.tanpo",
        ),
        (
            f"{CONNECT}Handshake read failed (Socket closed)",
            "it does not run, cannot be reached, or refuses our TLS certificate",
        ),
        (f"{CONNECT}Connection refused (111)", "UNAVAILABLE: Connection refused (111)"),
        ("Stream removed (Socket closed)", "UNAVAILABLE: Stream removed (Socket closed)"),
        ("", "UNAVAILABLE: "),
    ],
)
def test_what_grpc_says_of_a_link_becomes_a_cause(details: str, said: str) -> None:
    assert said in explain_link_failure("UNAVAILABLE", details, "n1.m1.tanpo")
