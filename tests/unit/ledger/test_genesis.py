from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tanpo.ledger import (
    BLOCK_BYTES_MAX,
    Genesis,
    MemberId,
    Parameters,
    PrivateKey,
    Reason,
    Signature,
    UsageError,
    Validator,
    ValidatorIndex,
    ValidatorSet,
    collect_keys,
    compute_signed_digest,
    compute_valset_hash,
    genesis_from_json,
    genesis_to_json,
)

Document = dict[str, Any]


def test_genesis_round_trips_through_json(genesis: Genesis) -> None:
    assert genesis_from_json(genesis_to_json(genesis)) == genesis


@pytest.mark.parametrize(
    "change",
    [
        {"network": "another"},
        {"time_ms": 1_001},
        {"parameters": Parameters(block_transactions_max=499)},
        {"contracts": ()},
    ],
)
def test_every_part_of_the_genesis_changes_the_network_id(genesis: Genesis, change: Document) -> None:
    assert replace(genesis, **change).network_id != genesis.network_id


def test_members_and_validators_change_the_network_id(genesis: Genesis) -> None:
    renamed = replace(genesis.members[0], name="Renamed")
    changed = [
        replace(genesis, members=(renamed, *genesis.members[1:])),
        replace(genesis, validators=genesis.validators[::-1]),
    ]

    assert len({other.network_id for other in [genesis, *changed]}) == 3


def test_order_of_validators_changes_the_set_hash(genesis: Genesis) -> None:
    assert compute_valset_hash(genesis.validators) != compute_valset_hash(genesis.validators[::-1])


def test_every_transaction_key_is_found_with_its_member(genesis: Genesis) -> None:
    keys = collect_keys(genesis)

    assert {key.member for key in keys.values()} == {member.member for member in genesis.members}
    assert all(key_id == key.public_key.key_id for key_id, key in keys.items())


def test_validator_set_checks_signatures_of_the_right_validator(
    genesis: Genesis, keys: tuple[PrivateKey, ...]
) -> None:
    validators = ValidatorSet(genesis.validators)
    signature = keys[1].sign(compute_signed_digest(b"message"))

    assert validators.verify(ValidatorIndex(1), b"message", signature)
    assert not validators.verify(ValidatorIndex(0), b"message", signature)
    assert not validators.verify(ValidatorIndex(1), b"another", signature)


@pytest.mark.parametrize("index", [-1, 4, 1000])
def test_validator_outside_the_set_has_signed_nothing(genesis: Genesis, index: int) -> None:
    assert not ValidatorSet(genesis.validators).verify(ValidatorIndex(index), b"", Signature(b""))


def test_validator_is_found_by_member_and_node(genesis: Genesis) -> None:
    validators = ValidatorSet(genesis.validators)

    assert validators.find_index(MemberId("bank-2"), "node-1") == 2
    assert validators.find_index(MemberId("bank-2"), "node-2") is None
    assert validators.validator_count == 4


def spoil(path: str, value: object) -> Callable[[Document], None]:
    """Return a change that puts `value` at a dotted path of a document."""

    def change(document: Document) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        target: Any = document
        for part in parents:
            target = target[part]
        target[last] = value

    return change


def forget(name: str) -> Callable[[Document], None]:
    """Return a change that removes a top-level field."""

    def change(document: Document) -> None:
        del document[name]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (forget("members"), "'members' is missing"),
        (forget("version"), "'version' is missing"),
        (spoil("version", 2), "genesis version 2"),
        (spoil("network", 5), "5 is not text"),
        (spoil("network", "\ud800"), "surrogates"),
        (spoil("network", "n" * 70_000), "it has not the form of one"),
        (spoil("time_ms", "1000"), "'1000' is not an integer"),
        (spoil("time_ms", True), "True is not an integer"),
        (spoil("time_ms", -1), "it has not the form of one"),
        (spoil("time_ms", 1.5), "1.5 is a fraction"),
        (spoil("time_ms", float("inf")), "Infinity is a fraction"),
        (spoil("parameters.unheard_of", 1), "unheard_of"),
        (spoil("parameters.block_transactions_max", 0), "block_transactions_max is 0, the least is 1"),
        (spoil("parameters.block_bytes_max", BLOCK_BYTES_MAX), "block_bytes_max"),
        (spoil("parameters.block_bytes_max", BLOCK_BYTES_MAX - 16 * 1024), "block_bytes_max"),
        (
            spoil("parameters.block_transactions_max", 4097),
            "block_transactions_max is 4097, the most is 4096",
        ),
        (spoil("parameters.gas_limit_max", 10**12), "gas_limit_max is 1000000000000, above block_gas_max"),
        (spoil("members", None), "it has not the form of one"),
        (spoil("members.0.member", "Bank 0"), "member 'Bank 0' has a wrong form"),
        (spoil("members.0.member", "bank-1"), "a member is listed twice"),
        (spoil("members.0.keys", ["zz"]), "it has not the form of one"),
        (spoil("members.0.keys", ["00"]), "public key is not a DER"),
        (spoil("members.0.ca_certificate", "担"), "ascii"),
        (spoil("validators", []), "0 validators, allowed 1..64"),
        (spoil("validators.0.member", "bank-9"), "belongs to unknown member 'bank-9'"),
        (spoil("contracts.0.name", "Cash"), "contract 'Cash' has a wrong form"),
        (spoil("contracts.0.arguments", {"scale": None}), "None is not a value"),
        (spoil("contracts.0.arguments", {"scale": 2**256}), "integer out of range"),
        (spoil("contracts.0.arguments", {"": 1}), "field names must ascend"),
    ],
)
def test_genesis_that_cannot_be_used_says_why(
    genesis: Genesis, change: Callable[[Document], None], message: str
) -> None:
    document = json.loads(genesis_to_json(genesis))
    change(document)

    with pytest.raises(UsageError) as caught:
        genesis_from_json(json.dumps(document))

    assert caught.value.reason is Reason.CONFIGURATION
    assert message in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["", "null", "[]", "7", "{", '"x"', "[" * 100_000])
def test_text_that_is_no_genesis_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="genesis is unusable"):
        genesis_from_json(text)


def repeat_key(genesis: Genesis) -> Genesis:
    doubled = replace(genesis.members[0], keys=genesis.members[0].keys * 2)
    return replace(genesis, members=(doubled, *genesis.members[1:]))


def share_key(genesis: Genesis) -> Genesis:
    first = genesis.validators[0]
    voter = Validator(member=first.member, node=first.node, public_key=genesis.members[0].keys[0])
    return replace(genesis, validators=(voter, *genesis.validators[1:]))


def repeat_validator(genesis: Genesis) -> Genesis:
    first, second, *rest = genesis.validators
    twin = replace(second, member=first.member, node=first.node)
    return replace(genesis, validators=(first, twin, *rest))


def repeat_contract(genesis: Genesis) -> Genesis:
    return replace(genesis, contracts=genesis.contracts * 2)


@pytest.mark.parametrize(
    ("contradict", "message"),
    [
        (repeat_key, "a key is listed twice"),
        (share_key, "a key is listed twice"),
        (repeat_validator, "a validator is listed twice"),
        (repeat_contract, "a contract is listed twice"),
    ],
)
def test_genesis_that_contradicts_itself_is_refused(
    genesis: Genesis, contradict: Callable[[Genesis], Genesis], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        genesis_from_json(genesis_to_json(contradict(genesis)))
