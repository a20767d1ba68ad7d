"""Going over to another certificate while the node runs.

The files are checked as at a start, all of them, before anything changes: a node that took over a certificate
which its peers refuse would lose them one by one. From then on each handshake shows the new one, and the
links to the peers are opened anew, one after the other. Connections of others last until they end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from tanpo.ledger.errors import LedgerError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import MemberId
from tanpo.node.authorities import Authorities
from tanpo.node.config import NodeConfig
from tanpo.node.credentials import (
    CurrentCredentials,
    check_authority,
    check_certificate,
    load_credentials,
    load_own_authority,
    read_serial,
    read_valid_until,
    spell_authority,
)
from tanpo.node.dialling import find_peers
from tanpo.node.findings import Finding, fault
from tanpo.node.logs import get_logger
from tanpo.node.metrics import Metrics
from tanpo.node.peer_link import PeerAddress

_LOG: Final = get_logger("certificate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """The certificate in use now, and whether it was another before."""

    is_changed: bool
    serial: str
    valid_until: datetime


class Rotation:
    """Reads a node's certificate files again, when its operator says so."""

    def __init__(
        self,
        *,
        config: NodeConfig,
        genesis: Genesis,
        current: CurrentCredentials,
        authorities: Authorities,
        renew_links: Callable[[Sequence[PeerAddress]], Awaitable[None]],
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._genesis = genesis
        self._current = current
        self._authorities = authorities
        self._renew_links = renew_links
        self._metrics = metrics
        self._turn = asyncio.Lock()

    async def rotate(self) -> Rotated:
        """Take over what the files hold now, and return when the links to the peers have gone over.

        Raises:
            UsageError: something is wrong with them, all of which the message tells; nothing has changed.
        """
        async with self._turn:
            self._check()
            old = self._current.value
            read = load_credentials(self._config, self._genesis)
            self._authorities.trust_own(load_own_authority(self._config))
            # The validator's key is no part of this: another one has to be voted in.
            new = replace(read, signing_key=old.signing_key)
            is_changed = (new.certificate, new.private_key) != (old.certificate, old.private_key)
            if is_changed:
                self._current.replace(new)
                note_expiry(self._metrics, self._config, new.valid_until)
                await self._renew_links(find_peers(self._config, self._authorities, new))
            rotated = Rotated(
                is_changed=is_changed, serial=read_serial(new.certificate), valid_until=new.valid_until
            )
            _LOG.warning(
                "certificate rotated" if is_changed else "certificate is in use already",
                serial=rotated.serial,
                valid_until=new.valid_until.isoformat(),
                before=read_serial(old.certificate),
            )
            return rotated

    def _check(self) -> None:
        found = [
            *check_authority(self._config, self._genesis),
            *check_certificate(self._config),
            *self._check_agreed(),
        ]
        faults = [one.error for one in found if one.is_fault]
        if not faults:
            return
        first = faults[0]
        told = "; ".join(error.message for error in faults)
        _LOG.error("certificate not rotated", why=told)
        raise first.retell(f"the certificate is not taken over, the one before stays in use: {told}")

    def _check_agreed(self) -> Iterator[Finding]:
        """Find that the other members do not know the CA yet: their nodes would let this one go."""
        agreed = self._authorities.find_agreed(MemberId(self._config.member))
        try:
            authority = load_own_authority(self._config)
        except LedgerError:
            return  # Found where the CA itself is looked at.
        # A member that is not admitted has no peers to lose.
        if agreed and authority not in agreed:
            yield fault(
                "tls.ca",
                f"is not a CA that the members know of {self._config.member}: they would not let it in",
                value=spell_authority(authority),
                limit=" or ".join(spell_authority(one) for one in agreed),
                remedy="add it beside the old one first (`tanpo member authority replace OLD NEW`)",
            )


def note_expiry(metrics: Metrics, config: NodeConfig, valid_until: datetime) -> None:
    """Let the metrics tell when the node's certificate and its CA expire."""
    metrics.certificate_expiry_seconds.labels("node").set(valid_until.timestamp())
    try:
        authority_until = read_valid_until(config.tls.ca, "tls.ca")
    except LedgerError:
        return  # It was read a moment ago; a metric is no reason to stop.
    metrics.certificate_expiry_seconds.labels("authority").set(authority_until.timestamp())
