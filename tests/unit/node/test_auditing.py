"""An audit executes the chain anew and names the first thing that is stored otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import plyvel
import pytest
from tanpo.ledger.block import decode_block
from tanpo.ledger.certificate import decode_commit_proof, encode_commit_proof
from tanpo.ledger.errors import CorruptState, Reason, UsageError
from tanpo.ledger.transaction import Call, build_transaction
from tanpo.ledger.types import Epoch, Height, MemberId, Signature
from tanpo.node.auditing import Audit, audit_node
from tanpo.node.body import decode_body
from tanpo.node.config import ExecutionMode
from tanpo.node.replaying import Progress, Watch
from tanpo.node.stopping import Stopped, StopRequest
from tanpo.storage import StoredBlock
from tanpo.storage.database import seal
from tanpo.storage.layout import (
    STATE_START,
    STATE_STOP,
    encode_position,
    encode_receipts,
    executed_key,
    receipts_key,
    request_key,
)
from tanpo.storage.segments import BlockSegments
from tanpo.testing.chain import BLOCK_MS, START_MS, Chain, open_copy

BLOCKS = 5
NOTES = """
notes: Map[str, str]

@entry
def write(text: str) -> str:
    notes["text"] = text
    return text
"""


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A stopped node whose chain has transactions."""
    chain = Chain(tmp_path_factory.mktemp("grown") / "data")
    chain.install("notes", NOTES)
    while chain.execution.store.executed_height < BLOCKS:
        chain.run(chain.make_transaction("notes", "write", {"text": "one"}, "dealer-a"))
    chain.close()
    return chain


@pytest.fixture
def data(grown: Chain, tmp_path: Path) -> Path:
    """A copy of its files, to be harmed."""
    return Path(shutil.copytree(grown.folder, tmp_path / "data"))


def audit(chain: Chain, data: Path, *, is_chain_only: bool = False, watch: Watch | None = None) -> Audit:
    quiet = watch or Watch(lambda _: None)
    return audit_node(data, chain.genesis, ExecutionMode.IN_PROCESS, quiet, is_chain_only=is_chain_only)


def overwrite(data: Path, key: bytes, payload: bytes) -> None:
    """Put another value with a right checksum into the database."""
    database = plyvel.DB(str(data / "state"), bloom_filter_bits=10)
    assert database.get(key) is not None
    database.put(key, seal(key, payload))
    database.close()


def change_last(chain: Chain, data: Path, change: Callable[[StoredBlock], StoredBlock]) -> None:
    """Store another last block."""
    network_id = chain.genesis.network_id
    old = BlockSegments.open(data / "blocks", network_id=network_id, synced=Height(BLOCKS))
    stored = [old.read(Height(number)) for number in range(1, BLOCKS + 1)]
    old.close()
    shutil.rmtree(data / "blocks")
    new = BlockSegments.open(data / "blocks", network_id=network_id, synced=Height(0))
    for one in (*stored[:-1], change(stored[-1])):
        new.append(one)
    new.close()


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return sha256(b"".join(str(path).encode() + path.read_bytes() for path in files)).hexdigest()


def test_a_sound_node_is_equal_in_all(grown: Chain, data: Path) -> None:
    blocks = digest(data / "blocks")
    found = audit(grown, data)
    assert found.difference is None
    assert (found.height, found.proved_height, found.stored_height) == (BLOCKS, BLOCKS, BLOCKS)
    assert digest(data / "blocks") == blocks
    assert not (data / "audit").exists()


def test_the_chain_alone_is_audited_beside_a_running_node(grown: Chain, data: Path) -> None:
    node = open_copy(grown, data)
    before = digest(data)
    with pytest.raises(UsageError) as caught:
        audit(grown, data)
    assert caught.value.reason is Reason.DATA_LOCKED
    found = audit(grown, data, is_chain_only=True)
    assert (found.difference, found.height, found.stored_height) == (None, BLOCKS, None)
    assert digest(data) == before
    node.run()
    assert audit(grown, data, is_chain_only=True).height == BLOCKS + 1
    node.close()


def ask(chain: Chain, request_id: str, valid_for_ms: int) -> tuple[bytes, int]:
    """Have a request of this id in the next block. Return its digest, and the block's height."""
    height = chain.execution.store.executed_height + 1
    transaction = build_transaction(
        network_id=chain.genesis.network_id,
        member=MemberId("dealer-a"),
        request_id=request_id,
        valid_until_ms=START_MS + height * BLOCK_MS + valid_for_ms,
        gas_limit=1_000_000,
        signers=[chain.keys["dealer-a"].key_id],
        call=Call.create("notes", "write", {"text": str(height)}),
    )
    chain.run(transaction)
    return transaction.request_digest, height


def test_a_request_id_that_was_used_again_after_it_expired_is_no_difference(grown: Chain, data: Path) -> None:
    node = open_copy(grown, data)
    ask(node, "twice", BLOCK_MS)
    other, other_height = ask(node, "other", BLOCK_MS)
    for _ in range(3):
        node.run()
    digest_of_twice, again = ask(node, "twice", BLOCK_MS)
    node.run()
    assert node.execution.store.find_request(digest_of_twice) == (again, 0)
    node.close()
    assert audit(grown, data).difference is None
    for place in ((again, 0), (again, 1), (again + 1, 0), (again + 9, 0)):
        overwrite(data, request_key(other), encode_position(*place))
        found = audit(grown, data).difference
        assert found is not None
        assert (found.part, found.height, found.value) == (
            "position of request other",
            other_height,
            str(place),
        )


@pytest.mark.parametrize(
    "part", ["receipt 0", "number of receipts", "state root", "position", "entry", "the state"]
)
def test_what_is_stored_otherwise_is_named_with_its_height(grown: Chain, data: Path, part: str) -> None:
    node = open_copy(grown, data)
    store = node.execution.store
    receipts, executed = store.get_receipts(Height(BLOCKS)), store.executed
    (key, _), *_ = store._database.scan(STATE_START, STATE_STOP, 1)
    block = decode_block(store.read_block(Height(BLOCKS)).block)
    (transaction,) = decode_body(block, grown.genesis.network_id, lambda _: None).transactions
    node.close()
    match part:
        case "receipt 0":
            overwrite(data, receipts_key(BLOCKS), encode_receipts((receipts[0] + b"x",)))
        case "number of receipts":
            overwrite(data, receipts_key(BLOCKS), encode_receipts(()))
        case "state root":
            wrong = executed.block_hash + bytes(32) + executed.receipts_root
            overwrite(data, executed_key(BLOCKS), wrong)
        case "position":
            overwrite(data, request_key(transaction.request_digest), encode_position(2, 0))
        case "entry":
            database = plyvel.DB(str(data / "state"), bloom_filter_bits=10)
            first, *_ = database.iterator(prefix=b"P", include_value=False)
            database.delete(first)
            database.close()
        case _:
            overwrite(data, key, b"another value")
    found = audit(grown, data).difference
    assert found is not None
    assert found.part.startswith(part)
    assert found.height == BLOCKS
    assert found.value != found.limit
    assert "rebuild" in found.remedy


def test_a_proof_that_no_quorum_signed_is_named(grown: Chain, data: Path) -> None:
    def forge(stored: StoredBlock) -> StoredBlock:
        proof = decode_commit_proof(stored.proof)
        signatures = tuple((index, Signature(bytes(64))) for index, _ in proof.certificate.signatures)
        certificate = replace(proof.certificate, signatures=signatures)
        return replace(stored, proof=encode_commit_proof(replace(proof, certificate=certificate)))

    change_last(grown, data, forge)
    found = audit(grown, data, is_chain_only=True)
    assert found.difference is not None
    assert (found.difference.height, found.difference.part) == (BLOCKS, "commit proof")
    assert (found.height, found.proved_height) == (BLOCKS - 1, BLOCKS - 1)


def test_a_proof_for_another_block_or_epoch_is_named(grown: Chain, data: Path) -> None:
    first = BlockSegments.open(
        data / "blocks", network_id=grown.genesis.network_id, synced=Height(BLOCKS), is_read_only=True
    )
    other = first.read(Height(1)).proof
    first.close()
    change_last(grown, data, lambda stored: replace(stored, proof=other))
    found = audit(grown, data, is_chain_only=True).difference
    assert found is not None
    assert (found.part, found.value) == ("commit proof", "for block 1")

    def outdate(stored: StoredBlock) -> StoredBlock:
        proof = decode_commit_proof(stored.proof)
        certificate = replace(proof.certificate, epoch=Epoch(1))
        return replace(stored, proof=encode_commit_proof(replace(proof, certificate=certificate)))

    change_last(grown, data, outdate)
    found = audit(grown, data, is_chain_only=True).difference
    assert found is not None
    assert (found.value, found.limit) == ("of epoch 1", "of epoch 0")


class _StopAt:
    def __init__(self, height: int) -> None:
        self.stop = StopRequest()
        self.height = height

    def __call__(self, progress: Progress) -> None:
        self.stop.is_asked = progress.height >= self.height


def test_an_interrupted_audit_goes_on(grown: Chain, data: Path) -> None:
    stop = _StopAt(2)
    with pytest.raises(Stopped):
        audit(grown, data, watch=Watch(stop, stop.stop, interval_s=0))
    found = audit(grown, data)
    assert found.replayed is not None
    assert (found.replayed.began_at, found.height, found.difference) == (2, BLOCKS, None)


def test_damage_is_refused_with_its_remedy(grown: Chain, data: Path) -> None:
    shutil.rmtree(data / "state")
    with pytest.raises(UsageError, match="holds no state"):
        audit(grown, data)
    assert not (data / "state").exists()
    assert audit(grown, data, is_chain_only=True).difference is None
    (segment,) = (data / "blocks").iterdir()
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    with pytest.raises(CorruptState, match=r"does not verify|damaged|last whole record"):
        audit(grown, data, is_chain_only=True)


def test_a_folder_that_is_not_its_own_is_never_removed(grown: Chain, data: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "audit"
    mine.mkdir(parents=True)
    (mine / "letters").touch()
    with pytest.raises(UsageError, match="was not made by this command"):
        audit_node(
            data,
            grown.genesis,
            ExecutionMode.IN_PROCESS,
            Watch(lambda _: None),
            scratch=mine.parent,
            is_chain_only=True,
        )
    assert (mine / "letters").exists()
