"""Files of exported blocks: what they prove, and which link fails when one is tampered with."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest
from tanpo.cli.wording import blocks_to_json, describe_blocks
from tanpo.client import exporting
from tanpo.ledger.block import decode_block, encode_block, encode_header
from tanpo.ledger.blockcheck import BlocksVerdict, verify_block_file
from tanpo.ledger.blockexport import ExportAbove, ExportedBlock, ExportHead, ExportReader, ExportWriter
from tanpo.ledger.errors import LedgerError, Reason
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.lineage import EpochPin, EpochStep, decode_header
from tanpo.ledger.prooftrail import LinkBroken
from tanpo.ledger.receipt import decode_receipt, encode_receipt
from tanpo.ledger.types import Epoch, Height
from tanpo.ledger.validators import Validator, compute_valset_hash
from tanpo.node.mempool import Mempool, MempoolLimits
from tanpo.node.proofs import Proofs
from tanpo.node.reads import Reads
from tanpo.storage.pruning import Passing
from tanpo.testing.chain import Chain, change_validators
from tanpo.testing.town import Town

LAST = 9


@dataclass(frozen=True)
class Parts:
    """A file of blocks, taken apart."""

    head: ExportHead
    blocks: tuple[ExportedBlock, ...]
    above: ExportAbove

    def write(self) -> bytes:
        parts: list[bytes] = []
        writer = ExportWriter(parts.append)
        writer.write_head(self.head)
        for block in self.blocks:
            writer.write_block(block)
        writer.finish(self.above)
        return b"".join(parts)

    def change(self, number: int, **fields: object) -> Parts:
        """Return the file with one of its blocks changed."""
        block = replace(self.blocks[number], **fields)  # type: ignore[arg-type]  # fields of the block
        return replace(self, blocks=(*self.blocks[:number], block, *self.blocks[number + 1 :]))


@dataclass(frozen=True)
class Exported:
    genesis: Genesis
    parts: Parts


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    """Blocks of two epochs, with transactions that fail and one that changes the validators."""
    chain = Chain(tmp_path_factory.mktemp("chain") / "node", has_validators=True)
    for _ in range(2):
        chain.run(chain.make_transaction("validators", "replace", {"validators": ()}, "dealer-a"))
    found = chain.execution.load_epoch(chain.genesis).validators.validators
    spare = Validator(member=found[0].member, node="spare", public_key=found[0].public_key)
    change_validators(chain, spare, *found[1:])
    while chain.execution.store.executed_height < LAST + 2:
        chain.run(chain.make_transaction("validators", "replace", {"validators": ()}, "dealer-a"))
    yield Exported(genesis=chain.genesis, parts=export(chain, 1, LAST))
    chain.close()


def export(chain: Chain, first: int, last: int) -> Parts:
    reads = Reads(
        execution=chain.execution, mempool=Mempool(MempoolLimits()), network_id=chain.genesis.network_id
    )
    above = reads.block(last + 1)
    shown = Proofs.create(chain.execution, chain.genesis).lineage(0)
    found = [reads.block(height) for height in range(first, last + 1)]
    return Parts(
        head=ExportHead(
            network=chain.genesis.network,
            network_id=chain.genesis.network_id,
            first=first,
            last=last,
            epoch=Epoch(0),
            validators=shown.validators,
            steps=tuple(
                EpochStep(header=one.header, commit_proof=one.commit_proof, validators=one.validators)
                for one in shown.steps
            ),
        ),
        blocks=tuple(
            ExportedBlock(block=one.block, receipts=one.receipts, commit_proof=one.proof) for one in found
        ),
        above=ExportAbove(
            headers=(encode_header(decode_block(above.block).header), *above.descendants),
            commit_proof=above.proof,
        ),
    )


def verify(content: bytes, genesis: Genesis, pin: EpochPin | None = None) -> BlocksVerdict:
    return verify_block_file(io.BytesIO(content), genesis, pin)


def seal(content: bytes) -> bytes:
    """Return a file with the checksum that it ought to have."""
    return content[:-32] + sha256(content[:-32]).digest()


def test_a_file_proves_its_blocks_to_whoever_has_the_genesis(exported: Exported) -> None:
    verdict = verify(exported.parts.write(), exported.genesis)
    assert (verdict.first.height, verdict.last.height, verdict.block_count) == (1, LAST, LAST)
    assert bytes(verdict.first.parent_hash) == bytes(exported.genesis.network_id)
    assert (verdict.transaction_count, verdict.failed_count) == (8, 7)
    assert verdict.certified_count == LAST
    assert verdict.certification.final_header.epoch == 1
    words = "\n".join(describe_blocks(verdict, exported.genesis))
    for said in (
        "These are the blocks 1 to 9",
        "1 succeeded, and 7 were refused",
        f"Block 9 is {verdict.last_hash.hex()}",
        "3 of the 4 validators of epoch 1",
        "through 1 changes",
    ):
        assert said in words
    assert blocks_to_json(verdict)["last_block_hash"] == verdict.last_hash.hex()


def test_a_part_of_the_chain_proves_itself_too(exported: Exported) -> None:
    parts = exported.parts
    for first, last in ((3, LAST), (LAST, LAST)):
        part = replace(
            parts, head=replace(parts.head, first=first, last=last), blocks=parts.blocks[first - 1 : last]
        )
        assert verify(part.write(), exported.genesis).first.height == first


def test_blocks_without_votes_of_their_own_are_final_by_those_above(exported: Exported) -> None:
    parts = exported.parts
    bare = replace(parts, blocks=tuple(replace(one, commit_proof=b"") for one in parts.blocks))
    verdict = verify(bare.write(), exported.genesis)
    assert (verdict.block_count, verdict.certified_count) == (LAST, 0)


def test_the_link_that_does_not_hold_is_named(exported: Exported) -> None:
    parts, genesis = exported.parts, exported.genesis
    third, fourth = parts.blocks[2], parts.blocks[3]
    block = decode_block(third.block)
    forged = replace(decode_receipt(third.receipts[0]), gas_used=1)
    misplaced = replace(decode_receipt(third.receipts[0]), index=1)
    later = replace(block.header, time_ms=block.header.time_ms + 1)
    other = encode_block(replace(block, header=later))
    above = decode_header(parts.above.headers[0])
    for link, changed in (
        ("network", replace(parts, head=replace(parts.head, network_id=bytes(32)))),
        ("network", replace(parts, head=replace(parts.head, network="other"))),
        ("validators", replace(parts, head=replace(parts.head, validators=parts.head.validators[1:]))),
        ("lineage from epoch 0 to 1", spoil_step(parts)),
        ("block 3", parts.change(2, block=b"none")),
        ("block 3", parts.change(2, block=fourth.block)),
        ("block 3", parts.change(2, block=third.block[:-1] + b"x")),
        ("header of block 4", parts.change(2, block=other, commit_proof=b"")),
        ("commit proof of block 3", parts.change(2, block=other)),
        ("commit proof of block 3", parts.change(2, commit_proof=fourth.commit_proof)),
        ("receipts of block 3", parts.change(2, receipts=())),
        ("receipts of block 3", parts.change(2, receipts=(encode_receipt(forged),))),
        ("receipts of block 3", parts.change(2, receipts=(encode_receipt(misplaced),))),
        ("receipts of block 3", parts.change(2, receipts=third.receipts * 2)),
        ("receipts of block 3", parts.change(2, receipts=parts.blocks[0].receipts)),
        ("receipts of block 9", spoil_receipt(parts, LAST - 1)),
        ("block 3", replace(parts, blocks=(*parts.blocks[:2], *parts.blocks[3:]))),
        ("headers above", replace(parts, above=replace(parts.above, headers=()))),
        (
            "header of block 9",
            replace(
                parts,
                above=replace(
                    parts.above, headers=(encode_header(decode_block(parts.blocks[-1].block).header),)
                ),
            ),
        ),
        (
            "commit proof",
            replace(
                parts,
                above=replace(
                    parts.above, headers=(encode_header(replace(above, time_ms=above.time_ms + 1)),)
                ),
            ),
        ),
        ("commit proof", replace(parts, above=replace(parts.above, commit_proof=third.commit_proof))),
    ):
        with pytest.raises(LinkBroken) as broken:
            verify(changed.write(), genesis)
        assert broken.value.link == link, broken.value.message


def spoil_step(parts: Parts) -> Parts:
    (step,) = parts.head.steps
    return replace(parts, head=replace(parts.head, steps=(replace(step, validators=parts.head.validators),)))


def spoil_receipt(parts: Parts, number: int) -> Parts:
    receipt = replace(decode_receipt(parts.blocks[number].receipts[0]), gas_used=1)
    return parts.change(number, receipts=(encode_receipt(receipt),))


def test_damage_is_told_from_tampering(exported: Exported) -> None:
    content = exported.parts.write()
    source = random.Random(1)
    for _ in range(60):
        at = source.randrange(len(content))
        damaged = bytearray(content)
        damaged[at] ^= 1 << source.randrange(8)
        for spoiled in (bytes(damaged), content[:at], content + content[at:]):
            with pytest.raises(LinkBroken) as broken:
                verify(spoiled, exported.genesis)
            assert broken.value.link == "checksum"


def test_no_byte_can_change_although_the_checksum_is_right(exported: Exported) -> None:
    content, source = exported.parts.write(), random.Random(2)
    true = verify(content, exported.genesis)
    for _ in range(250):
        forged = bytearray(content)
        forged[source.randrange(len(content) - 32)] ^= 1 << source.randrange(8)
        try:
            found = verify(seal(bytes(forged)), exported.genesis)
        except LinkBroken:
            continue
        # A signature has more than one spelling.
        assert found == true


def test_whatever_is_read_ends_in_a_refusal(exported: Exported) -> None:
    content, source = exported.parts.write(), random.Random(3)
    makers: tuple[Callable[[int], bytes], ...] = (
        lambda at: content[:at] + content[-32:],
        lambda at: content[:at] + b"\xff\xff\xff\xff" + content[at + 4 :],
        lambda at: content[:-32] + content[at : at + 20] + content[-32:],
        lambda at: source.randbytes(at % 400 + 32),
    )
    for _ in range(40):
        for make in makers:
            with pytest.raises(LinkBroken):
                verify(seal(make(source.randrange(len(content) - 40))), exported.genesis)


def test_a_pin_is_passed_and_what_is_older_is_not_proved(exported: Exported) -> None:
    parts = exported.parts
    pin = EpochPin(epoch=Epoch(1), valset_hash=compute_valset_hash(parts.head.steps[0].validators))
    with pytest.raises(LinkBroken) as older:
        verify(parts.write(), exported.genesis, pin)
    assert older.value.link == "pin"
    late = replace(parts, head=replace(parts.head, first=LAST), blocks=parts.blocks[-1:])
    assert verify(late.write(), exported.genesis, pin).certification.trusted == pin
    begun = replace(
        late,
        head=replace(late.head, epoch=Epoch(1), validators=parts.head.steps[0].validators, steps=()),
    )
    assert verify(begun.write(), exported.genesis, pin).last.height == LAST
    with pytest.raises(LinkBroken) as untrusted:
        verify(begun.write(), exported.genesis)
    assert untrusted.value.link == "validators"
    with pytest.raises(LinkBroken) as other:
        verify(begun.write(), exported.genesis, replace(pin, valset_hash=bytes(32)))
    assert other.value.link == "validators"


def test_a_file_is_read_as_it_was_written(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "blocks"
    path.write_bytes(exported.parts.write())
    with path.open("rb") as file:
        reader = ExportReader(file)
        reader.check_sum()
        found = Parts(reader.read_head(), tuple(reader.read_blocks()), reader.read_above())
    assert found == exported.parts


def test_a_refusal_to_export_names_the_blocks_that_were_asked_for(tmp_path: Path) -> None:
    town, parts = Town(tmp_path / "store"), list[bytes]()
    while town.chain.execution.store.executed_height < LAST:
        town.chain.run()
    with pytest.raises(LedgerError) as refusal:
        town.run(exporting.block_file(town.context, 1, LAST, parts.append))
    found = refusal.value
    assert (found.reason, found.value, found.limit) == (
        Reason.HEIGHT_UNKNOWN,
        f"{LAST}",
        f"up to {LAST - 1} now",
    )
    town.chain.execution.store.pruner.advance(Passing(height=Height(5), tx_ids=(), request_digests=()))
    with pytest.raises(LedgerError) as refusal:
        town.run(exporting.block_file(town.context, 1, 3, parts.append))
    found = refusal.value
    assert (found.reason, found.value, found.limit) == (Reason.HEIGHT_PRUNED, "1..3", "6 or later")
    assert not parts
    town.chain.close()
