"""What an operator wants changed among the validators, checked before anybody signs it."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from tanpo.client import Client
from tanpo.ledger.certificate import compute_faulty_max, compute_quorum
from tanpo.ledger.errors import LedgerError, Reason, Unavailable, UsageError
from tanpo.ledger.keys import PublicKey
from tanpo.ledger.transaction import NAME_PATTERN
from tanpo.ledger.types import MemberId
from tanpo.ledger.validators import Validator, validators_from_value, verify_change

CONTRACT: Final = "validators"
KEY_FILE_BYTES_MAX: Final = 16 * 1024
PRESENCE_SECONDS: Final = 5.0
"""How long a node that was just started may take to be seen: a few attempts to connect."""
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One change: a node, and its public key where it gets one."""

    member: MemberId
    node: str
    public_key: bytes = b""

    @property
    def name(self) -> str:
        """The node's name."""
        return f"{self.member}/{self.node}"


def read_current(client: Client) -> tuple[tuple[Validator, ...], int]:
    """Return the validators in force and the number of their epoch, by the node's word."""
    current = client.query(CONTRACT, "current").value
    epoch = cast("Mapping[str, int]", client.query(CONTRACT, "epoch").value)
    return validators_from_value(current), epoch["number"]


def describe_validators(validators: Sequence[Validator]) -> list[dict[str, Any]]:
    """Return validators as rows, and as a file for `--file` holds them."""
    return [
        {
            "index": index,
            "member": one.member,
            "node": one.node,
            "key_id": PublicKey.decode(one.public_key).key_id.hex(),
            "public_key": one.public_key.hex(),
        }
        for index, one in enumerate(validators)
    ]


def parse_name(text: str) -> Wish:
    """Return the node that `MEMBER/NODE` names. Raises `UsageError` for other texts."""
    return _parse_name(text, text)


def parse_wish(text: str, keys: Mapping[str, bytes]) -> Wish:
    """Return the node and key of `MEMBER/NODE=KEY`, the key in hexadecimal digits or in a PEM file.

    Where `keys` knows the node, the key may be left out.

    Raises:
        UsageError: it is written otherwise, or the key is not a P-256 public key.
    """
    name, equals, key = text.partition("=")
    wish = _parse_name(name, text)
    if not equals:
        if name not in keys:
            raise _wrong("a public key is missing", text, f"{name}=KEY, its file or hexadecimal digits")
        return Wish(member=wish.member, node=wish.node, public_key=keys[name])
    return Wish(member=wish.member, node=wish.node, public_key=read_key(key))


def load_validators(path: Path) -> tuple[Validator, ...]:
    """Return the validators in a JSON file: what `tanpo validator list -o json` prints.

    Raises:
        UsageError: the file cannot be read or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = found["validators"] if isinstance(found, dict) else found
        return tuple(
            Validator(
                member=MemberId(str(row["member"])),
                node=str(row["node"]),
                public_key=PublicKey.decode(bytes.fromhex(row["public_key"])).encoded,
            )
            for row in rows
        )
    except OSError as error:
        raise _wrong(f"{path} cannot be read: {error.strerror}", path, "a JSON file") from None
    except LedgerError as error:
        raise _wrong(f"{path}: {error.message}", path, "P-256 public keys") from None
    except (ValueError, TypeError, KeyError) as error:
        raise _wrong(
            f"{path} holds no validators: {error}", path, "what `tanpo validator list -o json` prints"
        ) from None


def apply_wishes(
    current: Sequence[Validator], *, add: Sequence[Wish], remove: Sequence[Wish], rekey: Sequence[Wish]
) -> tuple[Validator, ...]:
    """Return the validators with nodes removed, added at the end, and keys replaced in place.

    Raises:
        UsageError: a node to remove or to give a key is no validator.
    """
    wanted = {f"{one.member}/{one.node}": one for one in current}
    for wish in (*remove, *rekey):
        if wish.name not in wanted:
            raise _wrong(f"{wish.name} is no validator", wish.name, ", ".join(wanted))
    for wish in rekey:
        wanted[wish.name] = _to_validator(wish)
    for wish in remove:
        wanted.pop(wish.name, None)
    return (*wanted.values(), *(_to_validator(wish) for wish in add))


def check_all(
    client: Client, current: Sequence[Validator], wanted: Sequence[Validator], signing: Sequence[str]
) -> None:
    """Raise `LedgerError` for a change, signed by these members, that the network would refuse."""
    members = [one.member for one in client.network.members()]
    check_names(wanted, members)
    check_change(current, wanted, signing, len(members))
    check_proposer(client.config.member, signing)


def check_names(wanted: Sequence[Validator], members: Collection[str]) -> None:
    """Raise `UsageError` for a node that no network would take: of nobody, unnamed, or listed twice."""
    names: set[str] = set()
    owners: dict[bytes, str] = {}
    for one in wanted:
        name = f"{one.member}/{one.node}"
        if one.member not in members:
            raise _refused(f"{one.member} is no member", name, ", ".join(sorted(members)), "correct its name")
        if not NAME_PATTERN.fullmatch(one.node):
            what = f"{one.node} is no name for a node"
            raise _refused(what, name, NAME_PATTERN.pattern, "name the node as its certificate does")
        if name in names:
            raise _refused(f"{name} is listed twice", name, "each node once", "for a new key, say --rekey")
        if one.public_key in owners:
            what = f"{owners[one.public_key]} and {name} have the same key"
            raise _refused(what, name, "a key for each", "make the node a key of its own")
        names.add(name)
        owners[one.public_key] = name


def check_change(
    current: Sequence[Validator], wanted: Sequence[Validator], members: Sequence[str], all_members: int
) -> None:
    """Raise `LedgerError` unless the network would agree: the change is allowed and enough members sign."""
    verify_change(current, wanted)
    check_votes(members, all_members)


def check_votes(members: Sequence[str], all_members: int) -> None:
    """Raise `UsageError` unless more than two thirds of all members sign."""
    if 3 * len(members) <= 2 * all_members:
        raise UsageError(
            Reason.SIGNATURE_MISSING,
            f"{len(members)} of {all_members} members sign, and more than two thirds must",
            value=", ".join(members),
            limit=f"{2 * all_members // 3 + 1} members",
            remedy="name more keys with --key; or make a draft with --draft, and name with --signer whose "
            "members sign it",
        )


def check_proposer(member: str, members: Sequence[str]) -> None:
    """Raise `UsageError` unless the member in whose name the change is sent is one of those who sign it."""
    if member not in members:
        raise UsageError(
            Reason.SIGNATURE_MISSING,
            f"{member} proposes the change, and does not sign it: no node would take it",
            value=", ".join(members),
            limit=f"{member} among the signers",
            remedy=f"say --signer {member} too, or use the profile of a member that signs",
        )


def check_strength(current: Sequence[Validator], wanted: Sequence[Validator]) -> None:
    """Raise `UsageError` if the network would survive fewer faulty validators than it does now."""
    now, then = compute_faulty_max(len(current)), compute_faulty_max(len(wanted))
    if then < now:
        raise UsageError(
            Reason.VALIDATORS_REFUSED,
            f"the network would survive {then} faulty validators, and survives {now} now",
            value=f"{len(wanted)} validators",
            limit=f"{3 * now + 1} or more",
            remedy="add a validator in the same change, or say --weaken if it is meant",
        )


def check_presence(wanted: Sequence[Validator], present: Collection[str]) -> None:
    """Raise `UsageError` unless the new validators would go on when one more of those `present` fails.

    A network that has begun an epoch without a quorum cannot leave it: changing the validators needs one too.
    """
    names = [f"{one.member}/{one.node}" for one in wanted]
    absent = [name for name in names if name not in present]
    needed = min(compute_quorum(len(names)) + 1, len(names))
    if len(names) - len(absent) < needed:
        raise UsageError(
            Reason.VALIDATORS_REFUSED,
            f"the node asked sees {len(names) - len(absent)} of the {len(names)} validators up, and not "
            f"{', '.join(absent)}: one more that fails might stop the network for good",
            value=", ".join(absent),
            limit=f"{needed} up: a quorum, and one more",
            remedy="start them, or say --absent if it is meant",
        )


def wait_presence(client: Client, wanted: Sequence[Validator]) -> None:
    """Give nodes that were just started a moment to be seen. Raises as `check_presence` does."""
    deadline = time.monotonic() + PRESENCE_SECONDS
    while True:
        status = client.network.status()
        try:
            check_presence(wanted, (f"{status.member}/{status.node}", *status.connected_peers))
        except UsageError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return


def describe_change(current: Sequence[Validator], wanted: Sequence[Validator]) -> dict[str, Any]:
    """Return what a change comes to, for those who are to sign it."""
    before = {f"{one.member}/{one.node}": one.public_key for one in current}
    after = {f"{one.member}/{one.node}": one.public_key for one in wanted}
    return {
        "added": [name for name in after if name not in before],
        "removed": [name for name in before if name not in after],
        "rekeyed": [name for name in after if before.get(name, after[name]) != after[name]],
        "validators": list(after),
        "quorum": compute_quorum(len(after)),
        "faulty_max": compute_faulty_max(len(after)),
    }


def wait_epoch(client: Client, epoch: int, seconds: float) -> None:
    """Wait until the node is in an epoch, or a later one.

    Raises:
        Unavailable: it is not in time.
    """
    deadline = time.monotonic() + seconds
    while (status := client.network.status()).epoch < epoch:
        if time.monotonic() >= deadline:
            raise Unavailable(
                Reason.DEADLINE,
                f"the change is committed, but epoch {epoch} has not begun: {status.stalled_reason}",
                value=status.epoch,
                limit=f"{seconds:g} s",
                remedy="see `tanpo node status`",
            )
        time.sleep(_POLL_SECONDS)


def _refused(what: str, value: str, limit: str, remedy: str) -> UsageError:
    return UsageError(Reason.VALIDATORS_REFUSED, what, value=value, limit=limit, remedy=remedy)


def _parse_name(name: str, text: str) -> Wish:
    """Return the node of a name; an error shows the text it is part of."""
    member, slash, node = name.partition("/")
    if not (member and slash and node) or "/" in node:
        raise _wrong("a node is written MEMBER/NODE", text or "nothing", "dealer-a/node-2")
    return Wish(member=MemberId(member), node=node)


def _to_validator(wish: Wish) -> Validator:
    return Validator(member=wish.member, node=wish.node, public_key=wish.public_key)


def read_key(text: str) -> bytes:
    """Return the DER public key that a text spells, or that is in the file it names.

    Raises:
        UsageError: it is neither, or not a P-256 public key.
    """
    try:
        return PublicKey.decode(bytes.fromhex(text)).encoded
    except ValueError:
        pass
    except LedgerError as error:
        raise _wrong(error.message, text, "a P-256 public key as `tanpo key show` prints it") from None
    try:
        with Path(text).open("rb") as stream:
            return PublicKey.from_pem(stream.read(KEY_FILE_BYTES_MAX)).encoded
    except OSError as error:
        raise _wrong(
            f"{text} is neither a public key nor a file: {error.strerror}",
            text,
            "hexadecimal digits as `tanpo key show` prints, or a PEM file as `tanpo key export` writes",
        ) from None
    except LedgerError as error:
        raise _wrong(f"{text}: {error.message}", text, "a P-256 public key in PEM") from None


def _wrong(why: str, value: object, limit: object) -> UsageError:
    return UsageError(
        Reason.CONFIGURATION, why, value=value, limit=limit, remedy="see `tanpo validator replace --help`"
    )
