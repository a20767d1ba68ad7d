"""A node's configuration: one TOML file, and `TANPO_*` environment variables that override it.

Paths are relative to the file. A nested key is overridden with two underscores, as in
`TANPO_TIMING__BASE_TIMEOUT_MS=2000`; lists are JSON.
"""

from __future__ import annotations

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError
from tanpo.ledger.errors import Reason, UsageError, clip
from tanpo.node.logs import LogLevel
from typing_extensions import override

ENVIRONMENT_PREFIX: Final = "TANPO_"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,47}$")]
Address = Annotated[str, StringConstraints(pattern=r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")]
"""host:port; port 0 stands for any free one."""

Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]


class ExecutionMode(StrEnum):
    """Where a node runs contracts."""

    IN_PROCESS = "in-process"
    WORKER = "worker"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PeerConfig(_Section):
    """Another node and where its `peer_listen` is reached.

    One that is missing here can still connect to this node, and is answered on its own stream.
    """

    member: Name
    node: Name
    address: Address


class TlsConfig(_Section):
    """PEM files: the CA of the node's own member, the node's certificate and its private key."""

    ca: Path
    certificate: Path
    key: Path


class TimingConfig(_Section):
    """Delays of consensus. Only liveness depends on them, never agreement."""

    base_timeout_ms: Milliseconds = 1000
    timeout_max_ms: Milliseconds = 60_000
    request_timeout_ms: Milliseconds = 2000
    linger_ms: Annotated[int, Field(ge=0, le=1000)] = 5
    precision_ms: Milliseconds = 500
    message_delay_ms: Milliseconds = 2000


class MempoolConfig(_Section):
    """Bounds of what waits for a block; a member's quota keeps one member from filling it alone."""

    transactions_max: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    bytes_max: Annotated[int, Field(ge=1_048_576, le=4_294_967_296)] = 64 * 1024 * 1024
    member_transactions_max: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000


class SnapshotsConfig(_Section):
    """A snapshot is taken after every block whose height is a multiple of `every_blocks`; 0 for none.

    Nodes with the same number offer the same snapshots, so that who joins can fetch from all of them. A start
    that finds a snapshot more than `join_behind_blocks` above the node's own blocks joins by it, and holds
    the chain from there on alone; 0 for never, unless no peer has the next block.
    """

    every_blocks: Annotated[int, Field(ge=0, le=1_000_000_000)] = 1000
    join_behind_blocks: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0


class NodeConfig(_Section):
    """Everything a node reads at start.

    Without `signing_key` the node is an observer. `clients` are the members whose clients are served: its
    own when empty. `may_rejoin` lets a validator that lost what it promised sign again (D8): it is meant for
    one start, not for good. `execution` is where contracts run.
    """

    member: Name
    node: Name
    data_dir: Path
    genesis: Path
    listen: Address
    peer_listen: Address
    ops_listen: Address
    tls: TlsConfig
    signing_key: Path | None = None
    clients: tuple[Name, ...] = ()
    log_level: LogLevel = LogLevel.INFO
    verify_threads: Annotated[int, Field(ge=0, le=16)] = 1
    may_rejoin: bool = False
    execution: ExecutionMode = ExecutionMode.IN_PROCESS
    peers: tuple[PeerConfig, ...] = ()
    timing: TimingConfig = TimingConfig()
    mempool: MempoolConfig = MempoolConfig()
    snapshots: SnapshotsConfig = SnapshotsConfig()


class _OverriddenConfig(NodeConfig, BaseSettings):
    """The file under the environment; apart, so that a generator's own environment stays out of its files."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def load_config(path: Path) -> NodeConfig:
    """Return the configuration in a TOML file, with paths made absolute.

    Raises:
        UsageError: with CONFIGURATION, naming the key, its value and what is allowed.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}", path, "a readable TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(path, f"is not TOML: {error}", path, "a TOML file") from None
    try:
        config = _OverriddenConfig(**document)
    except ValidationError as error:
        raise _explain(path, error) from None
    except SettingsError as error:
        raise _wrong(path, f"is overridden wrongly: {error}", "", "JSON for lists and sections") from None
    _check_peers(path, config)
    return _resolve(config, path.parent.absolute())


def render_config(config: NodeConfig) -> str:
    """Return the configuration as TOML; `load_config` reads it back."""
    document = config.model_dump(mode="json", exclude_none=True)
    # An empty list is left out: TOML would refuse a [[section]] that somebody adds below it.
    plain = {key: value for key, value in document.items() if not _is_section(value) and value != []}
    lines = [f"{key} = {_render(value)}" for key, value in plain.items()]
    for key, value in document.items():
        if not _is_section(value):
            continue
        for section in value if isinstance(value, list) else [value]:
            lines += ["", f"[[{key}]]" if isinstance(value, list) else f"[{key}]"]
            lines += [f"{name} = {_render(item)}" for name, item in section.items()]
    return "\n".join(lines) + "\n"


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of an address that `NodeConfig` accepted."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _check_peers(path: Path, config: NodeConfig) -> None:
    for key in ("listen", "peer_listen", "ops_listen"):
        _check_port(path, key, getattr(config, key))
    names = [(peer.member, peer.node) for peer in config.peers]
    for position, peer in enumerate(config.peers):
        _check_port(path, f"peers.{position}.address", peer.address)
        if (peer.member, peer.node) == (config.member, config.node):
            raise _wrong(path, f"peers.{position} is this node", f"{peer.member}/{peer.node}", "other nodes")
        if names.index((peer.member, peer.node)) != position:
            raise _wrong(
                path, f"peers.{position} is listed twice", f"{peer.member}/{peer.node}", "each peer once"
            )


def _check_port(path: Path, key: str, address: str) -> None:
    if split_address(address)[1] > 65535:
        raise _wrong(path, f"{key} has a port that does not exist", address, "host:port, port 0..65535")


def _resolve(config: NodeConfig, folder: Path) -> NodeConfig:
    tls = config.tls
    return NodeConfig.model_validate(
        config.model_dump()
        | {
            "data_dir": folder / config.data_dir,
            "genesis": folder / config.genesis,
            "signing_key": config.signing_key and folder / config.signing_key,
            "clients": config.clients or (config.member,),
            "tls": TlsConfig(ca=folder / tls.ca, certificate=folder / tls.certificate, key=folder / tls.key),
        }
    )


def _explain(path: Path, error: ValidationError) -> UsageError:
    """Name the first key that is wrong; the others are counted, so that nobody reads a wall of text."""
    problems = error.errors(include_url=False)
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    context = {name: str(value) for name, value in first.get("ctx", {}).items()}
    limit = ", ".join(f"{name} {value}" for name, value in context.items()) or first["msg"]
    value = "" if first["type"] == "missing" else first["input"]
    return _wrong(path, f"{key}: {first['msg']}{more}", value, limit)


def _wrong(path: Path, why: str, value: object, limit: object) -> UsageError:
    shown = f", got {clip(str(value))!r}" if value != "" else ""
    return UsageError(
        Reason.CONFIGURATION,
        f"{path}: {why}{shown}",
        value=value,
        limit=limit,
        remedy=f"correct the file, or the {ENVIRONMENT_PREFIX}* variable that overrides it",
    )


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _render(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(_render(item) for item in value)}]"
    return '"' + "".join(_escape(character) for character in str(value)) + '"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\u{ord(character):04x}"
