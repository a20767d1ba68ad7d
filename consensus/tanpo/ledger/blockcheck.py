"""Checking a file of exported blocks against a genesis: each block, each receipt, and what makes them final.

Every block names the hash of the one before, and every header what the block below it did. So a quorum's
votes for one header above the last block settle all; where a block has votes of its own they are checked too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from tanpo.ledger.block import Block, Header, compute_block_hash, compute_tx_root, decode_block
from tanpo.ledger.blockexport import ExportedBlock, ExportHead, ExportReader
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.lineage import EpochPin, Lineage, decode_headers
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.prooffile import Trail
from tanpo.ledger.prooftrail import Certification, Trusted, differs, follow, link, verify_trail
from tanpo.ledger.receipt import Receipt, decode_receipt
from tanpo.ledger.transaction import decode_envelope
from tanpo.ledger.types import BlockHash, MerkleRoot, TxId


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocksVerdict:
    """What a file of blocks proves: that these are the blocks of the network from `first` to `last`, with all
    that they did. `certified_count` of them have votes of a quorum of their own."""

    first: Header
    first_hash: BlockHash
    last: Header
    last_hash: BlockHash
    block_count: int
    transaction_count: int
    failed_count: int
    certified_count: int
    certification: Certification


def verify_block_file(file: BinaryIO, genesis: Genesis, pin: EpochPin | None = None) -> BlocksVerdict:
    """Return what a file of exported blocks proves to somebody who trusts the genesis, or a pinned epoch.

    Raises:
        LinkBroken: it proves nothing.
    """
    trusted, reader = Trusted.of(genesis, pin), ExportReader(file)
    with link("checksum"):
        reader.check_sum()
    with link("head"):
        head = reader.read_head()
    trusted.verify_network(head.network, head.network_id)
    walk = _Walk(trusted, head)
    blocks = reader.read_blocks()
    for height in range(head.first, head.last + 1):
        with link(f"block {height}"):
            exported = next(blocks)
        walk.pass_block(height, exported)
    return walk.finish(reader)


class _Walk:
    """Goes along the chain from block to block."""

    def __init__(self, trusted: Trusted, head: ExportHead) -> None:
        self._trusted = trusted
        self._head = head
        # Who validates is settled first: then each block is checked as it comes.
        self._lineage: Lineage = follow(trusted, self._make_trail((), b""))
        self._first: Header | None = None
        self._last: Header | None = None
        self._last_hash = BlockHash(b"")
        self._receipts_root = MerkleRoot(b"")
        self._transactions = self._failed = self._certified = 0

    def pass_block(self, height: int, exported: ExportedBlock) -> None:
        """Check the next block against the one before. Raises `LinkBroken`."""
        with link(f"block {height}"):
            block = decode_block(exported.block)
            if block.header.height != height:
                raise differs("it is of another height", block.header.height, height)
        self._pass_header(block.header)
        tx_ids = self._read_transactions(block)
        receipts = self._read_receipts(block.header, tx_ids, exported.receipts)
        if exported.commit_proof:
            with link(f"commit proof of block {height}"):
                self._lineage.verify_final((block.header,), exported.commit_proof)
            self._certified += 1
        self._first = self._first or block.header
        self._last, self._last_hash = block.header, block.block_hash
        self._receipts_root = compute_merkle_root(exported.receipts)
        self._transactions += len(tx_ids)
        self._failed += sum(not receipt.succeeded for receipt in receipts)

    def finish(self, reader: ExportReader) -> BlocksVerdict:
        """Check what is above the last block. Raises `LinkBroken`."""
        with link("headers above"):
            above = reader.read_above()
            if not above.headers:
                raise differs("there is none")
            headers = decode_headers(above.headers)
        self._pass_header(headers[0])
        certification = verify_trail(self._trusted, self._make_trail(above.headers, above.commit_proof))
        first, last = self._first, self._last
        with link("pin"):
            if first is None or last is None:
                raise differs("there is no block")
            pin = self._trusted.pin
            if pin is not None and first.epoch < pin.epoch:
                raise differs("its first block is older than the pinned epoch", first.epoch, pin.epoch)
        return BlocksVerdict(
            first=first,
            first_hash=compute_block_hash(first),
            last=last,
            last_hash=self._last_hash,
            block_count=self._head.last - self._head.first + 1,
            transaction_count=self._transactions,
            failed_count=self._failed,
            certified_count=self._certified,
            certification=certification,
        )

    def _pass_header(self, header: Header) -> None:
        """Check that a header follows the last block, and names what that one did."""
        last = self._last
        with link(f"header of block {header.height}"):
            self._lineage.verify_chain((header,) if last is None else (last, header))
        if last is not None:
            with link(f"receipts of block {last.height}"):
                if header.receipts_root != self._receipts_root:
                    raise differs(
                        f"block {header.height} names others",
                        self._receipts_root.hex(),
                        header.receipts_root.hex(),
                    )

    def _read_transactions(self, block: Block) -> list[TxId]:
        header = block.header
        with link(f"transactions of block {header.height}"):
            envelopes = [decode_envelope(self._trusted.network_id, one) for one in block.envelopes]
            found = [transaction.tx_id for envelope in envelopes for transaction in envelope.transactions]
            if len(found) != header.tx_count:
                raise differs("its header names another number", len(found), header.tx_count)
            if compute_tx_root(found) != header.tx_root:
                raise differs("its header names others", compute_tx_root(found).hex(), header.tx_root.hex())
        return found

    def _read_receipts(self, header: Header, tx_ids: list[TxId], encoded: tuple[bytes, ...]) -> list[Receipt]:
        with link(f"receipts of block {header.height}"):
            receipts = [decode_receipt(one) for one in encoded]
            if len(receipts) != len(tx_ids):
                raise differs("there is not one for each transaction", len(receipts), len(tx_ids))
            for index, (receipt, tx_id) in enumerate(zip(receipts, tx_ids, strict=True)):
                if (receipt.tx_id, receipt.height, receipt.index) != (tx_id, header.height, index):
                    raise differs(
                        f"receipt {index} is of another transaction or place",
                        receipt.tx_id.hex(),
                        tx_id.hex(),
                    )
        return receipts

    def _make_trail(self, headers: tuple[bytes, ...], commit_proof: bytes) -> Trail:
        head = self._head
        return Trail(
            epoch=head.epoch,
            validators=head.validators,
            steps=head.steps,
            header=headers[0] if headers else b"",
            descendants=headers[1:],
            commit_proof=commit_proof,
        )
