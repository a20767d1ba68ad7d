"""What a physician would look at: one pass over a node's files, its peers, and the node itself if it runs.

Nothing is changed, and nothing needs the node to be up: what cannot be known says so.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import LedgerError, Reason
from tanpo.ledger.genesis import Genesis
from tanpo.node.authorities import Authorities
from tanpo.node.backup_record import find_record
from tanpo.node.checking import Report, check_node
from tanpo.node.clock import Clock
from tanpo.node.config import NodeConfig
from tanpo.node.credentials import EXPIRY_WARNING, load_credentials, load_signing_key, read_valid_until
from tanpo.node.data_checks import ROOM_BYTES_LOW, ROOM_BYTES_MIN, find_record_path
from tanpo.node.dialling import find_peers
from tanpo.node.exits import ExitCode
from tanpo.node.last_end import LastEnd, find_last_end
from tanpo.node.ops_client import NodeReading, find_reading
from tanpo.node.promises import AMNESIA_REMEDY, CONSENSUS_NAME, is_marked_forgotten
from tanpo.node.survey import SKEW_MAX_MS, PeerVitals, compute_skew, describe_side, survey_peers
from tanpo.storage import SafetyStore
from tanpo.storage.layout import read_progress

EXPIRY_URGENT: Final = timedelta(days=7)
BACKUP_AGE_MAX: Final = timedelta(days=7)
BEHIND_MAX: Final = 100
"""Blocks that a node may be behind the furthest peer without being ill: a second or two under load."""


_GRAVE_ENDS: Final = frozenset({ExitCode.INTERNAL, ExitCode.DATA_CORRUPT, ExitCode.HALTED})
"""Ends that a start does not remedy, nor a change of the configuration."""


class Health(StrEnum):
    """How one thing is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """One thing that was looked at, how it is, and what to do about it."""

    what: str
    health: Health
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """All that is known of a node, with which it is judged."""

    config: NodeConfig
    genesis: Genesis
    now: datetime
    reading: NodeReading | None
    last_end: LastEnd | None
    vitals: Sequence[PeerVitals]


async def examine(path: Path, clock: Clock) -> list[Symptom]:
    """Look at everything, and return what was found, in the order in which it is to be read."""
    report = check_node(path, clock.wall_ms())
    symptoms = list(_judge_configuration(report))
    if report.config is None or report.genesis is None:
        return symptoms
    reading = find_reading(report.config.ops_listen)
    patient = Patient(
        config=report.config,
        genesis=report.genesis,
        now=datetime.fromtimestamp(clock.wall_ms() / 1000, UTC),
        reading=reading,
        last_end=find_last_end(path, report.config) if reading is None else None,
        vitals=await _survey(report.config, report.genesis, reading, clock),
    )
    for judge in _JUDGES:
        symptoms += judge(patient)
    return symptoms


def examine_here(path: Path) -> list[Symptom]:
    """Look at everything by this machine's clock, and wait for it."""
    return asyncio.run(examine(path, Clock.system()))


async def _survey(
    config: NodeConfig, genesis: Genesis, reading: NodeReading | None, clock: Clock
) -> list[PeerVitals]:
    """Ask the peers, trusting the CAs of the members of now if the node tells them, or else the genesis'."""
    try:
        authorities = Authorities.of_genesis(genesis)
        if reading is not None and reading.members is not None:
            authorities.replace(reading.members)
        peers = find_peers(config, authorities, load_credentials(config, genesis))
    except LedgerError:
        return []  # The configuration's own symptoms say why.
    return await survey_peers(peers, clock.wall_ms)


def _judge_configuration(report: Report) -> Iterator[Symptom]:
    for found in report.findings:
        yield Symptom(
            what="configuration",
            health=Health.FAIL if found.is_fault else Health.WARN,
            detail=f"{found.error.message}{f': {found.error.value}' if found.error.value else ''}",
            remedy=found.error.remedy,
        )
    if not report.faults:
        yield Symptom(what="configuration", health=Health.OK, detail=f"{report.path} can be started with")


def _judge_certificates(patient: Patient) -> Iterator[Symptom]:
    tls = patient.config.tls
    for key, path in (("tls.certificate", tls.certificate), ("tls.ca", tls.ca)):
        try:
            left = read_valid_until(path, key) - patient.now
        except LedgerError:
            continue  # Told among what is wrong with the configuration.
        health = Health.OK if left > EXPIRY_WARNING else Health.WARN if left > EXPIRY_URGENT else Health.FAIL
        yield Symptom(
            what=key,
            health=health,
            detail=f"{left.days} days left",
            remedy="" if health is Health.OK else "issue another, and run `tanpo cert rotate`",
        )


def _judge_disk(patient: Patient) -> Iterator[Symptom]:
    path = next(one for one in (patient.config.data_dir, *patient.config.data_dir.parents) if one.exists())
    room = os.statvfs(path)
    free, whole = room.f_bavail * room.f_frsize, max(1, room.f_blocks * room.f_frsize)
    is_low = free < ROOM_BYTES_LOW or free * 20 < whole
    yield Symptom(
        what="disk",
        health=Health.FAIL if free < ROOM_BYTES_MIN else Health.WARN if is_low else Health.OK,
        detail=f"{free >> 20:,} MiB free, {100 * free // whole} %",
        remedy="make room, or grow the disk" if is_low else "",
    )


def _judge_node(patient: Patient) -> Iterator[Symptom]:
    reading = patient.reading
    if reading is None:
        yield _judge_absence(patient.config.ops_listen, patient.last_end)
        return
    yield from (Symptom(what="node", health=Health.FAIL, detail=why) for why in reading.obstacles)
    if not reading.obstacles:
        yield Symptom(what="node", health=Health.OK, detail="runs and is ready")


def _judge_absence(where: str, end: LastEnd | None) -> Symptom:
    """Judge a node that does not answer: one that ended by itself is not simply to be started again."""
    if end is None:
        return Symptom(
            what="node", health=Health.WARN, detail=f"nothing answers at {where}", remedy="start it"
        )
    return Symptom(
        what="node",
        health=Health.FAIL if end.code in _GRAVE_ENDS else Health.WARN,
        detail=f"nothing answers at {where}: it ended at {end.time} with exit code {int(end.code)} "
        f"({end.code.name}): {end.why}",
        remedy=end.remedy,
    )


def _judge_versions(patient: Patient) -> Iterator[Symptom]:
    own = version("tanpo")
    running = patient.reading.labels.get("tanpo_build_info", {}).get("version") if patient.reading else None
    others = sorted({one.version for one in patient.vitals if one.version} - {own})
    told = [f"this command {own}", *([f"the node {running}"] if running else ())]
    told += [f"peers {', '.join(others)}"] if others else []
    differs = bool(others) or running not in (None, own)
    yield Symptom(
        what="versions",
        health=Health.WARN if differs else Health.OK,
        detail=", ".join(told),
        remedy="bring all to one version, one node at a time" if differs else "",
    )


def _judge_chain(patient: Patient) -> Iterator[Symptom]:
    reading = patient.reading
    if reading is not None:
        height, place = reading.get("tanpo_height"), f", term {reading.get('tanpo_term')}"
    else:
        try:
            progress = read_progress(patient.config.data_dir, patient.genesis.network_id)
        except LedgerError as error:
            if error.reason is Reason.NOT_FOUND:
                yield Symptom(
                    what="chain", health=Health.WARN, detail="no blocks yet", remedy="start the node"
                )
            return
        height, place = max(0, progress.segment_height, progress.executed_height), " when it last stopped"
    furthest = max((one.height for one in patient.vitals), default=0)
    is_behind = furthest - height > BEHIND_MAX
    yield Symptom(
        what="chain",
        health=Health.WARN if is_behind else Health.OK,
        detail=f"block {height}{place}{f', the peers at {furthest}' if furthest else ''}",
        remedy="it catches up while it runs; far behind, `tanpo node join` is faster" if is_behind else "",
    )


def _judge_votes(patient: Patient) -> Iterator[Symptom]:
    path, reading = patient.config.data_dir / CONSENSUS_NAME, patient.reading
    try:
        key = load_signing_key(patient.config)
    except LedgerError:
        return  # Told among what is wrong with the configuration.
    if key is None:
        yield Symptom(what="votes", health=Health.OK, detail="no signing_key: an observer, which never votes")
        return
    is_forgotten = not SafetyStore.is_present(path) or is_marked_forgotten(path, key)
    if is_forgotten or (reading is not None and reading.get("tanpo_has_amnesia")):
        yield Symptom(
            what="votes",
            health=Health.FAIL,
            detail=f"the record of what this key signed is missing or incomplete: {path}",
            remedy=AMNESIA_REMEDY,
        )
    elif reading is not None and not reading.get("tanpo_is_validator"):
        yield Symptom(
            what="votes",
            health=Health.WARN,
            detail="the validators of this epoch do not name this node with its key",
            remedy="compare with `tanpo validator list`",
        )
    else:
        detail = f"the record of what this key signed is in place{', and the node votes' if reading else ''}"
        yield Symptom(what="votes", health=Health.OK, detail=detail)


def _judge_snapshots(patient: Patient) -> Iterator[Symptom]:
    if patient.config.snapshots.every_blocks == 0:
        yield Symptom(what="snapshots", health=Health.OK, detail="none are taken (every_blocks = 0)")
        return
    folder = patient.config.data_dir / "snapshots"
    heights = (
        sorted(int(one.name) for one in folder.glob("*") if one.name.isdigit()) if folder.is_dir() else []
    )
    every = patient.config.snapshots.every_blocks
    shown = ", ".join(map(str, heights)) or f"none yet: the first is taken at block {every}"
    yield Symptom(what="snapshots", health=Health.OK, detail=f"of blocks {shown}" if heights else shown)


def _judge_backup(patient: Patient) -> Iterator[Symptom]:
    record = find_record(find_record_path(patient.config))
    remedy = "`tanpo node backup create`, from a timer (docs/backup.md)"
    if record is None:
        yield Symptom(what="backup", health=Health.WARN, detail="none is known of", remedy=remedy)
        return
    age = patient.now - datetime.fromtimestamp(record.created_ms / 1000, UTC)
    yield Symptom(
        what="backup",
        health=Health.WARN if age > BACKUP_AGE_MAX else Health.OK,
        detail=f"of block {record.height}, {_spell(age)} old",
        remedy=remedy if age > BACKUP_AGE_MAX else "",
    )


def _judge_clock(patient: Patient) -> Iterator[Symptom]:
    skew_ms = compute_skew(patient.vitals)
    if skew_ms is None:
        yield Symptom(
            what="clock", health=Health.WARN, detail="too few peers answer to tell whether it is right"
        )
        return
    is_off = abs(skew_ms) > patient.config.timing.precision_ms
    yield Symptom(
        what="clock",
        health=Health.FAIL if abs(skew_ms) > SKEW_MAX_MS else Health.WARN if is_off else Health.OK,
        detail=f"{abs(skew_ms)} ms {describe_side(skew_ms)} the peers' clocks",
        remedy="set it (NTP)" if is_off else "",
    )


def _judge_peers(patient: Patient) -> Iterator[Symptom]:
    if not patient.config.peers:
        yield Symptom(what="peers", health=Health.WARN, detail="none are configured", remedy="add [[peers]]")
    trusted, remedy = "the CAs that count now", "see that it runs, that its address is right"
    if patient.reading is None or patient.reading.members is None:
        # Its member may have replaced its CA since: only the state says so, which a node that runs has open.
        trusted = "the CAs of the genesis and `[[peers]]` `ca`, as no node here tells others"
        remedy += " (and its `ca`, if its member has another now)"
    for one in patient.vitals:
        what = f"peer {one.name}"
        if one.problem:
            yield Symptom(
                what=what,
                health=Health.WARN,
                detail=f"no answer at {one.address}, by {trusted}: {one.problem}",
                remedy=f"{remedy}, and what its own doctor says",
            )
        else:
            detail = f"answers at {one.address}: block {one.height}, version {one.version}"
            yield Symptom(what=what, health=Health.OK, detail=detail)


def _spell(age: timedelta) -> str:
    hours = int(age.total_seconds() // 3600)
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours"


_JUDGES: Final = (
    _judge_node,
    _judge_votes,
    _judge_chain,
    _judge_clock,
    _judge_certificates,
    _judge_disk,
    _judge_versions,
    _judge_snapshots,
    _judge_backup,
    _judge_peers,
)
