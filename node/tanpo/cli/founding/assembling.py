"""A genesis made of what the members' cards say, and checked before anybody signs it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from typing import Final

from tanpo.cli.founding.cards import Card, Facts
from tanpo.contracts import PRODUCT_CONTRACTS, load_source
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.genesis import Genesis, InstalledContract, Parameters, verify_genesis
from tanpo.ledger.transaction import NAME_PATTERN
from tanpo.ledger.validators import Validator, validators_to_value
from tanpo.ledger.values import Fields
from tanpo.node.contract_sets import Programs
from tanpo.node.epochs import VALIDATORS_CONTRACT
from tanpo.node.installing import install_genesis

OPERATING_CONTRACTS: Final = ("settlement", "collateral")
"""The contracts that may act on the register for those who signed."""

_UNIQUE: Final = (
    ("member", "a member"),
    ("lei", "an LEI"),
    ("ca_certificate", "a CA"),
    ("validator_key", "a validator's key"),
    ("transaction_key", "a transaction key"),
)
"""What no two cards may share, and what people call it."""


def plan_contracts() -> tuple[InstalledContract, ...]:
    """Return the product's contracts. Validators are given theirs when their keys are known."""
    arguments: dict[str, Fields] = {"instruments": (("contracts", OPERATING_CONTRACTS),)}
    return tuple(
        InstalledContract(name=name, source=load_source(name), arguments=arguments.get(name, ()))
        for name in PRODUCT_CONTRACTS
    )


def assemble_genesis(
    network: str,
    members: Sequence[Facts],
    *,
    voting: Collection[str],
    contracts: Sequence[InstalledContract],
    parameters: Parameters,
    time_ms: int,
) -> Genesis:
    """Return the genesis of a network in which the nodes of the `voting` members are the validators."""
    validators = tuple(one.to_validator() for one in members if one.member in voting)
    return Genesis(
        network=network,
        time_ms=time_ms,
        parameters=parameters,
        members=tuple(one.to_member() for one in members),
        validators=validators,
        contracts=tuple(_complete(contract, validators) for contract in contracts),
    )


def propose_genesis(
    network: str,
    cards: Sequence[Card],
    *,
    observers: Collection[str],
    parameters: Parameters,
    time_ms: int,
) -> Genesis:
    """Return the genesis that these cards make, and that a node can start with.

    The nodes of `observers` do not vote from the beginning.

    Raises:
        UsageError: two cards contradict each other, or no node could start with what they make.
    """
    if not NAME_PATTERN.fullmatch(network):
        raise _wrong("the network's name has a wrong form", network, NAME_PATTERN.pattern)
    check_cards(cards)
    members = [card.facts for card in cards]
    names = [one.member for one in members]
    for name in observers:
        if name not in names:
            raise _wrong("there is no card of this observer", name, ", ".join(names))
    genesis = assemble_genesis(
        network,
        members,
        voting=[name for name in names if name not in observers],
        contracts=plan_contracts(),
        parameters=parameters,
        time_ms=time_ms,
    )
    check_start(genesis)
    return genesis


def check_start(genesis: Genesis) -> None:
    """Raise `UsageError` unless nodes could start with a genesis: its contracts are run, as nodes do."""
    verify_genesis(genesis)
    install_genesis(genesis, Programs())


def check_cards(cards: Sequence[Card]) -> None:
    """Raise `UsageError` when two cards name the same member, LEI, CA or key."""
    for field, what in _UNIQUE:
        first: dict[object, Card] = {}
        for card in cards:
            value = getattr(card.facts, field)
            other = first.setdefault(value, card)
            if other is not card:
                shown = value if isinstance(value, str) else f"{other.facts.member} and {card.facts.member}"
                raise _wrong(f"{what} is on two cards, {other.source} and {card.source}", shown, "each once")


def parse_parameters(given: Sequence[str]) -> Parameters:
    """Return the limits with those of `NAME=VALUE` texts in the place of the ordinary ones.

    Raises:
        UsageError: there is no such limit, it is given twice, or its value is no whole number.
    """
    known = [field.name for field in fields(Parameters)]
    chosen: dict[str, int] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in known:
            raise _wrong("there is no such limit", text, f"{', '.join(known)}, as NAME=VALUE")
        if name in chosen:
            raise _wrong("a limit is given twice", name, "each once")
        if not (value.isascii() and value.isdecimal()) or len(value) > _DIGITS_MAX:
            raise _wrong(f"{name} is no whole number", value, f"digits, at most {_DIGITS_MAX}")
        chosen[name] = int(value)
    return replace(Parameters(), **chosen)


_DIGITS_MAX: Final = 15


def _complete(contract: InstalledContract, validators: tuple[Validator, ...]) -> InstalledContract:
    """Return the contract with what it starts with; the validators' keys are made last."""
    if contract.name != VALIDATORS_CONTRACT:
        return contract
    return replace(contract, arguments=(("validators", validators_to_value(validators)),))


def _wrong(why: str, value: object, limit: object) -> UsageError:
    return UsageError(
        Reason.CONFIGURATION, why, value=value, limit=limit, remedy="see `tanpo genesis propose --help`"
    )
