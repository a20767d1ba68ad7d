"""Genesis: the members, keys, validators, limits and contracts a network starts with.

Its hash is the network id, which every signature covers: two networks, or two versions of one genesis,
can never mistake each other's transactions or votes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Any, Final

from tanpo.ledger.block import BLOCK_BYTES_MAX, BLOCK_ENVELOPES_MAX, BLOCK_EVIDENCE_MAX
from tanpo.ledger.certificate import VALIDATORS_MAX
from tanpo.ledger.codec import Writer
from tanpo.ledger.errors import LedgerError, Reason, TransactionRejected, UsageError
from tanpo.ledger.keys import PublicKey
from tanpo.ledger.transaction import NAME_PATTERN
from tanpo.ledger.types import KeyId, MemberId, NetworkId
from tanpo.ledger.validators import Validator
from tanpo.ledger.values import Fields, value_from_json, value_to_json, write_fields

GENESIS_VERSION: Final = 1

MEMBERS_CONTRACT: Final = "members"
"""The contract that keeps the members; it is set up with what the genesis says of them, and no more."""

_HEADER_ROOM_BYTES: Final = (1 + BLOCK_EVIDENCE_MAX) * 1024
"""What an encoded block needs besides its envelopes: its header and two counts, and evidence, of which each
kind is below a kilobyte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Limits that every node enforces alike. Times are milliseconds, sizes bytes."""

    block_transactions_max: int = 500
    block_bytes_max: int = 1_000_000
    validity_max_ms: int = 3_600_000
    """How far ahead of block time `valid_until` may lie; bounds the memory of request ids."""
    gas_limit_max: int = 1_000_000
    block_gas_max: int = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An organisation: its LEI (ISO 17442) may be empty; `ca_certificate` is PEM and issues the
    certificates of its nodes and clients; `keys` are DER public keys that may sign transactions."""

    member: MemberId
    name: str
    lei: str
    roles: tuple[str, ...]
    ca_certificate: bytes
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledContract:
    """A contract present from the first block: source text and the arguments of its `@init`.

    That of the name `members` has none here: nodes set it up with the genesis' members.
    """

    name: str
    source: str
    arguments: Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """Everything a node must agree on before the first block. `time_ms` bounds the first block's time."""

    network: str
    time_ms: int
    parameters: Parameters
    members: tuple[Member, ...]
    validators: tuple[Validator, ...]
    contracts: tuple[InstalledContract, ...]

    @property
    def network_id(self) -> NetworkId:
        """The hash of the whole genesis."""
        return NetworkId(sha256(b"tanpo/genesis/1" + encode_genesis(self)).digest())


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    """A key that may sign transactions for a member."""

    member: MemberId
    public_key: PublicKey


def collect_keys(genesis: Genesis) -> dict[KeyId, RegisteredKey]:
    """Return every transaction key of the genesis by its id."""
    keys: dict[KeyId, RegisteredKey] = {}
    for member in genesis.members:
        for encoded in member.keys:
            key = PublicKey.decode(encoded)
            keys[key.key_id] = RegisteredKey(member.member, key)
    return keys


def encode_genesis(genesis: Genesis) -> bytes:
    """Return the canonical encoding that the network id covers."""
    writer = Writer().u16(GENESIS_VERSION).text(genesis.network).u64(genesis.time_ms)
    for field in fields(Parameters):
        writer.u64(getattr(genesis.parameters, field.name))
    writer.u32(len(genesis.members))
    for member in genesis.members:
        writer.text(member.member).text(member.name).text(member.lei).u32(len(member.roles))
        for role in member.roles:
            writer.text(role)
        writer.blob(member.ca_certificate).u32(len(member.keys))
        for key in member.keys:
            writer.blob(key)
    writer.u32(len(genesis.validators))
    for validator in genesis.validators:
        writer.text(validator.member).text(validator.node).blob(validator.public_key)
    writer.u32(len(genesis.contracts))
    for contract in genesis.contracts:
        writer.text(contract.name).blob(contract.source.encode("utf-8"))
        write_fields(writer, contract.arguments)
    return writer.finish()


def genesis_to_json(genesis: Genesis) -> str:
    """Return the genesis as JSON for people and files; `genesis_from_json` is its inverse."""
    document = {
        "version": GENESIS_VERSION,
        "network": genesis.network,
        "time_ms": genesis.time_ms,
        "parameters": asdict(genesis.parameters),
        "members": [
            {
                "member": m.member,
                "name": m.name,
                "lei": m.lei,
                "roles": list(m.roles),
                "ca_certificate": m.ca_certificate.decode("ascii"),
                "keys": [key.hex() for key in m.keys],
            }
            for m in genesis.members
        ],
        "validators": [
            {"member": v.member, "node": v.node, "public_key": v.public_key.hex()} for v in genesis.validators
        ],
        "contracts": [
            {"name": c.name, "source": c.source, "arguments": dict(value_to_json(dict(c.arguments)))}
            for c in genesis.contracts
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def genesis_from_json(text: str) -> Genesis:
    """Return the genesis in a JSON document.

    Raises:
        UsageError: the document is not one, or its members, keys or validators contradict each other.
    """
    try:
        document = json.loads(text, parse_float=_refuse_float, parse_constant=_refuse_float)
        genesis = _read_document(document)
        encode_genesis(genesis)
    except KeyError as error:
        raise _wrong(f"{error} is missing") from None
    except (json.JSONDecodeError, RecursionError):
        raise _wrong("it is no JSON") from None
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        raise _wrong(f"it has not the form of one: {error}") from None
    except TransactionRejected as error:
        raise _wrong(error.message) from None
    verify_genesis(genesis)
    return genesis


def verify_genesis(genesis: Genesis) -> None:
    """Raise `UsageError` when members, keys, validators, contracts or parameters contradict each other."""
    members = [member.member for member in genesis.members]
    _check_names("member", members)
    _check_names("contract", [contract.name for contract in genesis.contracts])
    if any(one.arguments for one in genesis.contracts if one.name == MEMBERS_CONTRACT):
        raise _wrong(f"{MEMBERS_CONTRACT} is given arguments, but it takes the members of the genesis itself")
    _verify_keys(genesis)
    _verify_validators(genesis.validators, members)
    _verify_parameters(genesis.parameters)


def _check_names(what: str, names: Sequence[str]) -> None:
    for name in names:
        if not NAME_PATTERN.fullmatch(name):
            raise _wrong(f"{what} {name!r} has a wrong form, allowed {NAME_PATTERN.pattern}")
    if len(set(names)) != len(names):
        raise _wrong(f"a {what} is listed twice")


def _verify_keys(genesis: Genesis) -> None:
    try:
        encoded = [PublicKey.decode(key).encoded for m in genesis.members for key in m.keys]
        encoded += [PublicKey.decode(v.public_key).encoded for v in genesis.validators]
    except LedgerError as error:
        raise _wrong(error.message) from None
    if len(set(encoded)) != len(encoded):
        raise _wrong("a key is listed twice")


def _verify_validators(validators: Sequence[Validator], members: Sequence[MemberId]) -> None:
    if not 1 <= len(validators) <= VALIDATORS_MAX:
        raise _wrong(f"{len(validators)} validators, allowed 1..{VALIDATORS_MAX}")
    for validator in validators:
        if validator.member not in members:
            raise _wrong(f"validator {validator.node!r} belongs to unknown member {validator.member!r}")
    if len({(v.member, v.node) for v in validators}) != len(validators):
        raise _wrong("a validator is listed twice")


def _verify_parameters(parameters: Parameters) -> None:
    for field in fields(Parameters):
        if getattr(parameters, field.name) < 1:
            raise _wrong(f"{field.name} is {getattr(parameters, field.name)}, the least is 1")
    # A leader fills a block up to these; one that nobody can decode would stop the network.
    bytes_max = BLOCK_BYTES_MAX - _HEADER_ROOM_BYTES
    if parameters.block_bytes_max > bytes_max:
        raise _wrong(f"block_bytes_max is {parameters.block_bytes_max}, the most is {bytes_max}")
    if parameters.block_transactions_max > BLOCK_ENVELOPES_MAX:
        raise _wrong(
            f"block_transactions_max is {parameters.block_transactions_max}, "
            f"the most is {BLOCK_ENVELOPES_MAX}"
        )
    if parameters.gas_limit_max > parameters.block_gas_max:
        raise _wrong(
            f"gas_limit_max is {parameters.gas_limit_max}, above block_gas_max {parameters.block_gas_max}"
        )


def _read_document(document: Mapping[str, Any]) -> Genesis:
    if document["version"] != GENESIS_VERSION:
        raise ValueError(f"genesis version {document['version']}, known: {GENESIS_VERSION}")
    return Genesis(
        network=_text(document["network"]),
        time_ms=_number(document["time_ms"]),
        parameters=Parameters(**{name: _number(v) for name, v in document["parameters"].items()}),
        members=tuple(
            Member(
                member=MemberId(_text(m["member"])),
                name=_text(m["name"]),
                lei=_text(m["lei"]),
                roles=tuple(_text(role) for role in m["roles"]),
                ca_certificate=_text(m["ca_certificate"]).encode("ascii"),
                keys=tuple(bytes.fromhex(key) for key in m["keys"]),
            )
            for m in document["members"]
        ),
        validators=tuple(
            Validator(
                member=MemberId(_text(v["member"])),
                node=_text(v["node"]),
                public_key=bytes.fromhex(v["public_key"]),
            )
            for v in document["validators"]
        ),
        contracts=tuple(
            InstalledContract(
                name=_text(c["name"]),
                source=_text(c["source"]),
                arguments=tuple(sorted((n, value_from_json(v)) for n, v in c["arguments"].items())),
            )
            for c in document["contracts"]
        ),
    )


def _text(data: object) -> str:
    if not isinstance(data, str):
        raise TypeError(f"{data!r} is not text")
    return data


def _number(data: object) -> int:
    if type(data) is not int:
        raise TypeError(f"{data!r} is not an integer")
    return data


def _refuse_float(text: str) -> float:
    raise ValueError(f"{text} is a fraction: amounts are integers in the smallest unit")


def _wrong(why: str) -> UsageError:
    return UsageError(
        Reason.CONFIGURATION, f"genesis is unusable: {why}", remedy="make it with `tanpo net` or correct it"
    )
