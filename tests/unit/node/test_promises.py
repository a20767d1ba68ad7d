"""The consensus store of a node: made by an explicit act, never by a start, unless the validator rejoins."""

from __future__ import annotations

from pathlib import Path

import pytest
from tanpo.ledger.block import EMPTY_ROOT
from tanpo.ledger.errors import CorruptState, UsageError
from tanpo.ledger.genesis import Genesis, Member, Parameters
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import BlockHash, Height, MemberId
from tanpo.node.promises import Promises, create_promises, verify_rejoin
from tanpo.storage import LedgerStore, SafetyImage, SafetyStore, SafetyWrite, StoredBlock

BLOCK = BlockHash(bytes(32))
WRITE = SafetyWrite(record=b"record", blocks={BLOCK: b"block"})


def make_genesis() -> Genesis:
    member = Member(
        member=MemberId("alpha"), name="Alpha", lei="", roles=(), ca_certificate=b"", keys=(b"key",)
    )
    return Genesis(
        network="test", time_ms=1, parameters=Parameters(), members=(member,), validators=(), contracts=()
    )


def damage(data_dir: Path) -> None:
    (data_dir / "consensus" / "live" / "guard").write_bytes(b"damaged")


def test_a_start_without_a_store_makes_none_and_knows_that_it_forgot(tmp_path: Path) -> None:
    promises = Promises.open(tmp_path, may_rejoin=True)
    assert promises.has_forgotten
    assert promises.load() == SafetyImage(record=None, blocks={})
    promises.close()
    assert not SafetyStore.is_present(tmp_path / "consensus")


def test_a_new_node_has_nothing_to_forget(tmp_path: Path) -> None:
    create_promises(make_genesis(), tmp_path)
    promises = Promises.open(tmp_path, may_rejoin=False)
    assert not promises.has_forgotten
    assert promises.load().record is None
    promises.close()


def test_the_first_write_of_a_rejoined_validator_makes_the_store(tmp_path: Path) -> None:
    promises = Promises.open(tmp_path, may_rejoin=True)
    promises.save(WRITE)
    assert not promises.has_forgotten
    promises.save(SafetyWrite(record=b"later"))
    promises.close()
    again = Promises.open(tmp_path, may_rejoin=False)
    assert again.load() == SafetyImage(record=b"later", blocks={BLOCK: b"block"})
    again.close()


def test_whoever_was_found_to_have_forgotten_stays_so_until_it_rejoins(tmp_path: Path) -> None:
    create_promises(make_genesis(), tmp_path)
    promises = Promises.open(tmp_path, may_rejoin=False)
    promises.save(WRITE)
    promises.note_amnesia()
    promises.note_amnesia()
    promises.close()
    again = Promises.open(tmp_path, may_rejoin=True)
    assert again.has_forgotten
    assert again.load().record == b"record"
    again.save(SafetyWrite(record=b"floor"))
    assert not again.has_forgotten
    again.close()
    last = Promises.open(tmp_path, may_rejoin=False)
    assert not last.has_forgotten
    last.close()


def test_another_key_has_nothing_to_forget(tmp_path: Path) -> None:
    """D6: a new key, brought in by a change of validators."""
    create_promises(make_genesis(), tmp_path)
    old, new = PrivateKey.generate(), PrivateKey.generate()
    promises = Promises.open(tmp_path, may_rejoin=False, key=old)
    promises.note_amnesia()
    promises.close()
    for key, has_forgotten in ((old, True), (new, False)):
        promises = Promises.open(tmp_path, may_rejoin=False, key=key)
        assert promises.has_forgotten is has_forgotten
        promises.close()


def test_a_damaged_store_ends_the_start(tmp_path: Path) -> None:
    create_promises(make_genesis(), tmp_path)
    damage(tmp_path)
    with pytest.raises(CorruptState) as caught:
        Promises.open(tmp_path, may_rejoin=False)
    assert "--rejoin" in caught.value.remedy
    assert SafetyStore.is_present(tmp_path / "consensus")


def test_a_damaged_store_is_kept_aside_when_the_validator_rejoins(tmp_path: Path) -> None:
    create_promises(make_genesis(), tmp_path)
    damage(tmp_path)
    promises = Promises.open(tmp_path, may_rejoin=True)
    assert promises.has_forgotten
    promises.save(WRITE)
    promises.close()
    assert (tmp_path / "consensus" / "damaged-1" / "guard").read_bytes() == b"damaged"


def test_a_node_is_prepared_once(tmp_path: Path) -> None:
    create_promises(make_genesis(), tmp_path)
    with pytest.raises(UsageError, match="not new: there is a consensus store"):
        create_promises(make_genesis(), tmp_path)


def test_a_node_whose_ledger_has_blocks_is_not_prepared_again(tmp_path: Path) -> None:
    genesis = make_genesis()
    ledger = LedgerStore.open(tmp_path, network_id=genesis.network_id)
    ledger.initialise({}, block_hash=BLOCK, receipts_root=EMPTY_ROOT)
    ledger.append_block(StoredBlock(height=Height(1), block_hash=BLOCK, block=b"block", proof=b"proof"))
    ledger.close()
    with pytest.raises(UsageError, match="not new: the ledger has blocks"):
        create_promises(genesis, tmp_path)
    assert not SafetyStore.is_present(tmp_path / "consensus")


def test_a_node_that_only_started_without_its_store_may_still_be_prepared(tmp_path: Path) -> None:
    genesis = make_genesis()
    LedgerStore.open(tmp_path, network_id=genesis.network_id).close()
    create_promises(genesis, tmp_path)
    assert SafetyStore.is_present(tmp_path / "consensus")


@pytest.mark.parametrize("validators", [1, 2])
def test_a_validator_with_too_few_others_cannot_rejoin(validators: int) -> None:
    with pytest.raises(UsageError, match="cannot rejoin"):
        verify_rejoin(validators)


@pytest.mark.parametrize("validators", [3, 4, 5, 6, 7, 16])
def test_a_quorum_of_others_may_bring_a_validator_back(validators: int) -> None:
    verify_rejoin(validators)
