"""What lies where in a ledger's folder and in its LevelDB, and how each record is spelled.

    S key              state value          B height:u32     executed block: hash, state root, receipts root
    T tx id            height, index        E height:u32     receipts: count:u32, each length:u32 and bytes
    Q request digest   height, index        X...             roots of the tree, see `records`
    F, L epoch:u32     see `beginning`      J...             see `snapshot_building`
    V key height:u32   value before a block W height:u32     keys that a block changed, see `history`
    P member position  id of a transaction that concerns the member, the latest first
    G range, group     nothing              H                nothing, see `groups`

Every value is sealed with a checksum. The nodes of the tree lie in files beside LevelDB's, see `nodelog`, and
their parents' hashes cover them.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

from tanpo.ledger.codec import Reader, Writer
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.types import BlockHash, Height, MerkleRoot, NetworkId, StateRoot, TxId
from tanpo.storage.files import corrupt, create_synced, guarded_io
from tanpo.storage.guard import SLOT_BYTES, SLOTS, GuardFile, read_slots
from tanpo.storage.segments import REMEDY

NETWORK_NAME: Final = "network"
GUARD_NAME: Final = "guard"
BLOCKS_NAME: Final = "blocks"
STATE_NAME: Final = "state"

HEIGHT_MAX: Final = 2**32 - 1
PARTIES_START: Final = b"P"
PARTIES_STOP: Final = b"Q"
STATE_START: Final = b"S"
STATE_STOP: Final = b"T"
EXECUTED_STOP: Final = b"C"
RECEIPT_BYTES_MAX: Final = 1 << 30

FORMAT_VERSION: Final = 1
"""Of all that lies in a ledger's folder. Whatever an older version could not read right raises it."""

_FORMAT_NAME: Final = "tanpo-ledger"
_HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """An executed block, and what the next header needs of it."""

    height: Height
    block_hash: BlockHash
    state_root: StateRoot
    receipts_root: MerkleRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the ledger had got when its guard was last written, a lower bound after a crash."""

    segment_height: Height
    executed_height: Height


def state_key(key: bytes) -> bytes:
    """Return the database key of a state key."""
    return b"S" + key


def executed_key(height: int) -> bytes:
    """Return the database key of an executed block."""
    return b"B" + height.to_bytes(4, "big")


def receipts_key(height: int) -> bytes:
    """Return the database key of a block's receipts."""
    return b"E" + height.to_bytes(4, "big")


def tx_key(tx_id: TxId) -> bytes:
    """Return the database key of a transaction's position."""
    return b"T" + tx_id


def party_key(party: str, height: int, index: int) -> bytes:
    """Return the database key of a transaction among those that concern a member: later ones come first."""
    later = (HEIGHT_MAX - height).to_bytes(4, "big") + (HEIGHT_MAX - index).to_bytes(4, "big")
    return b"P" + len(party).to_bytes(1, "big") + party.encode("ascii") + later


def party_bounds(party: str, above: int, height: int) -> tuple[bytes, bytes]:
    """Return where the transactions above one height up to another lie among those that concern a member."""
    return party_key(party, height, HEIGHT_MAX), party_key(party, above, HEIGHT_MAX)


def party_stop(party: str) -> bytes:
    """Return the end of what concerns a member."""
    return party_key(party, 0, 0) + b"\x00"


def decode_party(key: bytes) -> str:
    """Return the member in a key made by `party_key`."""
    return key[2 : 2 + key[1]].decode("ascii")


def decode_party_position(key: bytes) -> tuple[Height, int]:
    """Return height and index in a key made by `party_key`."""
    height, index = int.from_bytes(key[-8:-4], "big"), int.from_bytes(key[-4:], "big")
    return Height(HEIGHT_MAX - height), HEIGHT_MAX - index


def request_key(digest: bytes) -> bytes:
    """Return the database key of the position of a request's transaction."""
    return b"Q" + digest


def encode_position(height: int, index: int) -> bytes:
    """Return the encoding of a transaction's height and index."""
    return height.to_bytes(4, "big") + index.to_bytes(4, "big")


def decode_position(record: bytes) -> tuple[Height, int]:
    """Return the height and index of a transaction."""
    return Height(int.from_bytes(record[:4], "big")), int.from_bytes(record[4:8], "big")


def encode_executed(executed: Executed) -> bytes:
    """Return the record of an executed block; its height is in the key."""
    return executed.block_hash + executed.state_root + executed.receipts_root


def decode_executed(height: Height, record: bytes) -> Executed:
    """Return an executed block from its record, whose checksum has been verified."""
    return Executed(
        height=height,
        block_hash=BlockHash(record[:_HASH_BYTES]),
        state_root=StateRoot(record[_HASH_BYTES : 2 * _HASH_BYTES]),
        receipts_root=MerkleRoot(record[2 * _HASH_BYTES :]),
    )


def encode_receipts(receipts: tuple[bytes, ...]) -> bytes:
    """Return the record of a block's receipts."""
    writer = Writer().u32(len(receipts))
    for receipt in receipts:
        writer.blob(receipt)
    return writer.finish()


def decode_receipts(record: bytes) -> tuple[bytes, ...]:
    """Return a block's receipts from their record, whose checksum has been verified."""
    reader = Reader(record)
    return tuple(reader.blob(RECEIPT_BYTES_MAX) for _ in range(reader.u32()))


def encode_progress(progress: Progress) -> bytes:
    """Return the guard's payload. Nothing executed, height -1, is written as 0."""
    return progress.segment_height.to_bytes(8, "big") + (progress.executed_height + 1).to_bytes(8, "big")


def decode_progress(payload: bytes) -> Progress:
    """Return the progress in a valid guard slot."""
    return Progress(
        segment_height=Height(int.from_bytes(payload[:8], "big")),
        executed_height=Height(int.from_bytes(payload[8:16], "big") - 1),
    )


def open_folder(path: Path, network_id: NetworkId) -> tuple[GuardFile, Progress]:
    """Check that the folder belongs to the network, or make it so if it is new, and open its guard.

    Raises:
        UsageError: it belongs to another network (GENESIS_MISMATCH), or a newer version wrote it
            (DATA_NEWER). CorruptState: its files contradict.
    """
    with guarded_io(path):
        stored = _read_network(path / NETWORK_NAME)
        if stored is None:
            _create(path, network_id)
            stored = network_id
    if stored != network_id:
        raise _foreign(path, stored, network_id)
    guard, image = GuardFile.open(path / GUARD_NAME)
    if image is None:
        guard.close()
        raise corrupt(path / GUARD_NAME, "neither slot verifies", remedy=REMEDY)
    return guard, decode_progress(image.payload)


def read_progress(path: Path, network_id: NetworkId) -> Progress:
    """Return how far the ledger in a folder had got, without touching it.

    Raises:
        UsageError: there is none (NOT_FOUND), it belongs to another network (GENESIS_MISMATCH), or a newer
            version wrote it (DATA_NEWER).
        CorruptState: its network or guard file does not verify.
    """
    with guarded_io(path):
        if not (path / NETWORK_NAME).exists() and not (path / BLOCKS_NAME).exists():
            raise UsageError(
                Reason.NOT_FOUND,
                f"{path} holds no ledger",
                value=path,
                limit="a data directory with blocks/",
                remedy="correct `data_dir`, or start the node: it fetches the chain from the others",
            )
        stored = _read_network(path / NETWORK_NAME)
        guard = path / GUARD_NAME
        image = read_slots(_cut_slots(guard.read_bytes())) if guard.exists() else None
    if stored is None:
        raise corrupt(path / NETWORK_NAME, "missing or damaged", remedy=REMEDY)
    if stored != network_id:
        raise _foreign(path, stored, network_id)
    if image is None:
        raise corrupt(guard, "neither slot verifies", remedy=REMEDY)
    return decode_progress(image.payload)


def _cut_slots(content: bytes) -> list[bytes]:
    return [content[start : start + SLOT_BYTES] for start in range(0, SLOT_BYTES * SLOTS, SLOT_BYTES)]


def _foreign(path: Path, stored: NetworkId, network_id: NetworkId) -> UsageError:
    return UsageError(
        Reason.GENESIS_MISMATCH,
        f"{path} belongs to network {stored.hex()}, not to {network_id.hex()}",
        value=stored.hex(),
        limit=network_id.hex(),
        remedy="give the node the genesis file of that network, or another data directory",
    )


def create_folder(path: Path, network_id: NetworkId) -> None:
    """Make the folder of a ledger that holds nothing yet. Raises `CorruptState` if it holds some."""
    with guarded_io(path):
        path.mkdir(parents=True, exist_ok=True)
        _create(path, network_id)


def write_folder(path: Path, network_id: NetworkId, progress: Progress) -> None:
    """Write the guard, then the network, over what may be there of either."""
    with guarded_io(path):
        (path / GUARD_NAME).unlink(missing_ok=True)
        (path / NETWORK_NAME).unlink(missing_ok=True)
        GuardFile.create(path / GUARD_NAME, encode_progress(progress))
        create_synced(path / NETWORK_NAME, _network_line(network_id))


def _create(path: Path, network_id: NetworkId) -> None:
    """Write the guard, then the network: blocks and state come after both, so none may be there yet."""
    if (path / BLOCKS_NAME).exists() or (path / STATE_NAME).exists():
        raise corrupt(
            path / NETWORK_NAME, "missing or damaged, although there are blocks or state", remedy=REMEDY
        )
    write_folder(path, network_id, Progress(segment_height=Height(0), executed_height=Height(-1)))


def _read_network(path: Path) -> NetworkId | None:
    """Return the network in the file, or `None` if the file is missing or damaged.

    Raises:
        UsageError: a newer version wrote it (DATA_NEWER).
    """
    if not path.exists():
        return None
    fields = path.read_bytes()[:256].split(b" ")
    _check_format(path, fields)
    if len(fields) != 4 or not _is_hex(fields[2]):
        return None
    network_id = NetworkId(bytes.fromhex(fields[2].decode("ascii")))
    return network_id if b" ".join(fields) == _network_line(network_id) else None


def _check_format(path: Path, fields: list[bytes]) -> None:
    """Raise `UsageError` for a format later than this version's, if no flipped bit made it so."""
    if len(fields) != 4 or not _is_hex(fields[2]) or not fields[1].isdigit() or len(fields[1]) > 9:
        return
    version, network_id = int(fields[1]), NetworkId(bytes.fromhex(fields[2].decode("ascii")))
    if version > FORMAT_VERSION and b" ".join(fields) == _network_line(network_id, version):
        raise UsageError(
            Reason.DATA_NEWER,
            f"{path.parent} was written by a newer version of tanpo",
            value=f"format {version}",
            limit=f"format {FORMAT_VERSION} or older",
            remedy="start the version that wrote it, or a later one; nothing was changed",
        )


def _is_hex(text: bytes) -> bool:
    return len(text) == 2 * _HASH_BYTES and all(byte in b"0123456789abcdef" for byte in text)


def _network_line(network_id: NetworkId, version: int = FORMAT_VERSION) -> bytes:
    # Of later versions the digest covers the number too: a damaged 1 must not pass for a newer format.
    covered = network_id if version == 1 else b"%d %b" % (version, network_id)
    digest = blake2b(covered, digest_size=8).hexdigest()
    return f"{_FORMAT_NAME} {version} {network_id.hex()} {digest}\n".encode("ascii")
