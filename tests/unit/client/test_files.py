"""Key files, certificates and profiles: what is unusable is named with its file and the remedy."""

from __future__ import annotations

import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tanpo.client import (
    ClientConfig,
    FileSigner,
    Identity,
    Profile,
    load_genesis,
    load_key,
    load_profile,
    parse_profile,
    render_profile,
    save_key,
)
from tanpo.client.config import check_deadline
from tanpo.ledger.errors import UsageError
from tanpo.ledger.genesis import Genesis, genesis_to_json
from tanpo.ledger.keys import PrivateKey

MakeIdentity = Callable[..., Identity]

PROFILE = Profile(
    addresses=("127.0.0.1:7001", "[::1]:7002"),
    genesis="genesis.json",
    certificate="client.pem",
    key="client.key",
    authorities="authorities.pem",
    target_name="n1.alpha.tanpo",
    member="alpha",
    keys=("desk.key",),
    deadline_s=3.5,
)


def test_a_key_survives_its_file(key: PrivateKey, tmp_path: Path) -> None:
    path = tmp_path / "desk.key"
    save_key(path, key)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path).key_id == FileSigner.load(path).key_id == key.key_id
    assert "PRIVATE" not in repr(FileSigner.load(path))


def test_a_key_file_is_never_overwritten(key: PrivateKey, other_key: PrivateKey, tmp_path: Path) -> None:
    save_key(tmp_path / "k", key)

    with pytest.raises(UsageError, match="never overwritten"):
        save_key(tmp_path / "k", other_key)
    assert load_key(tmp_path / "k").key_id == key.key_id


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_file_for_others_to_touch_is_refused(key: PrivateKey, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "k"
    save_key(path, key)
    path.chmod(mode)

    with pytest.raises(UsageError, match="chmod 600") as caught:
        load_key(path)
    assert caught.value.value == f"mode 0{mode:o}"


@pytest.mark.parametrize("content", [b"", b"garbage", b"x" * 20_000])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "k"
    path.touch(mode=0o600)
    path.write_bytes(content)

    with pytest.raises(UsageError, match=str(path)):
        load_key(path)


def test_a_missing_key_file_is_named(tmp_path: Path, key: PrivateKey) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_key(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="cannot be written"):
        save_key(tmp_path / "nowhere" / "k", key)


def test_a_certificate_names_member_and_expiry(make_identity: MakeIdentity) -> None:
    identity = make_identity()

    assert identity.member == "alpha"
    assert identity.valid_until > datetime.now(UTC)
    assert make_identity(uri="https://elsewhere").member is None
    assert make_identity(uri="").member is None
    assert "PRIVATE" not in repr(identity)


def test_an_expired_certificate_is_refused_with_file_expiry_and_remedy(make_identity: MakeIdentity) -> None:
    identity = make_identity(starts=-2, ends=-1)

    with pytest.raises(UsageError, match=r"desk\.pem has expired") as caught:
        identity.verify_validity()
    assert caught.value.value == identity.valid_until.isoformat()
    assert "issue a new one" in caught.value.remedy


def test_a_certificate_of_tomorrow_is_refused(make_identity: MakeIdentity) -> None:
    identity = make_identity(starts=1, ends=2)

    with pytest.raises(UsageError, match="not valid yet"):
        identity.verify_validity()
    identity.verify_validity(datetime.now(UTC) + timedelta(days=1, hours=1))


@pytest.fixture
def folder(tmp_path: Path, make_identity: MakeIdentity, genesis: Genesis, key: PrivateKey) -> Path:
    """A folder with everything that `PROFILE` names."""
    identity = make_identity()
    (tmp_path / "client.pem").write_bytes(identity.certificate)
    (tmp_path / "client.key").write_bytes(identity.private_key)
    (tmp_path / "authorities.pem").write_bytes(identity.authorities)
    (tmp_path / "genesis.json").write_text(genesis_to_json(genesis))
    (tmp_path / "client.toml").write_text(render_profile(PROFILE))
    save_key(tmp_path / "desk.key", key)
    return tmp_path


def test_a_profile_names_everything_a_client_needs(folder: Path, genesis: Genesis, key: PrivateKey) -> None:
    config = load_profile(folder / "client.toml")

    assert config.addresses == PROFILE.addresses
    assert config.network_id == genesis.network_id
    assert [signer.key_id for signer in config.signers] == [key.key_id]
    assert (config.member, config.deadline_s) == ("alpha", 3.5)
    assert config.identity.target_name == "n1.alpha.tanpo"
    assert config.identity.source == str(folder / "client.pem")


@pytest.mark.parametrize("name", ["client.pem", "client.key", "authorities.pem", "genesis.json", "desk.key"])
@pytest.mark.parametrize("damage", ["missing", "garbage"])
def test_a_profile_names_the_file_that_is_unusable(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"\xff")

    with pytest.raises(UsageError, match=r"\.(pem|key|json)"):
        load_profile(folder / "client.toml")


def test_a_key_of_another_certificate_is_refused(folder: Path, other_key: PrivateKey) -> None:
    (folder / "client.key").write_bytes(other_key.to_pem())

    with pytest.raises(UsageError, match="does not belong to this certificate"):
        load_profile(folder / "client.toml")


def test_a_missing_profile_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"client\.toml cannot be read"):
        load_profile(tmp_path / "client.toml")


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        Profile,
        addresses=st.lists(names, max_size=3).map(tuple),
        genesis=names,
        certificate=names,
        key=names,
        authorities=names,
        target_name=names,
        member=names,
        keys=st.lists(names, max_size=3).map(tuple),
        deadline_s=st.floats(0.001, 3600),
    )
)
def test_a_profile_survives_its_text(profile: Profile) -> None:
    assert parse_profile(render_profile(profile)) == profile


@given(st.text())
def test_any_text_is_a_profile_or_refused(text: str) -> None:
    with suppress(UsageError):
        assert isinstance(parse_profile(text), Profile)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 1", "version = 2", "version other than 1"),
        ("[tls]", "[lts]", r"no section \[tls\]"),
        ("deadline_s", "dead_line", "unknown key 'dead_line'"),
        ("deadline_s = 3.5", 'deadline_s = "3"', "wrong type at 'deadline_s'"),
        ("deadline_s = 3.5", "deadline_s = true", "wrong type at 'deadline_s'"),
        ("deadline_s = 3.5", "deadline_s = nan", "out of range"),
        ('keys = ["desk.key"]', 'keys = "desk.key"', "list of texts at 'keys'"),
        ('genesis = "genesis.json"', "", "lacks the key 'genesis'"),
        ('"127.0.0.1:7001"', '"127.0.0.1"', "wrong form"),
    ],
)
def test_a_wrong_profile_is_explained(folder: Path, old: str, new: str, message: str) -> None:
    text = render_profile(PROFILE)
    assert old in text
    (folder / "client.toml").write_text(text.replace(old, new))

    with pytest.raises(UsageError, match=message):
        load_profile(folder / "client.toml")


@pytest.mark.parametrize(
    "address", ["", "host", ":7001", "host:", "host:0", "host:65536", "host:x", "host:²"]
)
def test_an_address_is_host_and_port(genesis: Genesis, make_identity: MakeIdentity, address: str) -> None:
    with pytest.raises(UsageError, match="address has a wrong form"):
        ClientConfig.create(address, identity=make_identity(), genesis=genesis)


def test_a_client_needs_a_node_to_ask(genesis: Genesis, make_identity: MakeIdentity) -> None:
    with pytest.raises(UsageError, match="no node"):
        ClientConfig.create([], identity=make_identity(), genesis=genesis)


def test_the_member_follows_from_certificate_or_key(
    genesis: Genesis, make_identity: MakeIdentity, key: PrivateKey
) -> None:
    def member_of(**changes: Any) -> str:
        return ClientConfig.create("h:1", genesis=genesis, **changes).member

    assert member_of(identity=make_identity(uri="tanpo:beta:client:x")) == "beta"
    assert member_of(identity=make_identity(uri="tanpo:beta:client:x"), member="gamma") == "gamma"
    assert member_of(identity=make_identity(uri=""), signers=[key]) == "alpha"
    with pytest.raises(UsageError, match="which member"):
        member_of(identity=make_identity(uri=""))


@pytest.mark.parametrize("deadline_s", [0, -1, 3601, float("inf"), float("nan")])
def test_a_deadline_is_above_0_and_at_most_an_hour(deadline_s: float) -> None:
    with pytest.raises(UsageError, match="out of range"):
        check_deadline(deadline_s)


def test_a_wrong_genesis_is_named(tmp_path: Path) -> None:
    path = tmp_path / "genesis.json"
    path.write_text("{}")
    with pytest.raises(UsageError, match=str(path)):
        load_genesis(path)
