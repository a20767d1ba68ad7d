"""Why nothing moves, in words for the operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tanpo.consensus.catch_up import is_known_to_lag
from tanpo.consensus.state import Core, Proposal, compute_leader, compute_reach
from tanpo.consensus.tally import Tally
from tanpo.consensus.terms import find_complaint, has_work

CATCHING_UP: Final = "catching up"
"""How the reason begins while nothing is wrong but that blocks are still being fetched."""

_STARTING: Final = "starting: this validator signs nothing new"
_AMNESIA: Final = "amnesia: what this validator signed is forgotten: it follows, and must not sign"
REJOINED: Final = "rejoined: silent"
"""How the reason begins while a validator that has rejoined waits for terms in which it may sign (D8)."""

OWN_REASONS: Final = (CATCHING_UP, _STARTING, _AMNESIA, REJOINED)
"""How the reason begins while only this node is held up: the others need not have said anything."""


def explain_stall(core: Core, names: Sequence[str] = ()) -> str | None:
    """Return the reason why nothing commits, naming who is missing; None when nothing is amiss.

    `names` are the validators' by index; without them they are told by index.
    """
    names = names or [f"validator {index}" for index in range(core.config.validator_count)]
    if core.halted is not None:
        return f"halted: {core.halted}"
    if core.has_amnesia or core.inquiry is not None:
        return _explain_memory(core, names)
    if core.is_behind:
        return f"{CATCHING_UP} with epoch {core.config.epoch}: the record of our votes is of a later one"
    if core.has_timed_out:
        return _explain_timeout(core, names)
    if core.catch_up.committed is not None and is_known_to_lag(core):
        request = core.catch_up.committed
        return f"{CATCHING_UP} from height {request.height}, asking {names[request.peer]}"
    if core.catch_up.batch is not None:
        return f"{CATCHING_UP}: at height {core.chain.tip.height} of {core.catch_up.batch.proof.height}"
    # An observer is told nothing (F2): silence says nothing about the leader.
    complaint = None if core.config.validator is None else find_complaint(core)
    if complaint is None:
        return None
    detail = _explain_leader(core, names) if core.is_leader else _explain_follower(core)
    return f"term {core.term}, leader {names[compute_leader(core.config, core.term)]}: {complaint}{detail}"


def _explain_memory(core: Core, names: Sequence[str]) -> str:
    """Say what keeps us from signing: forgotten promises (D6, D8), or an inquiry after a start (D7)."""
    config, inquiry = core.config, core.inquiry
    if inquiry is None or (core.has_amnesia and not config.may_rejoin):
        return _AMNESIA
    # While we remember, we count ourselves.
    needed = core.quorum if core.has_amnesia else core.quorum - 1
    others = [index for index in range(len(names)) if index != config.validator]
    present = [names[index] for index in others if index in inquiry.answered]
    missing = [names[index] for index in others if index not in inquiry.answered]
    reason = _AMNESIA if core.has_amnesia else _STARTING
    return (
        f"{reason} until {needed} of {len(others)} others told what they saw "
        f"of it; {', '.join(present) or 'none'} did, missing {', '.join(missing)}"
    )


def _explain_timeout(core: Core, names: Sequence[str]) -> str:
    if core.term <= core.record.floor:
        return (
            f"{REJOINED} up to term {core.record.floor}, now {core.term}; "
            "each drain or restart of a leader ends a term"
        )
    missing = [name for index, name in enumerate(names) if index not in core.current.timeouts]
    return (
        f"gave up term {core.term}: timeouts of {len(core.current.timeouts)} of {core.quorum} needed, "
        f"missing those of {', '.join(missing)}"
    )


def _explain_leader(core: Core, names: Sequence[str]) -> str:
    tally = core.current.prepare
    if tally is None or tally.certificate is not None:
        tally = core.current.commit
    if tally is None or tally.certificate is not None:
        return _explain_execution(core)
    return f"; {_explain_votes(core, tally, names)}"


def _explain_votes(core: Core, tally: Tally, names: Sequence[str]) -> str:
    missing = [name for index, name in enumerate(names) if index not in tally.votes]
    return (
        f"height {tally.height} has {len(tally.votes)} of {core.quorum} votes, "
        f"missing those of {', '.join(missing)}"
    )


def _explain_follower(core: Core) -> str:
    proposal = core.current.proposal
    if proposal is None or proposal.rank <= core.voted_rank:
        return _explain_execution(core) if has_work(core) else ""
    return f"; proposal at height {proposal.rank[1]} is not voted for: {_explain_proposal(core, proposal)}"


def _explain_proposal(core: Core, proposal: Proposal) -> str:
    justify = proposal.append.justify
    if proposal.refusal is not None:
        return proposal.refusal
    if proposal.rank[1] > compute_reach(core):
        return f"our stored height is only {core.chain.stored_height}"
    if core.chain.walk(justify.block_hash, justify.height).missing is not None:
        return "blocks below it are missing"
    if core.chain.find_roots(justify.block_hash) is None:
        return f"height {justify.height} is still being executed"
    return "its body is still being checked" if not proposal.is_checked else "its time is ahead of ours"


def _explain_execution(core: Core) -> str:
    walk = core.chain.walk(core.high_qc.block_hash, core.high_qc.height)
    if walk.missing is not None:
        return f"; block {walk.missing.height} is missing"
    waiting = [held.height for held in walk.path if held.roots is None]
    return f"; height {waiting[0]} is still being executed" if waiting else ""
