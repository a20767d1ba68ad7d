"""Whose keys are to sign a draft, by member or key id."""

from __future__ import annotations

from collections.abc import Sequence

from tanpo.client import ClientConfig
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.types import KeyId


def find_signers(config: ClientConfig, names: Sequence[str]) -> list[KeyId]:
    """Return the registered keys that the names mean. Raises `UsageError` for one that is not exactly one."""
    found: list[KeyId] = []
    for name in names:
        matching = [key_id for key_id, key in config.keys.items() if name in (key.member, key_id.hex())]
        if len(matching) != 1:
            raise UsageError(
                Reason.KEY_UNKNOWN,
                "a signer is not exactly one registered key",
                value=name,
                limit=f"{len(matching)} keys match",
                remedy="name a member with one key, or a key id",
            )
        found += matching
    return found
