"""Who is calling: the identity in a client certificate, bound to the member whose CA issued it.

A certificate names its holder in a URI, `tanpo:<member>:<role>:<name>`, and is believed only when the CA of
*that* member issued it directly. The TLS handshake accepts any member's CA, so without this check every
member could speak for every other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tanpo.ledger.types import MemberId


class Role(StrEnum):
    """What a certificate holder may do: vote and relay, transact, or run a node."""

    NODE = "node"
    CLIENT = "client"
    OPERATOR = "operator"


_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,47}")
_URI_PREFIX: Final = "tanpo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The authenticated holder of a certificate."""

    member: MemberId
    role: Role
    name: str

    @property
    def uri(self) -> str:
        """The identity as written in certificates."""
        return f"{_URI_PREFIX}:{self.member}:{self.role}:{self.name}"

    def __str__(self) -> str:
        return f"{self.member}/{self.name} ({self.role})"


def find_caller(uri: str) -> Caller | None:
    """Return the identity a URI spells, None when it spells none."""
    prefix, _, rest = uri.partition(":")
    parts = rest.split(":")
    if prefix != _URI_PREFIX or len(parts) != 3 or parts[1] not in tuple(Role):
        return None
    if not (_NAME.fullmatch(parts[0]) and _NAME.fullmatch(parts[2])):
        return None
    return Caller(member=MemberId(parts[0]), role=Role(parts[1]), name=parts[2])
