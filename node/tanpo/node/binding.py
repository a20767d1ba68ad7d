"""Why a port cannot be listened on: gRPC does not say, the operating system does."""

from __future__ import annotations

import errno
import os
import socket

from tanpo.ledger.errors import LedgerError, Reason, UsageError
from tanpo.node.config import split_address


def find_bind_error(address: str) -> OSError | None:
    """Return why an address cannot be listened on now, None if it can."""
    host, port = split_address(address)
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As gRPC and asyncio do: connections that linger after a restart are no other listener.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen()
    except socket.gaierror:
        return OSError(errno.EADDRNOTAVAIL, "unknown host")
    except OSError as error:
        return error
    return None


def explain_bind(key: str, address: str, error: OSError) -> LedgerError:
    """Return what to tell an operator whose port cannot be bound."""
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            Reason.PORT_IN_USE,
            f"{key}: another process listens on {address}",
            value=address,
            limit="a free port",
            remedy=f"stop that process (`ss -ltnp` names it) or change {key}",
        )
    return UsageError(
        Reason.CONFIGURATION,
        f"{key}: cannot listen on {address}: {os.strerror(error.errno or 0)}",
        value=address,
        limit="an address of this machine and a port it may use",
        remedy=f"change {key}",
    )
