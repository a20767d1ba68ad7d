"""Everything about a node's configuration that can be found wrong before the node runs, all at once.

`tanpo node config check` prints it, and a start goes through the same: what the one lets pass, the other does
not stumble over. Nothing is changed, so that it may be done beside a node that runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import LedgerError, Reason, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.node.config import ConfigDraft, NodeConfig, read_config
from tanpo.node.credentials import check_authority, check_certificate, check_signing_key
from tanpo.node.data_checks import check_content, check_folder, check_ports, is_in_use
from tanpo.node.dialling import check_peers, load_genesis
from tanpo.node.exits import ExitCode, compute_exit_code
from tanpo.node.findings import Finding, warning
from tanpo.node.logs import find_log_error
from tanpo.node.survey import check_genesis_time

PORT_KEYS: Final = ("listen", "peer_listen", "ops_listen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found, the most important first, and whether a process uses the data directory now."""

    path: Path
    config: NodeConfig | None
    genesis: Genesis | None
    findings: tuple[Finding, ...]
    is_in_use: bool

    @property
    def faults(self) -> tuple[Finding, ...]:
        """Whatever keeps the node from starting."""
        return tuple(found for found in self.findings if found.is_fault)

    @property
    def exit_code(self) -> ExitCode:
        """The code that a start would end with: that of the first fault."""
        return compute_exit_code(self.faults[0].error) if self.faults else ExitCode.OK


def check_node(path: Path, now_ms: int) -> Report:
    """Check the configuration in a TOML file, the environment, and every file that they name.

    Of a node that runs, ports are not looked at: it listens on them itself.
    """
    draft = read_config(path)
    findings = list(draft.findings)
    genesis: Genesis | None = None
    used = False
    if draft.config is not None:
        genesis = _load_genesis(draft, draft.config, findings)
        early = None if genesis is None else check_genesis_time(genesis, now_ms)
        findings += [] if early is None else [Finding(key="clock", error=early)]
        used = draft.knows("data_dir") and is_in_use(draft.config)
        findings += _check(draft, draft.config, genesis)
        if not used:
            findings += check_ports(draft.config, tuple(key for key in PORT_KEYS if draft.knows(key)))
    return Report(
        path=path,
        config=draft.config if not draft.doubtful else None,
        genesis=genesis,
        findings=tuple(sorted(findings, key=lambda found: not found.is_fault)),
        is_in_use=used,
    )


def check_start(path: Path, now_ms: int) -> tuple[NodeConfig, Genesis, tuple[Finding, ...]]:
    """Return configuration and genesis of a node that may start, and what ought to be seen to.

    Raises:
        LedgerError: it may not, because of the first fault; the message tells of the others.
    """
    report = check_node(path, now_ms)
    if report.faults:
        raise _join(report)
    if report.is_in_use and report.config is not None:
        raise UsageError(
            Reason.DATA_LOCKED,
            f"{report.config.data_dir} is in use by another process",
            value=report.config.data_dir,
            limit="one process per data directory",
            remedy="stop the other node, or give this one a data directory of its own",
        )
    if report.config is None or report.genesis is None:
        raise UsageError(Reason.CONFIGURATION, f"{path} cannot be used")
    return report.config, report.genesis, report.findings


def _join(report: Report) -> LedgerError:
    first = report.faults[0].error
    others = [found.error.message for found in report.faults[1:]]
    more = f" (and {len(others)} more: see `tanpo node config check`)" if others else ""
    return first.retell(f"{report.path}: {first.message}{more}")


def _load_genesis(draft: ConfigDraft, config: NodeConfig, findings: list[Finding]) -> Genesis | None:
    if not draft.knows("genesis"):
        return None
    try:
        return load_genesis(config.genesis)
    except LedgerError as error:
        findings.append(Finding(key="genesis", error=error))
        return None


def _check(draft: ConfigDraft, config: NodeConfig, genesis: Genesis | None) -> Iterator[Finding]:
    """Check what names files and other nodes, as far as the keys that say so are right."""
    knows = draft.knows
    if genesis is not None and knows("member", "tls.ca"):
        yield from check_authority(config, genesis)
    if knows("member", "node", "tls.certificate", "tls.key"):
        yield from check_certificate(config)
    if knows("member", "node", "signing_key"):
        yield from check_signing_key(config, genesis)
    if genesis is not None and knows("peers"):
        yield from check_peers(config, genesis)
    if genesis is not None and knows("clients", "member"):
        yield from _check_clients(config, genesis)
    unwritable = None if config.log_file is None else find_log_error(config.log_file)
    if unwritable is not None:
        yield Finding(key="log_file", error=unwritable)
    unusable = list(check_folder(config)) if knows("data_dir") else []
    yield from unusable
    if any(found.is_fault for found in unusable):
        return  # What it holds cannot be read, or is not worth reading.
    if genesis is not None and knows("data_dir", "signing_key", "backup_record"):
        yield from check_content(config, genesis)


def _check_clients(config: NodeConfig, genesis: Genesis) -> Iterator[Finding]:
    members = {str(member.member) for member in genesis.members}
    for position, name in enumerate(config.clients):
        if name not in members and name != config.member:
            yield warning(
                f"clients.{position}",
                "is no member of this network",
                value=name,
                limit=", ".join(sorted(members)),
            )
