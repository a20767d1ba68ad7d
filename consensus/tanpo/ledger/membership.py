"""The members of a state: what the contract `members` keeps of each, read without running it.

The genesis names the first ones, and the contract is set up with what it says of them. From then on the state
counts alone: a member that was admitted later is in no genesis, and one of the genesis may be dismissed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast

from tanpo.ledger.contractversion import compute_contract_key
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.genesis import MEMBERS_CONTRACT, Genesis
from tanpo.ledger.keycodec import plain_prefix
from tanpo.ledger.statelayout import StateLayout
from tanpo.ledger.types import MemberId
from tanpo.ledger.values import Fields, Value

RECORDS_VARIABLE: Final = "records"
ROLES_VARIABLE: Final = "roles"
OWNERS_VARIABLE: Final = "owners"

STORED_AS: Final[Mapping[str, str]] = {
    RECORDS_VARIABLE: "Map[str, (name: str, lei: str, authorities: list[(certificate: bytes, added: int)], "
    "keys: list[bytes])]",
    ROLES_VARIABLE: "Map[str, list[str]]",
    OWNERS_VARIABLE: "Map[bytes, (key: bytes, member: str, added: int, removed: int)]",
}
"""The form in which nodes and proofs read what the contract keeps, as its layout spells it."""

_RECORDS_PREFIX: Final = plain_prefix(MEMBERS_CONTRACT, RECORDS_VARIABLE)
_MEMBERS_READ_MAX: Final = 4_096
"""Far more than the contract admits; bounds one scan."""

_LENGTH_BYTES: Final = 2
"""Before the text in a key of a `Map[str, ...]`."""


class StateSource(Protocol):
    """A state, or what stands for one."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or `None` if it has none."""

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first `limit` pairs with start <= key < stop, in ascending order of key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberAuthority:
    """A CA of a member, PEM, and the height of the block that added it: 0 for the genesis."""

    certificate: bytes
    added: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A member of a state: `authorities` are its CAs, `keys` are in DER.

    The state promises nothing about them but their size, and that no key is two members': a key may be no
    point of its curve, and a certificate none.
    """

    member: MemberId
    name: str
    lei: str
    roles: tuple[str, ...]
    authorities: tuple[MemberAuthority, ...]
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOwner:
    """A key of a state, DER, and whose it is for ever. It counts from the block after `added` to that of
    `removed`, which is 0 while it counts."""

    public_key: bytes
    member: MemberId
    added: int
    removed: int


def members_to_arguments(genesis: Genesis) -> Fields:
    """Return what sets up the contract `members`: the members of the genesis, and who has validators."""
    members: Value = tuple(
        {
            "member": str(one.member),
            "name": one.name,
            "lei": one.lei,
            "roles": one.roles,
            "ca_certificate": one.ca_certificate,
            "keys": one.keys,
        }
        for one in genesis.members
    )
    voters: Value = tuple(sorted({str(one.member) for one in genesis.validators}))
    return (("members", members), ("voters", voters))


def list_genesis_members(genesis: Genesis) -> tuple[Registration, ...]:
    """Return the members that a genesis names."""
    return tuple(
        Registration(
            member=one.member,
            name=one.name,
            lei=one.lei,
            roles=one.roles,
            authorities=(MemberAuthority(certificate=one.ca_certificate, added=0),),
            keys=one.keys,
        )
        for one in genesis.members
    )


def touches_members(keys: Iterable[bytes]) -> bool:
    """Return whether a change of these state keys may change who the members are, their keys or their CAs."""
    return any(key.startswith(_RECORDS_PREFIX) for key in keys)


def find_members(state: StateSource) -> tuple[Registration, ...] | None:
    """Return the members of a state by name, None if no contract of the state keeps any.

    Raises:
        PeerFault: a record is none of this contract.
    """
    entry = state.get(compute_contract_key(MEMBERS_CONTRACT))
    if entry is None:
        return None
    layout = StateLayout.decode(MEMBERS_CONTRACT, entry)
    if RECORDS_VARIABLE not in layout.variables:
        return None
    check_stored(layout, RECORDS_VARIABLE)
    found: list[Registration] = []
    for key, stored in state.scan(_RECORDS_PREFIX, _RECORDS_PREFIX + b"\xff" * 3, _MEMBERS_READ_MAX):
        member = key[len(_RECORDS_PREFIX) + _LENGTH_BYTES :].decode("ascii")
        held = state.get(layout.spell_key(ROLES_VARIABLE, member))
        roles = () if held is None else layout.read_value(ROLES_VARIABLE, held)
        found.append(read_registration(layout, member, stored, roles))
    # A contract that begins to keep them has none at first. A node that starts then must go by the same as
    # those that ran on, for which nothing has changed.
    return tuple(sorted(found, key=lambda one: one.member)) or None


def check_stored(layout: StateLayout, variable: str) -> None:
    """Raise `PeerFault` if a contract keeps a variable in another form than nodes and proofs read."""
    found = str(layout.get_shape(variable))
    if found != STORED_AS[variable]:
        raise PeerFault(
            Reason.MALFORMED,
            f"the contract {MEMBERS_CONTRACT} keeps {variable} in another form",
            value=found,
            limit=STORED_AS[variable],
            remedy="run the software version the network runs",
        )


def read_registration(layout: StateLayout, member: str, stored: bytes, roles: Value) -> Registration:
    """Return a member from its stored record and its roles. Raises `PeerFault` for bytes that are none."""
    record = cast("Mapping[str, Value]", layout.read_value(RECORDS_VARIABLE, stored))
    return Registration(
        member=MemberId(member),
        name=str(record["name"]),
        lei=str(record["lei"]),
        roles=tuple(str(role) for role in cast("Sequence[Value]", roles)),
        authorities=tuple(
            MemberAuthority(certificate=cast("bytes", one["certificate"]), added=cast("int", one["added"]))
            for one in cast("Sequence[Mapping[str, Value]]", record["authorities"])
        ),
        keys=cast("tuple[bytes, ...]", record["keys"]),
    )


def read_owner(layout: StateLayout, stored: bytes) -> KeyOwner:
    """Return whose a key is from its stored record. Raises `PeerFault` for bytes that are none."""
    record = cast("Mapping[str, Value]", layout.read_value(OWNERS_VARIABLE, stored))
    return KeyOwner(
        public_key=cast("bytes", record["key"]),
        member=MemberId(str(record["member"])),
        added=cast("int", record["added"]),
        removed=cast("int", record["removed"]),
    )
