"""Certificates over real TLS: what is wrong is named, with its file, its expiry and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tanpo.client import (
    AsyncClient,
    Client,
    ClientConfig,
    HandshakeFailed,
    Identity,
    Profile,
    load_profile,
    render_profile,
    save_key,
)
from tanpo.ledger.errors import LedgerError, UsageError
from tanpo.ledger.types import MemberId
from tanpo.node.identity import Role
from tanpo.node.pki import create_authority, issue_certificate

MakeConfig = Callable[..., ClientConfig]


def test_a_client_does_not_go_by_the_web_proxy_of_the_environment(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Client(make_config()) as client:
        assert client.network.status().height == 0


def test_an_expired_certificate_is_noticed_before_connecting(
    make_config: MakeConfig, chain: Any, identity: Identity
) -> None:
    issued = issue_certificate(chain.authority, Role.CLIENT, "desk", valid_for=timedelta(seconds=1))
    expired = replace(identity, certificate=issued.certificate, private_key=issued.private_key)

    with pytest.raises(UsageError, match=r"desk\.pem has expired.*issue a new one"):
        Client(make_config(identity=expired))


def test_a_node_with_an_expired_certificate_is_named(
    make_node: Callable[..., Any], make_config: MakeConfig
) -> None:
    stale = make_node(valid_for=timedelta(seconds=1))
    with Client(make_config(stale.address)) as client, pytest.raises(HandshakeFailed) as caught:
        client.network.status()

    assert stale.address in str(caught.value)
    assert "our certificate is desk.pem, valid until" in str(caught.value)


def test_a_node_whose_ca_we_do_not_trust_is_refused(
    make_config: MakeConfig, identity: Identity, node: Any
) -> None:
    stranger = create_authority(MemberId("stranger"), "testnet")
    wrong = replace(identity, authorities=stranger.certificate_pem)
    with Client(make_config(identity=wrong)) as client, pytest.raises(HandshakeFailed):
        client.submit("notes", "write", {"text": "x"})
    assert node.submitted == []


async def test_a_wrong_target_name_is_refused(make_config: MakeConfig, identity: Identity) -> None:
    wrong = replace(identity, target_name="n1.beta.tanpo")
    async with AsyncClient(make_config(identity=wrong)) as client:
        with pytest.raises(HandshakeFailed):
            await client.network.status()


def test_the_right_target_name_is_accepted(make_config: MakeConfig, identity: Identity) -> None:
    with Client(make_config(identity=replace(identity, target_name="n1.alpha.tanpo"))) as client:
        assert client.network.status().is_ready


def test_a_foreign_certificate_is_refused_clearly(make_config: MakeConfig, identity: Identity) -> None:
    stranger = create_authority(MemberId("stranger"), "testnet")
    issued = issue_certificate(stranger, Role.CLIENT, "desk")
    foreign = replace(identity, certificate=issued.certificate, private_key=issued.private_key)
    config = make_config(identity=foreign, member="alpha", deadline_s=2.0)
    with Client(config) as client, pytest.raises(LedgerError) as caught:
        client.network.status()

    assert "our certificate is desk.pem, valid until" in str(caught.value)


def test_a_node_with_a_wrong_certificate_is_left_for_another(
    make_node: Callable[..., Any], make_config: MakeConfig, node: Any
) -> None:
    stale = make_node(valid_for=timedelta(seconds=1))
    with Client(make_config(stale.address, node.address)) as client:
        assert client.submit("notes", "write", {"text": "x"}).succeeded


def test_a_client_is_made_from_a_profile_file(
    tmp_path: Path, node: Any, chain: Any, identity: Identity, genesis_file: Path
) -> None:
    (tmp_path / "client.pem").write_bytes(identity.certificate)
    (tmp_path / "client.key").write_bytes(identity.private_key)
    (tmp_path / "authorities.pem").write_bytes(identity.authorities)
    save_key(tmp_path / "desk.key", chain.member_key)
    profile = Profile(
        addresses=(node.address,),
        genesis=genesis_file.name,
        certificate="client.pem",
        key="client.key",
        authorities="authorities.pem",
        keys=("desk.key",),
    )
    (tmp_path / "client.toml").write_text(render_profile(profile))

    with Client(load_profile(tmp_path / "client.toml")) as client:
        assert client.submit("notes", "write", {"text": "x"}).member == "alpha"
