from __future__ import annotations

import os
from pathlib import Path

import pytest
from tanpo.ledger.errors import Reason, UsageError
from tanpo.node.config import (
    ExecutionMode,
    NodeConfig,
    PeerConfig,
    TlsConfig,
    load_config,
    read_config,
    render_config,
    split_address,
)
from tanpo.node.retention import RetentionPolicy

BASE = """
member = "alpha"
node = "n1"
data_dir = "data"
genesis = "../genesis.json"
listen = "127.0.0.1:7001"
peer_listen = "[::1]:7002"
ops_listen = "127.0.0.1:0"

[tls]
ca = "ca.pem"
certificate = "node.pem"
key = "/keys/node.key"
"""


def write(folder: Path, text: str = BASE) -> Path:
    path = folder / "node.toml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file_and_clients_default_to_the_own_member(tmp_path: Path) -> None:
    config = load_config(write(tmp_path))
    assert config.data_dir == tmp_path / "data"
    assert config.tls.certificate == tmp_path / "node.pem"
    assert config.tls.key == Path("/keys/node.key")
    assert config.signing_key is None
    assert config.clients == ("alpha",)


def test_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANPO_LOG_LEVEL", "debug")
    monkeypatch.setenv("TANPO_TIMING__BASE_TIMEOUT_MS", "2500")
    monkeypatch.setenv("TANPO_CLIENTS", '["alpha", "beta"]')
    monkeypatch.setenv("TANPO_TLS__KEY", "other.key")
    assert load_config(write(tmp_path)).execution == "in-process"
    monkeypatch.setenv("TANPO_EXECUTION", "worker")
    config = load_config(write(tmp_path))
    assert config.execution is ExecutionMode.WORKER
    assert (config.log_level, config.timing.base_timeout_ms) == ("debug", 2500)
    assert config.clients == ("alpha", "beta")
    assert (config.tls.key, config.tls.certificate) == (tmp_path / "other.key", tmp_path / "node.pem")


def test_rendered_configuration_reads_back_whatever_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANPO_MEMBER", "intruder")  # a generator's own environment stays out of its files
    config = NodeConfig(
        member="alpha",
        node="n1",
        data_dir=Path('/a "quoted" \\ path\nwith é'),
        genesis=Path("/g"),
        listen="localhost:1",
        peer_listen="localhost:2",
        ops_listen="localhost:3",
        tls=TlsConfig(ca=Path("/ca"), certificate=Path("/c"), key=Path("/k")),
        signing_key=Path("/s"),
        clients=("alpha", "beta"),
        peers=(
            PeerConfig(member="beta", node="n1", address="b:1"),
            PeerConfig(member="gamma", node="n1", address="c:1"),
        ),
    )
    monkeypatch.delenv("TANPO_MEMBER")
    assert load_config(write(tmp_path, render_config(config))) == config


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        (('member = "alpha"', 'member = "Alpha Bank"'), "member", "Alpha Bank"),
        (('node = "n1"\n', ""), "node", ""),
        (('listen = "127.0.0.1:7001"', 'listen = "7001"'), "listen", "7001"),
        (('listen = "127.0.0.1:7001"', 'listen = "localhost:70000"'), "listen", "localhost:70000"),
        (('node = "n1"', 'node = "n1"\nlog_level = "loud"'), "log_level", "loud"),
        (('node = "n1"', 'node = "n1"\nexecution = "elsewhere"'), "execution", "elsewhere"),
        (('node = "n1"', 'node = "n1"\ntypo = 3'), "typo", "typo"),
        (("[tls]", "[timing]\nbase_timeout_ms = 0\n[tls]"), "timing.base_timeout_ms", "0"),
        (("[tls]", "[timing]\nbase_timeout_ms = 1.5\n[tls]"), "timing.base_timeout_ms", "1.5"),
        (("[tls]", "[mempool]\nbytes_max = 5\n[tls]"), "mempool.bytes_max", "5"),
        (("[tls]", '[[peers]]\nmember = "b"\nnode = "n1"\naddress = "x"\n[tls]'), "peers.0.address", "x"),
        (
            ("[tls]", '[[peers]]\nmember = "alpha"\nnode = "n1"\naddress = "x:1"\n[tls]'),
            "peers.0 is this node",
            "alpha/n1",
        ),
        (
            ("[tls]", '[[peers]]\nmember = "b"\nnode = "n"\naddress = "x:1"\n' * 2 + "[tls]"),
            "peers.1 is listed twice",
            "b/n",
        ),
    ],
)
def test_wrong_values_are_named_with_their_key(
    tmp_path: Path, change: tuple[str, str], key: str, value: str
) -> None:
    assert change[0] in BASE
    with pytest.raises(UsageError) as caught:
        load_config(write(tmp_path, BASE.replace(*change, 1)))
    assert caught.value.reason is Reason.CONFIGURATION
    assert key in caught.value.message
    assert caught.value.value == value
    assert caught.value.limit
    assert caught.value.remedy


def test_what_a_form_may_be_is_said_in_words(tmp_path: Path) -> None:
    text = BASE.replace('member = "alpha"', 'member = "Alpha"').replace("127.0.0.1:7001", "7001")
    with pytest.raises(UsageError, match=r"member: expected at most 48 lower-case letters.*got 'Alpha'"):
        load_config(write(tmp_path, text))
    with pytest.raises(UsageError, match=r"listen: expected host:port.*got '7001'"):
        load_config(write(tmp_path, BASE.replace("127.0.0.1:7001", "7001")))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('node = "n1"', 'node = "n1"\nlisten_on = 7', "listen_on is no key of the configuration"),
        ('node = "n1"', "", "node is missing"),
        ('node = "n1"', 'node = "n1"\nmay_rejoin = "perhaps"', "may_rejoin is neither true nor false, got"),
        (
            'node = "n1"',
            'node = "n1"\nverify_threads = "two"',
            "verify_threads is no whole number",
        ),
        ('node = "n1"', 'node = "n1"\ntiming = 5', "timing is no section, got '5'"),
        ('data_dir = "data"', "data_dir = 5", "data_dir is no path, got '5'"),
        ('node = "n1"', 'node = "n1"\nclients = "alpha"', "clients is no list, got 'alpha'"),
    ],
)
def test_what_is_wrong_is_said_in_words_of_whoever_wrote_the_file(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(write(tmp_path, BASE.replace(old, new)))
    assert said in caught.value.message
    assert caught.value.limit


@pytest.mark.parametrize("text", ["member = ", "\x00", 'member = "a"\nmember = "b"'])
def test_file_that_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="is not TOML"):
        load_config(write(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'member = "\xff"', "the file is no text in UTF-8, for the byte at position 10"),
        (BASE.encode("utf-16"), "the file is no text in UTF-8, for the byte at position 0"),
        (b"a = " + b"[" * 20_000 + b"]" * 20_000, "it is nested too deep"),
        (b"# " + b"x" * (1 << 20), "the file cannot be read: it is longer than 1048576 bytes"),
    ],
)
def test_a_file_that_can_be_no_configuration_is_refused_in_words(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "node.toml").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_config(tmp_path / "node.toml")
    assert said in caught.value.message
    assert caught.value.remedy


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe, loop = tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for path, said in (
        (pipe, "it is no regular file"),
        (Path("/dev/zero"), "it is no regular file"),
        (tmp_path, "Is a directory"),
        (loop, "Too many levels of symbolic links"),
    ):
        with pytest.raises(UsageError, match=f"cannot be read: {said}"):
            load_config(path)


def test_a_mark_of_the_encoding_before_the_text_is_no_fault(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_config(path).member == "alpha"


def test_a_variable_is_named_by_which_something_is_overridden_wrongly_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANPO_LISTEN__PORT", "7001")
    monkeypatch.setenv("TANPO_LISTN", "127.0.0.1:7001")
    found = read_config(write(tmp_path)).findings
    assert [one.key for one in found] == ["TANPO_LISTEN__PORT", "TANPO_LISTN"]
    assert not any(one.is_fault for one in found)

    monkeypatch.setenv("TANPO_PEERS", "[nonsense")
    with pytest.raises(UsageError, match=r"TANPO_PEERS in the environment is no JSON, got '\[nonsense'"):
        load_config(write(tmp_path))
    monkeypatch.setenv("TANPO_PEERS", "[]")
    monkeypatch.setenv("TANPO_LOG_LEVEL", "loud")
    with pytest.raises(UsageError, match=r"log_level: expected 'debug', 'info', .* got 'loud'"):
        load_config(write(tmp_path))


@pytest.mark.parametrize("key", sorted(NodeConfig.model_fields))
def test_whatever_a_variable_holds_is_taken_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """A section that the check of variables did not know would be refused without a word."""
    monkeypatch.setenv(f"TANPO_{key.upper()}", "[nonsense")
    draft = read_config(write(tmp_path))
    assert draft.findings or draft.config is not None


def test_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read: No such file"):
        load_config(tmp_path / "none.toml")


def test_override_that_is_not_json_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANPO_CLIENTS", "alpha,beta")
    with pytest.raises(UsageError, match="TANPO_CLIENTS"):
        load_config(write(tmp_path))


def test_addresses_are_split_at_the_last_colon() -> None:
    assert split_address("[::1]:80") == ("::1", 80)
    assert split_address("host.example:7001") == ("host.example", 7001)


@pytest.mark.parametrize(
    ("lines", "key", "said"),
    [
        ('mode = "some"', "retention.mode", "archive"),
        ('mode = "pruned"', "retention.mode", "needs a bound"),
        ("blocks = 5000", "retention.blocks", "mode pruned alone"),
        ("days = 30", "retention.days", "mode pruned alone"),
        ('mode = "pruned"\nblocks = 99', "retention.blocks", "100 or more"),
        ('mode = "pruned"\ndays = 0', "retention.days", "1 or more"),
        ('mode = "pruned"\nblocks = 999', "retention.blocks", "1000 or more"),
        ('mode = "pruned"\nblocks = 2000\nstate_window = 2001', "retention.blocks", "2001 or more"),
        ("state_window = 9", "retention.state_window", "10 or more"),
        ("months = 1", "retention.months", "no key of the configuration"),
        ('mode = "pruned"\ndays = 3\n[snapshots]\nevery_blocks = 0', "snapshots.every_blocks", "needed by"),
    ],
)
def test_a_retention_that_cannot_be_is_refused_with_key_value_and_what_is_allowed(
    tmp_path: Path, lines: str, key: str, said: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        load_config(write(tmp_path, f"{BASE}\n[retention]\n{lines}\n"))
    assert refusal.value.reason is Reason.CONFIGURATION
    assert key in refusal.value.message
    assert said in f"{refusal.value.message} {refusal.value.limit}"


def test_retention_is_an_archive_unless_it_is_bounded(tmp_path: Path) -> None:
    assert RetentionPolicy.of(load_config(write(tmp_path)).retention).is_archive
    text = f'{BASE}\n[retention]\nmode = "pruned"\nblocks = 5000\ndays = 30\nstate_window = 200\n'
    config = load_config(write(tmp_path, text))
    policy = RetentionPolicy.of(config.retention)
    assert (policy.blocks, policy.age_ms, policy.state_window) == (5000, 30 * 86_400_000, 200)
    assert load_config(write(tmp_path, render_config(config))) == config


def test_what_is_given_for_a_key_that_there_is_not_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may believe that a key has a passphrase, and the message goes to logs and to support."""
    monkeypatch.setenv("TANPO_TLS__KEY_PASSPHRASE", "hunter2")
    text = BASE + '\nkey_password = "hunter2"\n'
    findings = read_config(write(tmp_path, text)).findings
    assert {one.key for one in findings} == {"tls.key_passphrase", "tls.key_password"}
    assert "hunter2" not in "".join(f"{one.error.message}{one.error.value}" for one in findings)
