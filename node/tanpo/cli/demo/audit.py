"""What must hold at the end: one height and one root everywhere, every instrument conserved, a proof that
stands without any node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tanpo.cli.demo.desk import Desk
from tanpo.cli.demo.journal import check
from tanpo.cli.demo.stream import StreamResult, wait_agreed
from tanpo.cli.samples import Catalog
from tanpo.client import NodeStatus, verify_proof

_PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Conservation:
    """An instrument's units: minted and burned by its register, held by the sum over all accounts."""

    instrument: str
    minted: int
    burned: int
    held: int


async def audit(
    desk: Desk, catalog: Catalog, stream: StreamResult
) -> tuple[dict[str, NodeStatus], list[Conservation]]:
    """Check agreement, conservation and one proof; return the nodes' statuses and the sums."""
    desk.journal.begin("Audit")
    statuses = await wait_agreed(desk)
    await _check_chain(desk, stream.killed_at_height)
    sums = [await _add_up(desk, instrument.id) for instrument in catalog.instruments]
    await _check_proof(desk, stream)
    height = next(iter(statuses.values())).height
    desk.journal.note(
        f"{len(statuses)} nodes at height {height}, one state root; {len(sums)} instruments conserved"
    )
    return statuses, sums


async def _check_chain(desk: Desk, from_height: int) -> None:
    """Check that all nodes have the same certified blocks since the leader died: no fork."""
    latest = (await desk.read_status(desk.network.members[0])).height
    for height in range(max(1, from_height), latest + 1):
        hashes = {block.block_hash for block in await desk.read_blocks(height)}
        check(
            len(hashes) == 1,
            f"the nodes have different blocks at height {height}",
            value=len(hashes),
            limit=1,
        )


async def _add_up(desk: Desk, instrument: str) -> Conservation:
    supply = await desk.ask("instruments", "supply", instrument=instrument)
    held, after = 0, ""
    while True:
        accounts = await desk.ask("instruments", "holders", instrument=instrument, after=after, limit=_PAGE)
        for account in accounts:
            held += (await desk.get_position(account, instrument)).held
        if len(accounts) < _PAGE:
            break
        after = accounts[-1]
    check(
        supply["minted"] - supply["burned"] == held,
        f"{instrument} is not conserved",
        value=held,
        limit=supply["minted"] - supply["burned"],
    )
    return Conservation(instrument=instrument, minted=supply["minted"], burned=supply["burned"], held=held)


async def _check_proof(desk: Desk, stream: StreamResult) -> None:
    """Verify the receipt of the stream's last swap with the genesis alone, as a court would."""
    last = max(stream.swaps, key=lambda one: (one.height, one.index))
    client = desk.clients[stream.leader]
    proof = (await client.chain.prove(last.tx_id)).proof
    # The client has verified it already; here it is checked once more with the bytes and the genesis alone.
    verified = verify_proof(proof, last.tx_id, client.config.genesis)
    check(
        verified.receipt == last.receipt,
        "a verified receipt differs from the one delivered",
        value=verified.receipt.tx_id.hex(),
        limit=last.tx_id.hex(),
    )
