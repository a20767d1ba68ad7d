"""The ledger itself, read through the nodes' API after the faults: one chain, equal roots, nothing undone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tanpo.client import AsyncClient, CommittedBlock, NodeStatus, VerifiedReceipt, verify_proof
from tanpo.ledger.errors import LedgerError, Unavailable
from tanpo.ledger.types import BlockHash, StateRoot, TxId
from tanpo.testing.chaos.checks import Place, Requests, Violation
from tanpo.testing.chaos.network import ChaosNetwork
from tanpo.testing.chaos.probes import Probes

READS_AT_ONCE: Final = 8
POLL_S: Final = 0.1
SEALED_S: Final = 15.0
REQUEST_PREFIX: Final = "bench-"
HALTED_CODES: Final = frozenset({1, 8})
"""Exit codes of a node that is wrong or finds that others are: no fault of the bench excuses them."""
OFFLINE_SAMPLE: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What a node once said of its tip."""

    member: str
    height: int
    block_hash: BlockHash
    state_root: StateRoot


@dataclass(slots=True, kw_only=True)
class Audit:
    """What was read and what is wrong with it."""

    top: int = 0
    blocks: int = 0
    transactions: int = 0
    proofs: int = 0
    requests: Requests = field(default_factory=lambda: Requests(top=0))
    violations: list[Violation] = field(default_factory=list)

    def accuse(self, check: str, what: str) -> None:
        """Note a violation."""
        self.violations.append(Violation(check=check, what=what))


async def wait_converged(network: ChaosNetwork, probes: Probes, seconds: float) -> list[Violation]:
    """Wait until all honest nodes that run are at one block with nothing pending."""
    deadline = time.monotonic() + seconds
    while True:
        members = [member for member in network.honest if network.is_running(member)]
        found = await asyncio.gather(*(probes.find_status(member) for member in members))
        tips = {_tip(status) for status in found}
        if len(tips) == 1 and None not in tips:
            return []
        if time.monotonic() >= deadline:
            shown = {
                member: "no answer" if status is None else f"height {status.height}, {status.stalled_reason}"
                for member, status in zip(members, found, strict=True)
            }
            return [Violation(check="convergence", what=f"not at one block after {seconds:.0f} s: {shown}")]
        await asyncio.sleep(POLL_S)


async def audit_chain(
    network: ChaosNetwork,
    probes: Probes,
    sightings: Sequence[Sighting],
    *,
    proofs_max: int,
    chance: Random,
) -> Audit:
    """Read every block from every honest node and check them against each other and what was seen before.

    At most `proofs_max` receipts, drawn by `chance`, are proved and verified.
    """
    audit = Audit()
    members = [member for member in network.honest if network.is_running(member)]
    found = await asyncio.gather(*(probes.find_status(member) for member in members))
    audit.top = min((status.height for status in found if status is not None), default=0)
    places: dict[str, list[Place]] = {}
    tx_ids: list[TxId] = []
    seen: dict[int, list[Sighting]] = {}
    for sighting in sightings:
        seen.setdefault(sighting.height, []).append(sighting)
    for first in range(1, audit.top + 1, READS_AT_ONCE):
        heights = range(first, min(first + READS_AT_ONCE, audit.top + 1))
        rows = await asyncio.gather(*(_read_height(probes, members, height) for height in heights))
        for height, blocks in zip(heights, rows, strict=True):
            _check_height(audit, height, members, blocks, seen)
            _collect(blocks[0], places, tx_ids)
    audit.transactions = len(tx_ids)
    audit.requests = Requests(top=audit.top, places=places)
    if len(set(tx_ids)) != len(tx_ids):
        audit.accuse("exactly once", "a transaction is in the chain twice")
    drawn = tx_ids if len(tx_ids) <= proofs_max else chance.sample(tx_ids, proofs_max)
    await _prove(audit, probes, members, drawn)
    return audit


def check_logs(network: ChaosNetwork) -> list[Violation]:
    """Check that no honest node halted, failed inside, or is accused of breaking its promises."""
    found: list[Violation] = []
    for member in network.honest:
        for entry in _read_log(network, member):
            if entry.get("exit_code") in HALTED_CODES:
                found.append(Violation(check="halted", what=f"{member}: {entry.get('why', entry)}"))
            accused = str(entry.get("validator", "")).partition("/")[0]
            if entry.get("event") == "evidence" and accused in network.honest:
                found.append(Violation(check="accused", what=f"{member} accuses {accused}: {entry}"))
    return found


async def _read_height(probes: Probes, members: Sequence[str], height: int) -> list[CommittedBlock]:
    return await asyncio.gather(*(probes.clients[member].chain.block(height) for member in members))


def _check_height(
    audit: Audit,
    height: int,
    members: Sequence[str],
    blocks: Sequence[CommittedBlock],
    seen: Mapping[int, Sequence[Sighting]],
) -> None:
    audit.blocks += len(blocks)
    named = dict(zip(members, blocks, strict=True))
    hashes = {block.block_hash for block in blocks}
    if len(hashes) != 1:
        shown = {member: block.block_hash.hex()[:16] for member, block in named.items()}
        audit.accuse("agreement", f"different blocks at height {height}: {shown}")
    if len({block.receipts for block in blocks}) != 1:
        audit.accuse("agreement", f"different receipts at height {height}")
    # A header has the root of the state below it; that of the tip is in the nodes' status.
    for sighting in seen.get(height - 1, ()):
        if sighting.state_root != blocks[0].block.header.state_root:
            audit.accuse(
                "state root", f"{sighting.member} once had another root after height {height - 1}: {sighting}"
            )
    for sighting in seen.get(height, ()):
        if sighting.block_hash not in hashes:
            audit.accuse("undone", f"{sighting.member} once had another block at height {height}: {sighting}")


def _collect(block: CommittedBlock, places: dict[str, list[Place]], tx_ids: list[TxId]) -> None:
    for transaction, receipt in zip(block.transactions, block.receipts, strict=True):
        tx_ids.append(transaction.tx_id)
        if transaction.request_id.startswith(REQUEST_PREFIX):
            places.setdefault(transaction.request_id, []).append(
                Place(
                    height=receipt.height,
                    index=receipt.index,
                    succeeded=receipt.succeeded,
                    code=receipt.code,
                    value=receipt.value,
                )
            )


async def _prove(audit: Audit, probes: Probes, members: Sequence[str], tx_ids: Sequence[TxId]) -> None:
    """Fetch proofs from the nodes in turn and verify them; a few once more, with the genesis file alone."""
    for first in range(0, len(tx_ids), READS_AT_ONCE):
        batch = list(enumerate(tx_ids[first : first + READS_AT_ONCE], first))
        await asyncio.gather(
            *(
                _prove_one(audit, probes, members[number % len(members)], tx_id, number)
                for number, tx_id in batch
            )
        )


async def _prove_one(audit: Audit, probes: Probes, member: str, tx_id: TxId, number: int) -> None:
    client = probes.clients[member]
    try:
        verified = await _fetch_proof(client, tx_id)
        if number < OFFLINE_SAMPLE:
            verify_proof(verified.proof, tx_id, client.config.genesis)
    except LedgerError as error:
        audit.accuse("proof", f"{member} has no proof of {tx_id.hex()}: {error}")
        return
    audit.proofs += 1


async def _fetch_proof(client: AsyncClient, tx_id: TxId) -> VerifiedReceipt:
    """Return a proof that was verified. The block that seals the last transactions may be yet to come."""
    deadline = time.monotonic() + SEALED_S
    while True:
        try:
            return await client.chain.prove(tx_id)
        except Unavailable:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(POLL_S)


def _tip(status: NodeStatus | None) -> tuple[int, bytes, bytes] | None:
    if status is None or status.pending_transactions:
        return None
    return status.height, status.block_hash, status.state_root


def _read_log(network: ChaosNetwork, member: str) -> list[dict[str, Any]]:
    entries = []
    with network.local.folder.get_member(member).log.open(errors="replace") as log:
        for line in log:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                entries.append(entry)
    return entries
