"""Blocks in a file that stands alone: with their receipts, and the way to the validators that signed them.

    magic      "tanpo-blocks/1", newline
    head       name of the network text, network id 32, first height u64, last height u64,
               epoch u64 of the validators that come next, validators, steps u32, each a blob
    block      01, block blob, receipts u32, each a blob, commit proof blob, empty if it has none of its own
    above      02, headers u32, each a blob: those above the last block, up to a final one; its proof, a blob
    checksum   SHA-256 of all before; nothing follows

Integers are big-endian, blobs and texts as in `codec`, steps as in `snapshotproof`. It is written and read in
one pass. `blockcheck` says what a file proves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO, Final

from tanpo.ledger.block import BLOCK_BYTES_MAX, BLOCK_ENVELOPES_MAX
from tanpo.ledger.certificate import VALIDATORS_MAX
from tanpo.ledger.codec import Writer, malformed
from tanpo.ledger.lineage import DESCENDANTS_MAX, EpochStep
from tanpo.ledger.snapshotproof import (
    COMMIT_PROOF_BYTES_MAX,
    EPOCHS_MAX,
    HEADER_BYTES_MAX,
    STEP_BYTES_MAX,
    decode_step,
    encode_step,
)
from tanpo.ledger.transaction import ENVELOPE_TRANSACTIONS_MAX
from tanpo.ledger.types import Epoch, MemberId
from tanpo.ledger.validators import Validator

MAGIC: Final = b"tanpo-blocks/1\n"
RECEIPT_BYTES_MAX: Final = 16 << 20

_BLOCK, _ABOVE = b"\x01", b"\x02"
_DIGEST_BYTES: Final = 32
_PIECE_BYTES: Final = 1 << 20
_TEXT_BYTES_MAX: Final = 1_024
_RECEIPTS_MAX: Final = BLOCK_ENVELOPES_MAX * ENVELOPE_TRANSACTIONS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportHead:
    """What a file holds, and the validators from whom on it proves that: of `epoch`, and how later ones
    followed."""

    network: str
    network_id: bytes
    first: int
    last: int
    epoch: Epoch
    validators: tuple[Validator, ...]
    steps: tuple[EpochStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedBlock:
    """A block and its receipts, encoded. `commit_proof` is its own, empty if it is final by later blocks."""

    block: bytes
    receipts: tuple[bytes, ...]
    commit_proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportAbove:
    """The headers above the last block, of which the first carries what that block did, and the last is final
    by the commit proof."""

    headers: tuple[bytes, ...]
    commit_proof: bytes


class ExportWriter:
    """Writes a file by handing its parts to `write`: the head, each block in order, and what is above."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._digest = sha256()

    def write_head(self, head: ExportHead) -> None:
        """Begin the file."""
        writer = Writer().raw(MAGIC).text(head.network).raw(head.network_id).u64(head.first).u64(head.last)
        writer.u64(head.epoch).u8(len(head.validators))
        for validator in head.validators:
            writer.text(validator.member).text(validator.node).blob(validator.public_key)
        writer.u32(len(head.steps))
        for step in head.steps:
            writer.blob(encode_step(step))
        self._add(writer)

    def write_block(self, block: ExportedBlock) -> None:
        """Add the next block."""
        writer = Writer().raw(_BLOCK).blob(block.block).u32(len(block.receipts))
        for receipt in block.receipts:
            writer.blob(receipt)
        self._add(writer.blob(block.commit_proof))

    def finish(self, above: ExportAbove) -> None:
        """End the file."""
        writer = Writer().raw(_ABOVE).u32(len(above.headers))
        for header in above.headers:
            writer.blob(header)
        self._add(writer.blob(above.commit_proof))
        self._write(self._digest.digest())

    def _add(self, writer: Writer) -> None:
        part = writer.finish()
        self._digest.update(part)
        self._write(part)


class ExportReader:
    """Reads a file, unverified: `check_sum`, then `read_head`, `read_blocks` to their end, and `read_above`.

    Every method raises `PeerFault` (MALFORMED) for bytes that no writer writes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._blocks_left = 0

    def check_sum(self) -> None:
        """Read the whole file once and compare its checksum."""
        self._file.seek(0)
        digest, tail = sha256(), b""
        while piece := self._file.read(_PIECE_BYTES):
            tail += piece
            digest.update(tail[:-_DIGEST_BYTES])
            tail = tail[-_DIGEST_BYTES:]
        if digest.digest() != tail:
            raise malformed(
                "the file is damaged or cut short: it does not have its checksum", value=tail.hex()
            )
        self._file.seek(0)

    def read_head(self) -> ExportHead:
        """Return what the file begins with."""
        if self._take(len(MAGIC)) != MAGIC:
            raise malformed("this is no file of exported blocks")
        network, network_id = self._text(), self._take(_DIGEST_BYTES)
        first, last, epoch = self._integer(8), self._integer(8), self._integer(8)
        if not 1 <= first <= last:
            raise malformed("the heights of the file are none", value=f"{first}..{last}", limit="1 or later")
        self._blocks_left = last - first + 1
        count = self._count(1, VALIDATORS_MAX)
        validators = tuple(self._validator() for _ in range(count))
        steps = tuple(decode_step(self._blob(STEP_BYTES_MAX)) for _ in range(self._count(4, EPOCHS_MAX)))
        return ExportHead(
            network=network,
            network_id=network_id,
            first=first,
            last=last,
            epoch=Epoch(epoch),
            validators=validators,
            steps=steps,
        )

    def read_blocks(self) -> Iterator[ExportedBlock]:
        """Yield the blocks that the head names, in the order of the file."""
        for _ in range(self._blocks_left):
            self._expect(_BLOCK, "a block")
            block = self._blob(BLOCK_BYTES_MAX)
            count = self._count(4, _RECEIPTS_MAX)
            receipts = tuple(self._blob(RECEIPT_BYTES_MAX) for _ in range(count))
            yield ExportedBlock(
                block=block, receipts=receipts, commit_proof=self._blob(COMMIT_PROOF_BYTES_MAX)
            )

    def read_above(self) -> ExportAbove:
        """Return what the file ends with."""
        self._expect(_ABOVE, "the headers above the last block")
        count = self._count(4, DESCENDANTS_MAX + 1)
        headers = tuple(self._blob(HEADER_BYTES_MAX) for _ in range(count))
        above = ExportAbove(headers=headers, commit_proof=self._blob(COMMIT_PROOF_BYTES_MAX))
        self._take(_DIGEST_BYTES)
        if self._file.read(1):
            raise malformed("something follows the end of the file")
        return above

    def _expect(self, mark: bytes, what: str) -> None:
        found = self._take(1)
        if found != mark:
            raise malformed(f"the file holds something else than {what}", value=found.hex(), limit=mark.hex())

    def _validator(self) -> Validator:
        return Validator(
            member=MemberId(self._text()), node=self._text(), public_key=self._blob(_TEXT_BYTES_MAX)
        )

    def _text(self) -> str:
        size = self._integer(2)
        if size > _TEXT_BYTES_MAX:
            raise malformed("a text is too long", value=size, limit=_TEXT_BYTES_MAX)
        try:
            return self._take(size).decode("utf-8")
        except UnicodeDecodeError:
            raise malformed("a text is no UTF-8") from None

    def _blob(self, size_max: int) -> bytes:
        size = self._integer(4)
        if size > size_max:
            raise malformed("a part is too long", value=size, limit=size_max)
        return self._take(size)

    def _count(self, size: int, most: int) -> int:
        count = self._integer(size)
        if count > most:
            raise malformed("there are too many parts", value=count, limit=most)
        return count

    def _integer(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def _take(self, size: int) -> bytes:
        taken = self._file.read(size)
        if len(taken) != size:
            raise malformed(
                "the file ends too early", value=f"{len(taken)} bytes left", limit=f"{size} needed"
            )
        return taken
