"""What an operator is told in a stalled real network: the validators, links or certificates at fault."""

from __future__ import annotations

import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tanpo.client import AsyncClient, load_profile
from tanpo.ledger.errors import LedgerError
from tanpo.ledger.types import MemberId
from tanpo.node.identity import Role
from tanpo.node.pki import Authority, IssuedCertificate, create_authority, issue_certificate
from tanpo.testing.chaos.contract import BENCH_CONTRACT
from tanpo.testing.chaos.network import ChaosNetwork

pytestmark = pytest.mark.timeout(400)

TRUST, DEALER_A, DEALER_B, CUSTODY = "trust-bank", "dealer-a", "dealer-b", "custody-bank"


def find_named(text: str, network: ChaosNetwork) -> set[str]:
    return {member for member in network.members if f"{member}/node-1" in text}


async def submit_in_vain(network: ChaosNetwork, member: str) -> None:
    """Give the network something to do that it cannot finish now."""
    async with AsyncClient(load_profile(network.local.folder.get_member(member).profile)) as client:
        with pytest.raises(LedgerError):
            await client.submit(BENCH_CONTRACT, "write", {"key": "k", "value": 1}, deadline_s=1.0)


async def test_stopped_validators_are_named_and_nobody_else(network: ChaosNetwork, wait_reasons: Any) -> None:
    await network.start()
    for member in (DEALER_A, CUSTODY):
        network.send_signal(member, signal.SIGSTOP)
    await submit_in_vain(network, TRUST)
    missing = f"missing those of {DEALER_A}/node-1, {CUSTODY}/node-1"
    # On a machine that is busy one that lives may be slow to speak, and be named for a moment.
    for member in (TRUST, DEALER_B):
        text = await wait_reasons(
            member,
            lambda text: (
                "gave up" in text
                and missing in text
                and text.count("nothing came") == 2
                and find_named(text, network) == {DEALER_A, CUSTODY}
            ),
        )
        assert f"nothing came from {CUSTODY}/node-1 for " in text


async def test_dead_validators_and_links_that_are_cut_are_named(
    network: ChaosNetwork, wait_reasons: Any
) -> None:
    await network.start()
    await network.kill(CUSTODY)
    for other in (DEALER_A, DEALER_B):
        network.mesh.cut(TRUST, other)
    for member, lost in ((TRUST, {DEALER_A, DEALER_B, CUSTODY}), (DEALER_A, {TRUST, CUSTODY})):
        addresses = {other: network.mesh.get(member, other).address for other in lost}
        causes = [
            f"no link to {other}/node-1 at {address}: it does not run, cannot be reached"
            for other, address in addresses.items()
        ]
        text = await wait_reasons(
            member,
            lambda text, causes=causes, lost=lost: (
                all(one in text for one in causes) and (DEALER_B in text) == (DEALER_B in lost)
            ),
        )
        assert find_named(text, network) >= lost
    for other in (DEALER_A, DEALER_B):
        network.mesh.restore(TRUST, other)
    assert await wait_reasons(TRUST, lambda text: not text) == ""


@pytest.mark.parametrize(
    ("is_foreign", "why"),
    [(False, "certificate has expired"), (True, "unable to get local issuer certificate")],
)
async def test_a_certificate_that_peers_refuse_is_named(
    network: ChaosNetwork,
    wait_reasons: Any,
    tmp_path: Path,
    faulty_node: Path,
    is_foreign: bool,
    why: str,
) -> None:
    path = save_certificate(tmp_path, issue_bad_certificate(network, DEALER_B, is_foreign=is_foreign))
    network.use_program(DEALER_B, (sys.executable, "-P", str(faulty_node), "--certificate", str(path)))
    for member in (TRUST, DEALER_A, DEALER_B):
        network.spawn(member)
    for member in (TRUST, DEALER_A):
        text = await wait_reasons(
            member,
            lambda text: (
                "TLS certificate is refused" in text and find_named(text, network) == {DEALER_B, CUSTODY}
            ),
        )
        address = network.mesh.get(member, DEALER_B).address
        assert f"no link to {DEALER_B}/node-1 at {address}: its TLS certificate is refused: {why}" in text


def issue_bad_certificate(network: ChaosNetwork, member: str, *, is_foreign: bool) -> IssuedCertificate:
    """Return a certificate for a member's node that expired yesterday, or is of a CA nobody knows."""
    if is_foreign:
        return issue_certificate(create_authority(MemberId(member), "other"), Role.NODE, "node-1")
    certificate, key = network.local.folder.get_member(member).pem("ca")
    authority = Authority.load(MemberId(member), certificate.read_bytes(), key.read_bytes())
    day = timedelta(days=1)
    return issue_certificate(
        authority, Role.NODE, "node-1", valid_from=datetime.now(UTC) - 2 * day, valid_for=day
    )


def save_certificate(folder: Path, issued: IssuedCertificate) -> Path:
    path = folder / "other.crt"
    path.write_bytes(issued.certificate)
    path.with_suffix(".key").write_bytes(issued.private_key)
    return path
