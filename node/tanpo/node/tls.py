"""mTLS credentials, and the channel settings that belong to every connection.

A server asks for a certificate of any member and `identity` binds it to its member afterwards; a client
trusts the CA of the one member it dials, under the host name that only that member's node holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import grpc
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.types import MemberId
from tanpo.node.operator_files import read_operator_file
from tanpo.node.pki import compute_host_name

ChannelOptions = tuple[tuple[str, int | str], ...]

PEER_MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
CLIENT_MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024

_MARKER: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"

_KEEPALIVE_CLIENT: Final[ChannelOptions] = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
_KEEPALIVE_SERVER: Final[ChannelOptions] = (
    ("grpc.keepalive_permit_without_calls", 1),
    # Less than the clients' 20 s, or they would be cut off for pinging too often. There is no "recv" in it.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # A second node on the port must fail, not share it.
    ("grpc.so_reuseport", 0),
)


def compute_server_options(message_bytes_max: int) -> ChannelOptions:
    """Return the settings of a listening port."""
    return (*_KEEPALIVE_SERVER, *_compute_common_options(message_bytes_max))


def compute_peer_channel_options(member: MemberId, node: str) -> ChannelOptions:
    """Return the settings of a channel to a peer."""
    return (
        *_KEEPALIVE_CLIENT,
        *_compute_common_options(PEER_MESSAGE_BYTES_MAX),
        ("grpc.ssl_target_name_override", compute_host_name(member, node)),
        # A web proxy that is in the environment (`http_proxy`) is not on the way to a peer (ADR 30).
        ("grpc.enable_http_proxy", 0),
        # Every attempt is a channel of its own: the transport decides when to try again, not a shared
        # subchannel that has backed off.
        ("grpc.use_local_subchannel_pool", 1),
    )


def load_server_credentials(roots: bytes, certificate: bytes, private_key: bytes) -> grpc.ServerCredentials:
    """Return credentials that demand a certificate from every caller, issued by one of these CAs, PEM."""
    return grpc.ssl_server_credentials(
        [(private_key, certificate)], root_certificates=roots, require_client_auth=True
    )


def load_rotating_server_credentials(
    read_roots: Callable[[], bytes], read_pair: Callable[[], tuple[bytes, bytes]]
) -> grpc.ServerCredentials:
    """Return the same for CAs, a certificate and a key that may change: each handshake goes by those of then.

    They are good for one port: another one needs its own. Both functions are called on threads of gRPC.
    """

    def configure(roots: bytes, certificate: bytes, key: bytes) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=roots)

    shown = (read_roots(), *read_pair())

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        now = (read_roots(), *read_pair())
        if now == shown:
            return None  # To gRPC: go on with what there is.
        shown = now
        # A new one each time: gRPC frees what it is given, and given it again it crashes the process.
        return configure(*now)

    return grpc.dynamic_ssl_server_credentials(
        configure(*shown),
        fetch,  # type: ignore[arg-type]  # the stubs do not know of None, which gRPC documents
        require_client_authentication=True,
    )


def load_channel_credentials(
    authority: bytes, certificate: bytes, private_key: bytes
) -> grpc.ChannelCredentials:
    """Return credentials that trust the CAs of one member, PEM, and present our certificate."""
    return grpc.ssl_channel_credentials(
        root_certificates=authority, private_key=private_key, certificate_chain=certificate
    )


def read_pem(path: Path, key: str, markers: Iterable[str]) -> bytes:
    """Return a PEM file named by a configuration key, or say what is wrong with it.

    Raises:
        UsageError: the file cannot be read or holds none of the PEM blocks in `markers`.
    """
    try:
        data = read_operator_file(path)
    except OSError as error:
        raise UsageError(
            Reason.CONFIGURATION,
            f"{key}: cannot read {path}: {error.strerror}",
            value=path,
            limit="a readable PEM file",
            remedy=f"correct {key} or the file's permissions",
        ) from None
    if not any(f"-----BEGIN {marker}-----".encode() in data for marker in markers):
        raise UsageError(
            Reason.CONFIGURATION,
            f"{key}: {path} holds no {' or '.join(markers)}, but {_describe(data)}",
            value=path,
            limit="a PEM file",
            remedy="the node has no passphrase: write the key without one (`openssl pkey -in FILE -out NEW`)"
            if _ENCRYPTED in data
            else f"let {key} name the right file",
        )
    return data


def _describe(data: bytes) -> str:
    """Return what a file holds that should have been another, by the names of its PEM blocks alone."""
    if not data:
        return "nothing at all"
    return " and ".join(sorted({name.decode() for name in _MARKER.findall(data)})) or "no PEM block"


def _compute_common_options(message_bytes_max: int) -> ChannelOptions:
    return (
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.max_send_message_length", message_bytes_max),
        ("grpc.http2.bdp_probe", 1),
    )
