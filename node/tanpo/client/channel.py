"""How a client connects: mTLS, keepalive and size limits, the same for both kinds of channel."""

from __future__ import annotations

from typing import Final

import grpc
from tanpo.client.identity import Identity

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024

_OPTIONS: Final[tuple[tuple[str, int | str], ...]] = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.bdp_probe", 1),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # gRPC would wait up to two minutes before dialling a node again that had been away.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Retrying is ours: it must send the same bytes, count against one deadline and change nodes.
    ("grpc.enable_retries", 0),
    # A web proxy that is in the environment (`http_proxy`) is not on the way to a node (ADR 30).
    ("grpc.enable_http_proxy", 0),
    # Each client owns its connections: closing one must not depend on another's backing off.
    ("grpc.use_local_subchannel_pool", 1),
)


def compute_channel_options(identity: Identity) -> tuple[tuple[str, int | str], ...]:
    """Return the settings of a channel to a node."""
    if not identity.target_name:
        return _OPTIONS
    return (*_OPTIONS, ("grpc.ssl_target_name_override", identity.target_name))


def load_credentials(identity: Identity) -> grpc.ChannelCredentials:
    """Return credentials that present our certificate and trust the identity's CAs."""
    return grpc.ssl_channel_credentials(
        root_certificates=identity.authorities,
        private_key=identity.private_key,
        certificate_chain=identity.certificate,
    )
