"""How long a replica may be left alone: until its next duty, if time alone could change nothing before.

Whoever drives a replica need not wake it fifty times a second while nothing happens. The rule that keeps this
honest: a `Ticked` before the time told here would have had no effect, and whatever else happens asks anew.
"""

from __future__ import annotations

from tanpo.consensus.proposing import is_proposal_open
from tanpo.consensus.state import Core, compute_timeout_ms
from tanpo.consensus.terms import has_work


def compute_rest_until_ms(core: Core) -> int | None:
    """Return until when nothing is to do unless something happens; None while time matters at every tick.

    It is never further away than a heartbeat: what the replica is told by ticks alone must not wait for ever.
    """
    if _is_busy(core):
        return None
    clock, heartbeat_ms = core.clock, core.config.timing.heartbeat_ms
    duties = [clock.now_ms + heartbeat_ms]
    duties += [request.asked_ms + heartbeat_ms for request in core.catch_up.fetches.values()]
    if core.catch_up.committed is not None:
        duties.append(core.catch_up.committed.asked_ms + heartbeat_ms)
    if core.can_sign and core.is_leader:
        duties.append(clock.heartbeat_ms + heartbeat_ms)
    elif core.can_sign:
        # The leader is silent once more than the patience with him has passed.
        duties.append(clock.heard_ms + compute_timeout_ms(core) + 1)
    return min(duties)


def _is_busy(core: Core) -> bool:
    """Whether something is under way that goes on, is repeated or is given up by the time."""
    is_asking = core.inquiry is not None or (core.has_amnesia and core.config.may_rejoin)
    return is_asking or core.catch_up.batch is not None or _is_deciding(core) or _is_term_ending(core)


def _is_deciding(core: Core) -> bool:
    """Whether a block waits for a proposal, for votes or for its time."""
    proposal, commit = core.current.proposal, core.current.commit
    is_vote_due = (
        core.can_sign
        and proposal is not None
        and proposal.refusal is None
        and proposal.rank > core.voted_rank
    )
    is_commit_open = commit is not None and commit.certificate is None
    is_lingering = core.clock.linger_until_ms is not None
    return has_work(core) or is_proposal_open(core) or is_vote_due or is_commit_open or is_lingering


def _is_term_ending(core: Core) -> bool:
    """Whether somebody complains of the leader, or it is to lead no more."""
    oldest_ms = core.clock.now_ms - core.config.timing.base_timeout_ms
    is_suspected = any(at_ms >= oldest_ms for at_ms in core.current.suspects.values())
    is_yielding = core.is_draining and core.is_leader
    return core.has_timed_out or bool(core.current.timeouts) or is_suspected or is_yielding
