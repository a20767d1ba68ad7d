"""What a node has in LevelDB, compared with what executing the chain gives: `Diverged` is the difference."""

from __future__ import annotations

from itertools import zip_longest
from typing import Final

from tanpo.ledger.block import decode_block
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.lineage import Lineage, decode_header
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.snapshotproof import decode_step
from tanpo.ledger.transaction import Transaction, decode_envelope
from tanpo.ledger.types import Epoch, Height
from tanpo.node.execution import ExecutedBlock
from tanpo.node.origins import Origin
from tanpo.node.replaying import Diverged
from tanpo.storage import LedgerStore
from tanpo.storage.layout import PARTIES_START, PARTIES_STOP, Executed, decode_party_position
from tanpo.storage.ledger_store import read_rows
from tanpo.storage.results import StoredResults

STATE_REMEDY: Final = "run `tanpo node rebuild`, or audit the blocks alone with --chain-only"


def compare_origin(results: StoredResults, origin: Origin, genesis: Genesis) -> None:
    """Compare what is stored of a snapshot's block, and of the epochs before a ledger's beginning.

    Raises:
        Diverged: something differs.
    """
    verified, height = origin.head.verified, origin.height
    expected = Executed(
        height=height,
        block_hash=verified.block.block_hash,
        state_root=verified.header.state_root,
        receipts_root=verified.header.receipts_root,
    )
    compare_roots(results, expected)
    if height > results.beginning.height:
        # Those of the block that a ledger begins with are not there.
        root = compute_merkle_root(results.find_receipts(height) or ())
        if root != expected.receipts_root:
            raise differs(results, height, "receipts", root.hex(), expected.receipts_root.hex())
    if results.beginning.height:
        _verify_links(results, origin, genesis)


def compare_roots(results: StoredResults, expected: Executed) -> None:
    """Compare the record of an executed block. Raises `Diverged`, as the others here do."""
    height = expected.height
    record = results.find_executed(height)
    if record is None:
        raise differs(results, height, "record", "missing", "hash and roots")
    for part, found, wanted in (
        ("hash", record.block_hash, expected.block_hash),
        ("state root", record.state_root, expected.state_root),
        ("receipts root", record.receipts_root, expected.receipts_root),
    ):
        if found != wanted:
            raise differs(results, height, part, found.hex(), wanted.hex())


def _verify_links(results: StoredResults, origin: Origin, genesis: Genesis) -> None:
    """Follow the epochs that ended before the beginning, as this node would prove them to others.

    Two nodes may prove one by the votes of different quorums, so they are not compared byte by byte.
    """
    lineage = Lineage.of_genesis(genesis)
    for number, step in enumerate(origin.head.proof.steps):
        link = results.beginning.find_link(Epoch(number))
        if link is None and decode_header(decode_step(step).header).height >= results.beginning.height:
            return  # That one, and those that follow, are proved by blocks that are there.
        try:
            lineage.extend(decode_step(link or b""))
        except PeerFault as fault:
            raise differs(
                results,
                results.beginning.height,
                f"proof of the end of epoch {number}",
                fault.message,
                fault.limit or "the votes of its validators",
            ) from None


def compare_receipts(results: StoredResults, height: Height, expected: tuple[bytes, ...]) -> None:
    """Compare the receipts of a block, byte by byte."""
    found = results.find_receipts(height) or ()
    if len(found) != len(expected):
        raise differs(results, height, "number of receipts", len(found), len(expected))
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        if one != other:
            raise differs(results, height, f"receipt {index}", one.hex(), other.hex())


def compare_positions(results: StoredResults, executed: ExecutedBlock, store: LedgerStore) -> None:
    """Compare where the transactions of a block are found, by their ids and by their requests.

    `store` has the blocks above too: a request id may be used again once it has expired, and then names the
    latest transaction.
    """
    height = executed.decoded.block.header.height
    for index, tx in enumerate(executed.decoded.transactions):
        place, of_request = (height, index), results.find_request(tx.request_digest)
        if of_request is not None and of_request > place and _is_asked_at(store, of_request, tx):
            of_request = place
        for part, found in (
            (f"position of transaction {tx.tx_id.hex()}", results.find_transaction(tx.tx_id)),
            (f"position of request {tx.request_id}", of_request),
        ):
            if found != place:
                raise differs(results, height, part, found or "missing", place)


def compare_parties(results: StoredResults, store: LedgerStore) -> None:
    """Compare all rows of what was executed, so that those of transactions that nobody sent are found too."""
    expected = (row for row in read_rows(store) if PARTIES_START <= row[0] < PARTIES_STOP)
    for found, wanted in zip_longest(results.read_parties(store.beginning.height), expected):
        if found != wanted:
            # The lower key is the row that the other side lacks, or has with another value.
            key = min(row[0] for row in (found, wanted) if row is not None)
            height, index = decode_party_position(key)
            raise differs(
                results,
                height,
                f"entry of transaction {index} in the index of members' transactions",
                found[0].hex() if found else "missing",
                wanted[0].hex() if wanted else "none",
            )


def differs(results: StoredResults, height: int, part: str, value: object, limit: object) -> Diverged:
    """Return the error for a difference: `value` is what is stored, `limit` what it ought to be."""
    return Diverged(
        height=height, part=part, place=str(results.path), value=value, limit=limit, remedy=STATE_REMEDY
    )


def _is_asked_at(store: LedgerStore, place: tuple[Height, int], transaction: Transaction) -> bool:
    """Return whether the transaction in this place has the same member and request id as another one."""
    height, index = place
    if height > store.segment_height:
        return False
    block = decode_block(store.read_block(height).block)
    envelopes = (decode_envelope(block.header.network_id, encoded) for encoded in block.envelopes)
    digests = [one.request_digest for envelope in envelopes for one in envelope.transactions]
    return index < len(digests) and digests[index] == transaction.request_digest
