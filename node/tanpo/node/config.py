"""A node's configuration: one TOML file, and `TANPO_*` environment variables that override it.

Paths are relative to the file. A nested key is overridden with two underscores, as in
`TANPO_TIMING__BASE_TIMEOUT_MS=2000`; lists are JSON.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError
from tanpo.ledger.errors import UsageError, clip, invariant
from tanpo.node.findings import Finding, fault, warning
from tanpo.node.logs import LogLevel
from tanpo.node.operator_files import read_operator_file

ENVIRONMENT_PREFIX: Final = "TANPO_"

_REMEDY: Final = f"correct the file, or the {ENVIRONMENT_PREFIX}* variable that overrides it"
_KEYS_LIMIT: Final = "the keys that deploy/README.md lists"

_OTHER_VARIABLES: Final = frozenset({"profile"})
"""What the command line reads from the environment beside a node's configuration."""

_STAND_INS: Final = {
    **dict.fromkeys(("member", "node", "data_dir", "genesis"), "unknown"),
    **dict.fromkeys(("listen", "peer_listen", "ops_listen"), "127.0.0.1:0"),
    "tls": dict.fromkeys(("ca", "certificate", "key"), "unknown"),
}
"""In place of what is missing or wrong, so that all the rest can be checked."""

BLOCKS_MIN: Final = 100
"""Blocks that a pruned node keeps at least: a peer that was restarted catches up with them."""

STATE_WINDOW_MIN: Final = 10
"""Past states that a node keeps at least: the newest that can be proved is that before the last block, and
whoever reads a list page by page needs the same one for a moment."""

_NAME: Final = r"^[a-z][a-z0-9_-]{0,47}$"
_ADDRESS: Final = r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$"
_ALLOWED: Final = {
    _NAME: "at most 48 lower-case letters, digits, - and _, a letter first",
    _ADDRESS: "host:port, as 127.0.0.1:7600 or [::1]:7600",
}
"""What these patterns ask for, in words."""

_STRUCTURED: Final = frozenset({"tls", "peers", "clients", "timing", "mempool", "snapshots", "retention"})
"""The keys that are lists or sections."""

_BOUNDS: Final = {"ge": "{} or more", "gt": "more than {}", "le": "{} or less", "lt": "less than {}"}
_SAYINGS: Final = {
    "missing": ("is missing", "a value"),
    "int_parsing": ("is no whole number", "a whole number"),
    "int_type": ("is no whole number", "a whole number"),
    "int_from_float": ("is no whole number", "a whole number"),
    "bool_parsing": ("is neither true nor false", "true or false"),
    "bool_type": ("is neither true nor false", "true or false"),
    "string_type": ("is no text", "text in quotes"),
    "string_unicode": ("is no text in UTF-8", "text in UTF-8"),
    "path_type": ("is no path", "a path in quotes"),
    "tuple_type": ("is no list", "a list in [ ]"),
    "model_type": ("is no section", "a section with keys of its own"),
    "model_attributes_type": ("is no section", "a section with keys of its own"),
}
"""What the commonest kinds of fault mean to who wrote the file, and what is allowed instead."""

Name = Annotated[str, StringConstraints(pattern=_NAME)]
Address = Annotated[str, StringConstraints(pattern=_ADDRESS)]
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

    One that is missing here can still connect to this node, and is answered on its own stream. `ca` is a PEM
    file with a CA of its member that this node does not know yet: one that came after the genesis, for a node
    that has only that.
    """

    member: Name
    node: Name
    address: Address
    ca: Path | None = None


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


class RetentionMode(StrEnum):
    """What a node keeps of the past."""

    ARCHIVE = "archive"
    PRUNED = "pruned"


class RetentionConfig(_Section):
    """An archive keeps every block and what it did. A pruned node keeps those of the last `blocks` heights
    and those of the last `days`, by the times of blocks: what is within either stays. One is given, or both.

    `state_window` is how many past states can be asked for and proved, whatever the mode.
    """

    mode: RetentionMode = RetentionMode.ARCHIVE
    blocks: Annotated[int, Field(ge=BLOCKS_MIN, le=1_000_000_000)] | None = None
    days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    state_window: Annotated[int, Field(ge=STATE_WINDOW_MIN, le=10_000_000)] = 1000


class NodeConfig(_Section):
    """Everything a node reads at start.

    Without `signing_key` the node is an observer. `clients` are the members whose clients are served: its
    own when empty. `may_rejoin` lets a validator that lost what it promised sign again (D8): it is meant for
    one start, not for good. `execution` is where contracts run. `backup_record` is where the node notes its
    latest backup, by default in the data directory. `log_file` gets the log beside stderr.
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
    backup_record: Path | None = None
    clients: tuple[Name, ...] = ()
    log_level: LogLevel = LogLevel.INFO
    log_file: Path | None = None
    verify_threads: Annotated[int, Field(ge=0, le=16)] = 1
    may_rejoin: bool = False
    execution: ExecutionMode = ExecutionMode.IN_PROCESS
    peers: tuple[PeerConfig, ...] = ()
    timing: TimingConfig = TimingConfig()
    mempool: MempoolConfig = MempoolConfig()
    snapshots: SnapshotsConfig = SnapshotsConfig()
    retention: RetentionConfig = RetentionConfig()


class _Overridden(NodeConfig, BaseSettings):
    """Tells which environment variables override which keys; apart, so that a generator's own environment
    stays out of its files."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigDraft:
    """A configuration as far as it can be read: `config` is None where nothing can be.

    Keys in `doubtful` are wrong or missing; `config` has stand-ins for them, that mean nothing.
    """

    path: Path
    config: NodeConfig | None
    findings: tuple[Finding, ...] = ()
    doubtful: frozenset[str] = frozenset()

    def knows(self, *keys: str) -> bool:
        """Return whether all of these keys are as the operator wrote them."""
        return not any(key in self.doubtful or key.partition(".")[0] in self.doubtful for key in keys)


def load_config(path: Path) -> NodeConfig:
    """Return the configuration in a TOML file, with paths made absolute.

    Raises:
        UsageError: with CONFIGURATION, naming the key, its value and what is allowed.
    """
    draft = read_config(path)
    faults = [found.error for found in draft.findings if found.is_fault]
    invariant(draft.config is not None or bool(faults), "a configuration that is neither right nor wrong")
    if not faults:
        return cast(NodeConfig, draft.config)
    first, more = faults[0], len(faults) - 1
    counted = f" ({more} more: see `tanpo node config check`)" if more else ""
    raise UsageError(
        first.reason,
        f"{path}: {first.message}{counted}",
        value=first.value,
        limit=first.limit,
        remedy=first.remedy,
    )


def read_config(path: Path) -> ConfigDraft:
    """Return what a TOML file and the environment say, with everything in them that is wrong by itself."""
    document = _read_document(path)
    if isinstance(document, Finding):
        return ConfigDraft(path=path, config=None, findings=(document,))
    try:
        merged = _merge(document, EnvSettingsSource(_Overridden)())
    except SettingsError:
        return ConfigDraft(path=path, config=None, findings=tuple(_find_wrong_variables()))
    config, findings, doubtful = _validate(merged)
    if config is not None:
        findings = [*findings, *_find_wrong_addresses(config), *_find_wrong_retention(config, doubtful)]
        config = _resolve(config, path.parent.absolute())
    return ConfigDraft(
        path=path, config=config, findings=(*findings, *_find_idle_variables()), doubtful=doubtful
    )


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


def _read_document(path: Path) -> dict[str, Any] | Finding:
    """Return what a TOML file says, or what is wrong with the file as a whole."""
    try:
        # Some editors begin a text with a mark of its encoding, which TOML does not know.
        return tomllib.loads(read_operator_file(path).decode("utf-8-sig"))
    except OSError as error:
        return _wrong("the file", f"cannot be read: {error.strerror}", path, "a readable TOML file")
    except UnicodeDecodeError as error:
        why = f"is no text in UTF-8, for the byte at position {error.start}"
        return _wrong("the file", why, path, "a TOML file in UTF-8")
    except RecursionError:
        return _wrong("the file", "is not TOML that can be read: it is nested too deep", path, "a TOML file")
    except tomllib.TOMLDecodeError as error:
        return _wrong("the file", f"is not TOML: {error}", path, "a TOML file")


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `under` with what `over` says instead; lists are replaced whole."""
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _validate(document: dict[str, Any]) -> tuple[NodeConfig | None, list[Finding], frozenset[str]]:
    """Return the configuration, its faults, and the keys that stand-ins were needed for."""
    try:
        return NodeConfig.model_validate(document), [], frozenset()
    except ValidationError as error:
        # A key that is misspelt says more than that the one meant is missing.
        problems = sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    findings = [_explain(problem) for problem in problems]
    pruned = _merge(document, {})
    doubtful: set[str] = set()
    for problem in problems:
        # A section is doubtful key by key; a list of sections, and what is no section, as a whole.
        section, place = pruned.get(str(problem["loc"][0])), [str(part) for part in problem["loc"][:2]]
        if isinstance(section, dict) and len(place) == 2:
            pruned[place[0]] = {key: value for key, value in section.items() if key != place[1]}
            doubtful.add(".".join(place))
        else:
            pruned.pop(place[0], None)
            doubtful.add(place[0])
    try:
        config = NodeConfig.model_validate(_merge(_STAND_INS, pruned))
    except ValidationError:
        return None, findings, frozenset(doubtful)
    return config, findings, frozenset(doubtful)


def _find_wrong_addresses(config: NodeConfig) -> Iterator[Finding]:
    own = [(key, getattr(config, key)) for key in ("listen", "peer_listen", "ops_listen")]
    peers = [(f"peers.{position}.address", peer.address) for position, peer in enumerate(config.peers)]
    for key, address in (*own, *peers):
        if split_address(address)[1] > 65535:
            yield _wrong(key, "has a port that does not exist", address, "host:port, port 0..65535")
    for position, (key, address) in enumerate(own):
        if split_address(address)[1] and address in dict(own[:position]).values():
            yield _wrong(key, "is listened on twice", address, "a port for each of the three")
    names = [(peer.member, peer.node) for peer in config.peers]
    for position, (member, node) in enumerate(names):
        if (member, node) == (config.member, config.node):
            yield _wrong(f"peers.{position}", "is this node", f"{member}/{node}", "other nodes")
        if names.index((member, node)) != position:
            yield _wrong(f"peers.{position}", "is listed twice", f"{member}/{node}", "each peer once")


def _find_wrong_retention(config: NodeConfig, doubtful: frozenset[str]) -> Iterator[Finding]:
    """Refuse what does not go together: an operator must not believe that less is kept, or more, than is."""
    if any(key.partition(".")[0] in ("retention", "snapshots") for key in doubtful):
        return
    retention = config.retention
    bounds = {"retention.blocks": retention.blocks, "retention.days": retention.days}
    given = {key: value for key, value in bounds.items() if value is not None}
    if retention.mode is RetentionMode.ARCHIVE:
        for key, value in given.items():
            yield _wrong(key, "is for retention.mode pruned alone", value, "no bound for an archive")
        return
    if not given:
        limit = "retention.blocks, retention.days, or both"
        yield _wrong("retention.mode", "pruned needs a bound", retention.mode, limit)
    if retention.blocks is not None and retention.blocks < retention.state_window:
        yield _wrong(
            "retention.blocks",
            "is less than retention.state_window: past states need their blocks",
            retention.blocks,
            f"{retention.state_window} or more, or a smaller retention.state_window",
        )
    if not config.snapshots.every_blocks:
        yield _wrong(
            "snapshots.every_blocks",
            "is needed by retention.mode pruned: without snapshots a lost state could not be made anew",
            0,
            "1 or more, or retention.mode = archive",
        )


def _list_variables() -> list[tuple[str, str, str]]:
    """Return each variable that may be meant for a node: its name, the key it names, what is below that."""
    found = [name for name in sorted(os.environ) if name.upper().startswith(ENVIRONMENT_PREFIX)]
    parts = [name[len(ENVIRONMENT_PREFIX) :].lower().partition("__") for name in found]
    return [(name, key, below) for name, (key, _, below) in zip(found, parts, strict=True)]


def _find_wrong_variables() -> Iterator[Finding]:
    """Find the variables of lists and sections that are no JSON."""
    for variable, key, below in _list_variables():
        if below or key not in _STRUCTURED:
            continue
        try:
            json.loads(os.environ[variable])
        except (ValueError, RecursionError):
            why = "in the environment is no JSON"
            yield _wrong(variable, why, os.environ[variable], "JSON, as that key is a list or a section")


def _find_idle_variables() -> Iterator[Finding]:
    """Warn of variables that override nothing: most likely they are misspelt."""
    for variable, key, below in _list_variables():
        if key not in {*NodeConfig.model_fields, *_OTHER_VARIABLES} or (below and key not in _STRUCTURED):
            yield warning(
                variable,
                "in the environment overrides nothing",
                value=variable,
                limit=f"{ENVIRONMENT_PREFIX}KEY or {ENVIRONMENT_PREFIX}SECTION__KEY",
                remedy="correct its name, or unset it",
            )


def _resolve(config: NodeConfig, folder: Path) -> NodeConfig:
    tls = config.tls
    return NodeConfig.model_validate(
        config.model_dump()
        | {
            "data_dir": folder / config.data_dir,
            "genesis": folder / config.genesis,
            "signing_key": config.signing_key and folder / config.signing_key,
            "log_file": config.log_file and folder / config.log_file,
            "backup_record": config.backup_record and folder / config.backup_record,
            "clients": config.clients or (config.member,),
            "tls": TlsConfig(ca=folder / tls.ca, certificate=folder / tls.certificate, key=folder / tls.key),
            "peers": [peer.model_copy(update={"ca": peer.ca and folder / peer.ca}) for peer in config.peers],
        }
    )


def _explain(problem: ErrorDetails) -> Finding:
    key = ".".join(str(part) for part in problem["loc"]) or "the file"
    context = {name: str(value) for name, value in problem.get("ctx", {}).items()}
    if (wanted := _ALLOWED.get(context.get("pattern", ""))) is not None:
        return _wrong(f"{key}:", f"expected {wanted}", problem["input"], wanted)
    if (names := context.get("expected")) is not None:
        return _wrong(f"{key}:", f"expected {names}", problem["input"], names)
    bounds = [words.format(context[name]) for name, words in _BOUNDS.items() if name in context]
    if bounds:
        return _wrong(f"{key}:", f"expected {bounds[0]}", problem["input"], bounds[0])
    if problem["type"] == "extra_forbidden":
        # What is given for it is not shown: somebody may believe that there is a key for a passphrase.
        return fault(key, "is no key of the configuration", value=key, limit=_KEYS_LIMIT, remedy=_REMEDY)
    value = "" if problem["type"] == "missing" else problem["input"]
    if problem["type"] in _SAYINGS:
        why, allowed = _SAYINGS[problem["type"]]
        return _wrong(key, why, value, allowed)
    limit = ", ".join(f"{name} {value}" for name, value in context.items()) or problem["msg"]
    return _wrong(f"{key}:", problem["msg"], value, limit)


def _wrong(key: str, why: str, value: object, limit: object) -> Finding:
    shown = f", got {clip(str(value))!r}" if value != "" else ""
    return replace(
        fault(
            key,
            f"{why}{shown}",
            value=value,
            limit=limit,
            remedy=_REMEDY,
        ),
        key=key.rstrip(":"),
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
