"""A client, and who signs: of a profile, or of a whole local network."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer
from tanpo.cli.layout import NetworkFolder
from tanpo.client import Client, FileSigner, load_profile
from tanpo.ledger.errors import LedgerError, Reason, UsageError
from tanpo.ledger.keys import PublicKey
from tanpo.ledger.transaction import Signer
from tanpo.ledger.types import KeyId, MemberId


def connect(profile: Path | None, directory: Path | None) -> Client:
    """Return a client of the profile's node, or of the first of a local network's nodes.

    Raises:
        BadParameter: neither is named.
    """
    if directory is not None:
        folder = NetworkFolder(root=directory.absolute())
        return Client(load_profile(profile or folder.get_member(folder.load_manifest()[0].member).profile))
    if profile is None:
        raise typer.BadParameter("name a profile, or the --dir of a local network", param_hint="--profile")
    return Client(load_profile(profile))


def load_signers(client: Client, directory: Path | None, paths: Sequence[Path]) -> list[Signer]:
    """Return all members' keys of a local network, or those of the client and of further files."""
    if directory is None:
        return [*client.config.signers, *(FileSigner.load(path) for path in paths)]
    folder = NetworkFolder(root=directory.absolute())
    places = folder.load_manifest()
    return [FileSigner.load(folder.get_member(place.member).transaction_key) for place in places]


def read_owners(client: Client) -> dict[KeyId, MemberId]:
    """Return whose each key is that may sign now, by the node's word."""
    owners: dict[KeyId, MemberId] = {}
    for member in client.network.members():
        for key in member.keys:
            with contextlib.suppress(LedgerError):  # The contract sees the form of a key alone.
                owners[PublicKey.decode(key).key_id] = member.member
    return owners


def find_signers(owners: Mapping[KeyId, MemberId], names: Sequence[str]) -> list[KeyId]:
    """Return the registered keys that the names mean. Raises `UsageError` for one that is not exactly one."""
    found: list[KeyId] = []
    for name in names:
        matching = [key_id for key_id, member in owners.items() if name in (member, key_id.hex())]
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
