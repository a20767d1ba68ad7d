"""A backup that streams in is taken only in order, of the client's network, and whole."""

from __future__ import annotations

from typing import Any

import pytest
from tanpo.api.v1 import admin_pb2
from tanpo.client.backups import BackupCursor, BackupData, BackupOrigin
from tanpo.ledger.errors import PeerFault, UsageError

NETWORK = bytes(range(32))


class _Config:
    network_id = NETWORK
    addresses = ("127.0.0.1:1",)


class _Context:
    config = _Config()


def make_origin(**fields: Any) -> admin_pb2.BackupPart:
    digest = {name: bytes(32) for name in ("block_hash", "state_root", "receipts_root")}
    named = {"network_id": NETWORK, "member": "a", "node": "n", "height": 3, **digest, **fields}
    return admin_pb2.BackupPart(origin=admin_pb2.BackupOrigin(**named))


def make_data() -> admin_pb2.BackupPart:
    return admin_pb2.BackupPart(data=admin_pb2.BackupData(name="genesis.json", data=b"{}"))


@pytest.fixture
def cursor() -> BackupCursor:
    context: Any = _Context()
    return BackupCursor(context)


def test_the_origin_comes_first_and_then_the_files(cursor: BackupCursor) -> None:
    origin = cursor.on_part(make_origin())
    assert isinstance(origin, BackupOrigin)
    assert (origin.height, origin.member) == (3, "a")
    assert cursor.on_part(make_data()) == BackupData(name="genesis.json", data=b"{}")
    cursor.finish()
    with pytest.raises(PeerFault, match="not in order"):
        cursor.on_part(make_origin())


def test_what_is_no_backup_of_this_network_is_refused(cursor: BackupCursor) -> None:
    with pytest.raises(PeerFault, match="nothing came"):
        cursor.finish()
    with pytest.raises(PeerFault, match="not in order"):
        cursor.on_part(make_data())
    with pytest.raises(PeerFault, match="another network"):
        cursor.on_part(make_origin(network_id=bytes(32)))


def test_a_malformed_origin_is_refused(cursor: BackupCursor) -> None:
    with pytest.raises(PeerFault, match="or of none"):
        cursor.on_part(make_origin(state_root=b"short"))


def test_a_client_of_several_nodes_is_refused() -> None:
    context: Any = _Context()
    context.config = type("Several", (), {"network_id": NETWORK, "addresses": ("a:1", "b:1")})
    with pytest.raises(UsageError, match="a backup needs a client of one node"):
        BackupCursor(context)
