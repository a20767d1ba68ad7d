"""Who is who in the current epoch: nodes by name, and the numbers the replica knows them by.

Links last longer than epochs, and a node's index may differ from one to the next. So links, queues and
metrics go by name, `member/node`, and only what is handed to the replica or comes from it goes by number:
that of a validator of its epoch, or one above them all for a guest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from tanpo.ledger.types import Epoch, MemberId, ValidatorIndex
from tanpo.ledger.validators import ValidatorSet

GUESTS_MAX: Final = 64
"""How many nodes that are no validators a node speaks with at a time."""


def compute_name(member: MemberId | str, node: str) -> str:
    """Return the name of a node."""
    return f"{member}/{node}"


def find_crowding(guests: Sequence[str], newcomer: str) -> str | None:
    """Return the guest that gives way to a newcomer when all places are taken, None when none has to.

    It is the latest of the member that has most of them, and gives way only if that member keeps at least as
    many as the newcomer's then has: so no member can keep the others out, and whoever had to give way and
    comes back changes nothing. `guests` are in the order in which they came.
    """
    held = Counter(_find_member(guest) for guest in guests)
    if not held:
        return None
    crowd = max(sorted(held), key=held.__getitem__)
    if held[crowd] - 1 < held[_find_member(newcomer)] + 1:
        return None
    return next(guest for guest in reversed(guests) if _find_member(guest) == crowd)


class Roster:
    """The validators of the current epoch, our own place among them, and the guests.

    `public_key` is that of our signing key, None without one.
    """

    __slots__ = (
        "_guests",
        "_indices",
        "epoch",
        "names",
        "others",
        "own",
        "own_name",
        "public_key",
        "validators",
    )

    def __init__(
        self, *, own_name: str, public_key: bytes | None, epoch: Epoch, validators: ValidatorSet
    ) -> None:
        self.own_name = own_name
        self.public_key = public_key
        self.begin(epoch, validators)

    def begin(self, epoch: Epoch, validators: ValidatorSet) -> None:
        """Go over to another epoch. All numbers given out before are void."""
        self.epoch = epoch
        self.validators = validators
        self.names = tuple(compute_name(one.member, one.node) for one in validators.validators)
        self.others = tuple(name for name in self.names if name != self.own_name)
        self._indices = {name: ValidatorIndex(index) for index, name in enumerate(self.names)}
        self._guests: dict[str, ValidatorIndex] = {}
        index = self._indices.get(self.own_name)
        is_own = index is not None and validators.validators[index].public_key == self.public_key
        self.own = index if is_own else None

    def number(self, name: str) -> ValidatorIndex | None:
        """Return the number of another node, None for our own name. A new guest may take an old one's."""
        if name == self.own_name:
            return None
        number = self._indices.get(name, self._guests.get(name))
        if number is not None:
            return number
        if len(self._guests) < GUESTS_MAX:
            number = ValidatorIndex(len(self.names) + len(self._guests))
        else:
            number = self._guests.pop(next(iter(self._guests)))
        self._guests[name] = number
        return number

    def find_name(self, number: ValidatorIndex) -> str | None:
        """Return the node behind a number, None when it has none now."""
        if 0 <= number < len(self.names):
            return self.names[number]
        return next((name for name, known in self._guests.items() if known == number), None)

    def is_validator(self, name: str) -> bool:
        """Return whether a node votes in this epoch."""
        return name in self._indices

    def compute_label(self, name: str) -> str:
        """Return what a node is called in metrics; a member's guests share a label, or they would be many."""
        return name if name in self._indices else f"{_find_member(name)}/guest"

    def explain_silence(self) -> str:
        """Return why we do not vote; empty when we do."""
        if self.own is not None:
            return ""
        if self.own_name not in self._indices:
            return "observer: not among the validators of this epoch"
        if self.public_key is None:
            return "observer: a validator by name, but no signing_key is configured"
        return "observer: the validators of this epoch name another key for this node than its signing_key"


def _find_member(name: str) -> str:
    return name.partition("/")[0]
