"""A validator that knows that it forgot signs nothing where it may have signed before (D6, D8)."""

from __future__ import annotations

from tanpo.consensus import Message
from tanpo.consensus.messages import Append, AppendReply, Nudge, StepDown, Timeout
from tanpo.simulator.violation import Violation


class Rebirths:
    """In which terms each process signed, and had signed when it last lost its promises; terms by epoch."""

    def __init__(self) -> None:
        self._signed: dict[str, dict[int, int]] = {}
        self._forgotten: dict[str, dict[int, int]] = {}

    def note_loss(self, name: str, *, is_known: bool) -> None:
        """Note that a process lost its promises. One made anew, against all advice, does not know."""
        self._forgotten[name] = dict(self._signed.get(name, {})) if is_known else {}

    def check(self, name: str, epoch: int, message: Message) -> None:
        """Note what a process signs.

        Raises:
            Violation: it is of a term in which it signed what it has forgotten.
        """
        term = _find_signed_term(message)
        if term is None:
            return
        last = self._forgotten.get(name, {}).get(epoch, 0)
        if term <= last:
            what = f"signs in term {term} of epoch {epoch}, and forgot what it signed up to term {last}"
            raise Violation("amnesia", what, name)
        signed = self._signed.setdefault(name, {})
        signed[epoch] = max(term, signed.get(epoch, 0))


def _find_signed_term(message: Message) -> int | None:
    match message:
        case Append() | Timeout() | StepDown():
            return message.term
        case AppendReply(vote=vote):
            return vote.term
        case Nudge(certificate=certificate):
            return certificate.term
        case _:
            return None
