"""What nodes read from the contract `validators`, and what they refuse to start with."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tanpo.contracts import load_source
from tanpo.ledger.block import EMPTY_ROOT
from tanpo.ledger.errors import UsageError
from tanpo.ledger.genesis import Genesis, InstalledContract, Member, Parameters
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import BlockHash, Epoch, MemberId
from tanpo.ledger.validators import Validator, ValidatorSet, validators_from_value, validators_to_value
from tanpo.node.contract_sets import Programs
from tanpo.node.epochs import Lineage, load_epoch
from tanpo.node.installing import install_genesis
from tanpo.node.versions import load_contracts
from tanpo.storage import LedgerStore
from tanpo.vm import Machine

MEMBERS = ("alpha", "beta", "gamma", "delta")
VALIDATORS = tuple(
    Validator(member=MemberId(member), node="n1", public_key=PrivateKey.generate().public_key.encoded)
    for member in MEMBERS
)


OTHER = """
@view
def total() -> int:
    return 4
"""


def make_genesis(named: tuple[Validator, ...] | None = VALIDATORS) -> Genesis:
    contracts = [
        InstalledContract(
            name="members",
            source=load_source("members"),
            arguments=(),
        )
    ]
    if named is not None:
        contracts.append(
            InstalledContract(
                name="validators",
                source=load_source("validators"),
                arguments=(("validators", validators_to_value(named)),),
            )
        )
    return Genesis(
        network="test",
        time_ms=1,
        parameters=Parameters(),
        members=tuple(
            Member(
                member=MemberId(member),
                name=member,
                lei="",
                roles=(),
                ca_certificate=b"none",
                keys=(PrivateKey.generate().public_key.encoded,),
            )
            for member in MEMBERS
        ),
        validators=VALIDATORS,
        contracts=tuple(contracts),
    )


def open_store(folder: Path, genesis: Genesis) -> tuple[LedgerStore, Machine]:
    shutil.rmtree(folder, ignore_errors=True)
    store = LedgerStore.open(folder, network_id=genesis.network_id)
    store.initialise(
        install_genesis(genesis, Programs()),
        block_hash=BlockHash(genesis.network_id),
        receipts_root=EMPTY_ROOT,
    )
    return store, load_contracts(store, Programs()).machine


@pytest.mark.parametrize("named", [VALIDATORS, None], ids=["with the contract", "without it"])
def test_a_network_starts_in_epoch_0_with_the_validators_of_its_genesis(
    tmp_path: Path, named: tuple[Validator, ...] | None
) -> None:
    genesis = make_genesis(named)
    store, machine = open_store(tmp_path / "data", genesis)
    try:
        place = load_epoch(store, machine, genesis)
        lineage = Lineage(store, lambda: machine, genesis)
        assert (place.epoch, place.base, place.pending_valset) == (0, None, None)
        assert place.validators.valset_hash == ValidatorSet(VALIDATORS).valset_hash
        first = lineage.find(Epoch(0))
        assert first is not None
        assert first.validators == VALIDATORS
        assert lineage.find(Epoch(0)) is first
        assert lineage.find(Epoch(1)) is None
    finally:
        store.close()


@pytest.mark.parametrize(
    "named",
    [VALIDATORS[:3], VALIDATORS[::-1], (*VALIDATORS[:3], replace(VALIDATORS[3], node="n2"))],
    ids=["fewer", "another order", "another node"],
)
def test_a_genesis_whose_contract_names_other_validators_is_refused(named: tuple[Validator, ...]) -> None:
    with pytest.raises(UsageError, match="genesis names other validators than its contract"):
        install_genesis(make_genesis(named), Programs())


def test_another_contract_of_that_name_is_refused() -> None:
    contract = InstalledContract(name="validators", source=OTHER, arguments=())
    with pytest.raises(UsageError, match="genesis names other validators than its contract"):
        install_genesis(replace(make_genesis(None), contracts=(contract,)), Programs())


def test_validators_read_back_as_they_were_written() -> None:
    assert validators_from_value(validators_to_value(VALIDATORS)) == VALIDATORS
