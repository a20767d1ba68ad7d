"""What a reader is told: deeds of validators, the same deed of several on one line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, assert_never

from tanpo.consensus import messages
from tanpo.consensus.messages import Message
from tanpo.ledger.certificate import SignedKind
from tanpo.ledger.evidence import DoubleOpening, DoubleVote, Evidence, LyingTimeout
from tanpo.testing.scenario.archive import Archive

NOTHING: Final = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Something that happened, in words. Details are left out where much happens at once."""

    name: str
    deed: str
    what: str = ""
    is_detail: bool = False
    again: str | None = None
    """The deed when it is done once more; None if that is not worth telling."""


def tell(told: Iterable[Told], *, is_close: bool) -> list[str]:
    """Return one line for each thing done, with all who did it; what one group did in a row on one line."""
    doers: dict[tuple[str, str], list[str]] = {}
    for one in told:
        if is_close or not one.is_detail:
            names = doers.setdefault((one.deed, one.what), [])
            if one.name not in names:
                names.append(one.name)
    lines: list[tuple[str, str, list[str]]] = []
    for (deed, what), names in doers.items():
        who = " ".join(sorted(names))
        if lines and lines[-1][:2] == (who, deed) and not deed.endswith(":"):
            lines[-1][2].append(what)
        else:
            lines.append((who, deed, [what]))
    return [f"{who} {deed} {', '.join(whats)}".rstrip() for who, deed, whats in lines]


def describe_message(name: str, message: Message, archive: Archive) -> Told | None:
    """Return what a sent message means to the reader; None for those that only keep the others informed."""
    told = Told(name=name, deed="", is_detail=True)
    match message:
        case messages.Append():
            what = archive.describe(message.block)
            if message.is_repeat:
                return replace(told, deed=f"opened term {message.term} with", what=what)
            return replace(told, deed="proposed", what=what, again="proposed again")
        case messages.AppendReply():
            is_prepare = message.vote.kind is SignedKind.VOTE_PREPARE
            deed = "voted for" if is_prepare else "voted to commit"
            what = archive.name_of(message.vote.block_hash)
            return replace(told, deed=deed, what=what, again=deed.replace("voted", "voted again"))
        case messages.Nudge():
            return replace(told, deed="asked to commit", what=archive.name_of(message.certificate.block_hash))
        case messages.Suspect():
            return replace(told, deed="suspected the leader of term", what=str(message.term))
        case messages.Timeout():
            lock = archive.name_of(message.entry.high_hash)
            return replace(told, deed=f"gave up term {message.term} locked on", what=lock, is_detail=False)
        case messages.StepDown():
            return replace(told, deed="gave away term", what=str(message.term), is_detail=False)
        case messages.GetStatus():
            return replace(told, deed="asked what others saw of it", again="asked what others saw of it")
        case _:
            return _describe_catch_up(told, message, archive)


def name_evidence(evidence: Evidence, archive: Archive) -> str:
    """Return in words what an accused validator signed."""
    match evidence:
        case DoubleVote(first=first, second=second):
            return f"voted for {archive.name_of(first.block_hash)} and {archive.name_of(second.block_hash)}"
        case DoubleOpening(first=first, second=second):
            names = f"{archive.name_of(first.block_hash)} and {archive.name_of(second.block_hash)}"
            return f"voted for two first blocks of term {first.term}, {names}"
        case LyingTimeout(vote=vote, entry=entry):
            lock = archive.name_of(entry.high_hash)
            return f"voted for {archive.name_of(vote.block_hash)} and named {lock} as its lock"
        case _:
            assert_never(evidence)


def _describe_catch_up(told: Told, message: Message, archive: Archive) -> Told | None:
    match message:
        case messages.GetBlock():
            return replace(told, deed="asked for", what=archive.name_of(message.block_hash))
        case messages.BlockAnswer():
            return replace(told, deed="showed", what=archive.note(message.block))
        case messages.GetCommitted():
            return replace(
                told, deed="asked for what is committed from height", what=str(message.from_height)
            )
        case messages.Committed():
            heights = [block.header.height for block in message.blocks]
            return replace(
                told, deed="showed what is committed at heights", what=f"{heights[0]} to {heights[-1]}"
            )
        case _:
            return None
