"""Free loopback ports for a local network.

Ports come from below the range from which the kernel takes the near end of outgoing connections: a port
from that range could be taken by a node dialling another before its owner listens on it.
"""

from __future__ import annotations

import secrets
import socket
from typing import Final

from tanpo.ledger.errors import Reason, Unavailable, UsageError

LOOPBACK: Final = "127.0.0.1"
SLOT_PORTS: Final = 64
"""Ports in one slot: a claim and three for each of up to 21 nodes."""
_FIRST: Final = 18_000
_SLOTS: Final = 220
_ATTEMPTS: Final = 60


class PortSlot:
    """A run of free ports. Its first is held until `release`, so that two networks never pick one slot."""

    def __init__(self, claim: socket.socket, base: int) -> None:
        self._claim = claim
        self.base = base

    def release(self) -> None:
        """Give up the claim; the network's own listeners hold the slot by now."""
        self._claim.close()


def claim_slot(count: int) -> PortSlot:
    """Return a slot whose next `count` ports after the claim are free.

    Raises:
        Unavailable: no slot was found in a bounded number of attempts.
    """
    for _ in range(_ATTEMPTS):
        base = _FIRST + secrets.randbelow(_SLOTS) * SLOT_PORTS
        claim = _try_bind(base)
        if claim is None:
            continue
        if all(is_free(base + 1 + offset) for offset in range(count)):
            return PortSlot(claim, base + 1)
        claim.close()
    raise Unavailable(
        Reason.CONFIGURATION,
        "no run of free loopback ports was found",
        value=f"{_ATTEMPTS} attempts",
        limit=f"{_FIRST}..{_FIRST + _SLOTS * SLOT_PORTS - 1}",
        remedy="stop other networks, or choose ports with --base-port",
    )


def check_ports(base: int, count: int) -> None:
    """Raise `UsageError` naming the first of `count` ports from `base` that is taken or not a port."""
    if not (base >= 1024 and base + count - 1 <= 65_535):
        raise UsageError(
            Reason.CONFIGURATION,
            "the ports are out of range",
            value=f"{base}..{base + count - 1}",
            limit="1024..65535",
            remedy="choose another --base-port, or `auto`",
        )
    for port in range(base, base + count):
        if not is_free(port):
            raise UsageError(
                Reason.CONFIGURATION,
                "a port is in use",
                value=f"{LOOPBACK}:{port}",
                limit="a free port",
                remedy="stop what listens there, choose another --base-port, or `auto`",
            )


def is_free(port: int) -> bool:
    """Return whether nothing listens on a loopback port."""
    found = _try_bind(port)
    if found is None:
        return False
    found.close()
    return True


def _try_bind(port: int) -> socket.socket | None:
    candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        candidate.bind((LOOPBACK, port))
        # With SO_REUSEADDR two sockets may be bound to one port until one of them listens.
        candidate.listen(1)
    except OSError:
        candidate.close()
        return None
    return candidate
