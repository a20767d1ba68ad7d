"""What this validator signed, as far as it survived: the consensus store, which may be missing (ADR 8).

Rule: a store is made by `create_promises`, when a node is provisioned, or by the first write of a validator
that rejoins (D8). A start that finds none never makes one: what was there may be lost, and whoever forgets a
vote must not vote. Whoever was found to have forgotten stays so over restarts: those who saw its votes may
have restarted meanwhile. Promises are a key's: another key has nothing to forget (D6).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tanpo.ledger.certificate import compute_quorum
from tanpo.ledger.errors import CorruptState, Reason, UsageError, invariant
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.keys import PrivateKey, PublicKey
from tanpo.ledger.types import Epoch
from tanpo.node.contract_sets import Programs
from tanpo.node.epochs import Lineage
from tanpo.node.logs import get_logger
from tanpo.node.versions import load_contracts
from tanpo.storage import LedgerStore, SafetyImage, SafetyStore, SafetyWrite
from tanpo.storage.files import create_synced, guarded_io, sync_folder

CONSENSUS_NAME: Final = "consensus"
_FORGOTTEN_NAME: Final = "forgotten"
"""A mark beside the store, with the id of a key: it lacks promises that this key made."""

AMNESIA_REMEDY: Final = (
    "put consensus/ back if it was only moved; else start the node with --rejoin while every other validator "
    "is up, or replace the validator's key. Only a key that never voted may begin with `tanpo node init`"
)

_LOG: Final = get_logger("consensus")


class Promises:
    """The consensus store of a running node."""

    def __init__(self, path: Path, store: SafetyStore | None, key: PrivateKey | None) -> None:
        self._path = path
        self._store = store
        self._mark = b"" if key is None else key.key_id.hex().encode("ascii")
        mark = path / _FORGOTTEN_NAME
        self._is_marked = mark.exists() and mark.read_bytes() == self._mark

    @classmethod
    def open(cls, data_dir: Path, *, may_rejoin: bool, key: PrivateKey | None = None) -> Promises:
        """Open what is there for the key that signs. A damaged store is set aside, and kept, if the operator
        lets us rejoin.

        Raises:
            UsageError: another process uses it.
            CorruptState: it is damaged.
        """
        path = data_dir / CONSENSUS_NAME
        if not SafetyStore.is_present(path):
            return cls(path, None, key)
        try:
            return cls(path, SafetyStore.open(path), key)
        except CorruptState as error:
            if not may_rejoin:
                raise
            kept = SafetyStore.set_aside(path)
            _LOG.error("consensus store is damaged", why=error.message, kept=str(kept))
            return cls(path, None, key)

    @property
    def has_forgotten(self) -> bool:
        """Whether there ought to be a store and is none, or the one there is lacks promises."""
        return self._store is None or self._is_marked

    def load(self) -> SafetyImage:
        """Return what the last write left behind; nothing if the store is missing.

        Raises:
            CorruptState: it is damaged.
        """
        return SafetyImage(record=None, blocks={}) if self._store is None else self._store.load()

    def save(self, write: SafetyWrite) -> None:
        """Make one step of the replica durable; the first one of a validator that rejoins makes the store.

        Whoever has amnesia promises nothing: a write is the end of it, and holds the floor (D8).

        Raises:
            CorruptState, Unavailable: the write failed; stop the process and send nothing.
        """
        if self._store is None:
            SafetyStore.create(self._path, write)
            self._store = SafetyStore.open(self._path)
        else:
            self._store.save(write)
        if self._is_marked:
            with guarded_io(self._path):
                (self._path / _FORGOTTEN_NAME).unlink()
                sync_folder(self._path)
            self._is_marked = False

    def note_amnesia(self) -> None:
        """Remember, over restarts too, that the store lacks promises.

        Raises:
            CorruptState, Unavailable: the write failed; stop the process.
        """
        if self._store is None or self._is_marked:
            return
        with guarded_io(self._path):
            (self._path / _FORGOTTEN_NAME).unlink(missing_ok=True)  # that of another key
            create_synced(self._path / _FORGOTTEN_NAME, self._mark)
        self._is_marked = True

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()


def create_promises(genesis: Genesis, data_dir: Path, public_key: bytes | None = None) -> Path:
    """Make the consensus store of a node whose key never voted, and return its path.

    Raises:
        UsageError: there is one; or the ledger has blocks, and no key is given or it was a validator's: then
            this node may have voted.
        CorruptState: the ledger contradicts itself.
    """
    path = data_dir / CONSENSUS_NAME
    if SafetyStore.is_present(path):
        raise _refuse_init("there is a consensus store already", path, "start it with `tanpo node run`")
    mark = path / _FORGOTTEN_NAME
    if public_key is not None:
        key_id = PublicKey.decode(public_key).key_id.hex()
        with guarded_io(mark):
            is_marked = mark.exists() and mark.read_bytes() == key_id.encode("ascii")
        if is_marked:
            raise _refuse_init("what this key promised is lost, as a mark says", key_id, AMNESIA_REMEDY)
    ledger = LedgerStore.open(data_dir, network_id=genesis.network_id)
    try:
        if ledger.segment_height > 0 and (public_key is None or _was_named(ledger, genesis, public_key)):
            raise _refuse_init("the ledger has blocks", f"height {ledger.segment_height}", AMNESIA_REMEDY)
        SafetyStore.create(path)
    finally:
        ledger.close()
    return path


def mark_forgotten(data_dir: Path, key: PrivateKey | None) -> None:
    """Remember in a data directory that is being restored that this key made promises which are not there."""
    if key is None:
        return
    path = data_dir / CONSENSUS_NAME
    with guarded_io(path):
        path.mkdir(exist_ok=True)
        create_synced(path / _FORGOTTEN_NAME, key.key_id.hex().encode("ascii"))
        sync_folder(data_dir)


def is_marked_forgotten(path: Path, key: PrivateKey) -> bool:
    """Return whether a mark beside the consensus store says that promises of this key are lost."""
    mark = path / _FORGOTTEN_NAME
    return mark.exists() and mark.read_bytes() == key.key_id.hex().encode("ascii")


def verify_rejoin(validator_count: int) -> None:
    """Raise `UsageError` when the others are too few to tell a validator what it may have signed (D8)."""
    invariant(validator_count > 0, "a network without validators")
    needed = compute_quorum(validator_count)
    if validator_count - 1 < needed:
        raise UsageError(
            Reason.CONFIGURATION,
            f"this validator cannot rejoin: {needed} others would have to tell what they saw of it",
            value=f"{validator_count - 1} others",
            limit=f"{needed} or more",
            remedy="restore consensus/ and data of the moment it stopped, or begin a new network",
        )


def _was_named(ledger: LedgerStore, genesis: Genesis, public_key: bytes) -> bool:
    """Return whether a key was a validator's in any epoch that the ledger knows of."""
    machine = load_contracts(ledger, Programs()).machine
    lineage = Lineage(ledger, lambda: machine, genesis)
    epoch = Epoch(0)
    while (validators := lineage.find(epoch)) is not None:
        if any(one.public_key == public_key for one in validators.validators):
            return True
        epoch = Epoch(epoch + 1)
    return False


def _refuse_init(why: str, value: object, remedy: str) -> UsageError:
    return UsageError(
        Reason.CONFIGURATION,
        f"this node is not new: {why}",
        value=value,
        limit="a data directory without blocks and without consensus/",
        remedy=remedy,
    )
