"""The stage of a scenario: processes, network, time and byzantine validators, moved by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from tanpo.consensus.messages import Message
from tanpo.consensus.wire import decode_message, encode_message
from tanpo.ledger.certificate import compute_faulty_max
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.types import Epoch, ValidatorIndex
from tanpo.simulator import Violation
from tanpo.testing.scenario.archive import Archive
from tanpo.testing.scenario.contents import find_subject, name_kind
from tanpo.testing.scenario.disk import Disk
from tanpo.testing.scenario.knowledge import Knowledge
from tanpo.testing.scenario.network import Choice, Letter, Network
from tanpo.testing.scenario.process import Clock, Outgoing, Process
from tanpo.testing.scenario.telling import Told, describe_message
from tanpo.testing.scenario.witness import Witness

TICK_MS: Final = 25
"""How often processes look at their clocks, as the driver of a node does."""

DELIVERIES_MAX: Final = 20_000
"""Most letters that one line delivers."""


class Stage:
    """Everybody and everything in one scenario."""

    def __init__(self, names: Sequence[str]) -> None:
        self.clock = Clock()
        self.archive = Archive(tuple(names))
        self.network = Network()
        self.knowledge = Knowledge()
        self.byzantine: list[str] = []
        self.faulty: list[str] = []
        self.backups: dict[str, Disk] = {}
        self.told: list[Told] = []
        self.witness = Witness(self.archive)
        self.processes: dict[str, Process] = {}
        self._said: set[Told] = set()
        for name in names:
            self.add_process(name, name)
        self.told.clear()

    @property
    def honest(self) -> list[Process]:
        """The processes of validators that may not disagree, up or down; not those of twins."""
        keys = [process.key for process in self.processes.values()]
        return [process for process in self.processes.values() if keys.count(process.key) == 1]

    @property
    def epoch(self) -> Epoch:
        """The latest epoch that any validator began."""
        return max(self.archive.sets)

    def index_of(self, name: str, epoch: Epoch) -> ValidatorIndex:
        """Return the place of a validator in the set of an epoch.

        Raises:
            UsageError: it is none of them.
        """
        names = self.archive.sets[epoch]
        if name not in names:
            raise UsageError(
                Reason.MISUSE, f"is no validator of epoch {epoch}", value=name, limit=", ".join(names)
            )
        return ValidatorIndex(names.index(name))

    def add_process(self, name: str, key: str) -> None:
        """Start a process on an empty disk; with the key of another it is a twin."""
        self.processes[name] = Process(name=name, key=key, clock=self.clock, archive=self.archive)
        self.start(self.processes[name])

    def start(self, process: Process) -> None:
        """Start a process from its disk."""
        process.start()
        self.flush(process)

    def turn(self, name: str) -> None:
        """Put a validator into the hands of the script: it knows all that it sent and was sent.

        Raises:
            UsageError: more validators would be faulty than the network promises to survive.
        """
        self.count_faulty(name)
        self.byzantine.append(name)
        process = self.processes.pop(name)
        for letter in self.network.select(Choice(), is_sent=True):
            if name in (letter.sender, letter.receiver):
                self._absorb(letter.sender_key, *decode_message(letter.encoded))
        self.network.take([one for one in self.network.waiting if one.receiver == name])
        process.crash(is_synced=False)

    def run(self) -> None:
        """Deliver all letters that are not held, and those they cause, in the order of sending."""
        for _ in range(DELIVERIES_MAX):
            letter = self.network.next_letter()
            if letter is None:
                return
            self.arrive(letter)
        raise Violation("rest", f"the network does not come to rest within {DELIVERIES_MAX} letters")

    def pass_time(self, duration_ms: int, names: Iterable[str], *, is_delivering: bool) -> None:
        """Let time pass for some processes, with or without letters arriving meanwhile."""
        moved = [self.processes[name] for name in names]
        end_ms = self.clock.now_ms + duration_ms
        while self.clock.now_ms < end_ms:
            self.clock.now_ms = min(end_ms, self.clock.now_ms + TICK_MS)
            for process in moved:
                if process.is_up:
                    process.tick()
                    self.flush(process)
            if is_delivering:
                self.run()

    def arrive(self, letter: Letter) -> None:
        """Hand a letter to its receiver; one that is down never gets it."""
        process = self.processes.get(letter.receiver)
        if process is not None and process.is_up:
            process.receive(letter.sender_key, letter.encoded)
            self.flush(process)

    def flush(self, process: Process) -> None:
        """Take what a process sent and told."""
        self.told += process.told
        process.told.clear()
        self.witness.check_accused(process, self.faulty)
        outbox, process.outbox = process.outbox, []
        for outgoing in outbox:
            self.witness.note_message(process, outgoing)
            if process.key not in self.faulty:
                self.witness.check_message(process, outgoing)
            self._tell_sent(process, outgoing.message)
            self.post(process.name, process.key, outgoing)

    def post(self, sender: str, key: str, outgoing: Outgoing) -> list[Letter]:
        """Put a message on the links to its receivers and return the letters. Twins all get one."""
        message = outgoing.message
        self.archive.note_message(message)
        term, block_hash = find_subject(message)
        letters: list[Letter] = []
        for name in self._receivers(outgoing.to):
            letter = Letter(
                number=0,
                sender=sender,
                sender_key=key,
                receiver=name,
                kind=name_kind(message),
                term=term,
                block=None if block_hash is None else self.archive.name_of(block_hash),
                encoded=encode_message(message, outgoing.epoch),
            )
            posted = self.network.post(letter)
            if posted is not None:
                letters.append(posted)
            if posted is not None and name in self.byzantine:
                self.network.take([posted])
                self._absorb(key, outgoing.epoch, message)
        return letters

    def count_faulty(self, name: str) -> None:
        """Note that a validator's promises are worth nothing from now on.

        Raises:
            UsageError: more validators would be faulty than the network promises to survive.
        """
        limit = compute_faulty_max(len(self.archive.sets[self.epoch]))
        if name not in self.faulty and len(self.faulty) >= limit:
            raise UsageError(Reason.MISUSE, "too many faulty validators", value=name, limit=limit)
        self.faulty = sorted({*self.faulty, name})

    def _receivers(self, keys: Sequence[str]) -> list[str]:
        """Return the receivers in order: twins both get what is sent to their validator."""
        known = [(process.key, process.name) for process in self.processes.values()]
        known += [(name, name) for name in self.byzantine]
        return [name for key in keys for known_key, name in sorted(known) if known_key == key]

    def _absorb(self, sender: str, epoch: Epoch, message: Message) -> None:
        names = self.archive.sets.get(epoch, ())
        if sender in names:
            self.knowledge.absorb(epoch, ValidatorIndex(names.index(sender)), message)

    def _tell_sent(self, process: Process, message: Message) -> None:
        told = describe_message(process.name, message, self.archive)
        if told is None:
            return
        if told not in self._said:
            self._said.add(told)
            self.told.append(told)
        elif told.again is not None:
            self.told.append(replace(told, deed=told.again))
