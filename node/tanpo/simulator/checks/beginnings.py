"""After a start with a record, nothing new is signed before the others were asked (D7)."""

from __future__ import annotations

from dataclasses import dataclass, field

from tanpo.consensus import Message
from tanpo.consensus.messages import Append, AppendReply, Nudge, StepDown, Timeout
from tanpo.consensus.record import DurableRecord
from tanpo.ledger.types import Signature
from tanpo.simulator.violation import Violation


@dataclass(slots=True)
class _Beginning:
    """A replica's start: when, what it had signed, and who answered since."""

    began_ms: int
    signed: tuple[Signature, ...]
    answered: set[str] = field(default_factory=set)


class Beginnings:
    """The latest start of each process."""

    def __init__(self, base_timeout_ms: int) -> None:
        self._base_timeout_ms = base_timeout_ms
        self._begun: dict[str, _Beginning] = {}

    def note_start(self, name: str, record: DurableRecord | None, now_ms: int) -> None:
        """Note that a process starts with a record; without one there is nothing to ask about."""
        self._begun.pop(name, None)
        if record is None:
            return
        signed = [] if record.voted is None else [record.voted.signature]
        if record.timeout is not None:
            signed.append(record.timeout.entry.signature)
        self._begun[name] = _Beginning(began_ms=now_ms, signed=tuple(signed))

    def note_answer(self, name: str, sender: str) -> None:
        """Note that somebody told a process what it saw of it."""
        if name in self._begun:
            self._begun[name].answered.add(sender)

    def check(self, name: str, message: Message, now_ms: int, quorum: int) -> None:
        """Check what a process signs as a validator of a set with this quorum, its own answer included.

        Raises:
            Violation: it is new, and neither enough others answered since the start nor was there time to.
        """
        begun = self._begun.get(name)
        if begun is None or not _is_new(message, begun.signed):
            return
        wanted = quorum - 1
        if len(begun.answered) < wanted and now_ms - begun.began_ms < self._base_timeout_ms:
            count = len(begun.answered)
            raise Violation("amnesia", f"signs anew after a start and {count} answers of {wanted}", name)
        del self._begun[name]


def _is_new(message: Message, signed: tuple[Signature, ...]) -> bool:
    match message:
        case AppendReply(vote=vote):
            return vote.signature not in signed
        case Append(signature=signature):
            return signature not in signed
        case Timeout(entry=entry):
            return entry.signature not in signed
        case Nudge() | StepDown():
            return True
        case _:
            return False
