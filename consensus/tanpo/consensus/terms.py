"""Leaving a leader behind: suspicion (not binding), timeouts (binding), term certificates (T1 to T5)."""

from __future__ import annotations

from dataclasses import replace

from tanpo.consensus.certificates import (
    accept_certificate,
    accept_commit_proof,
    accept_term_certificate,
    check_commit_proof,
    enter_term,
    verify_quorum,
)
from tanpo.consensus.messages import Heartbeat, StepDown, Suspect, TermCertificate, Timeout
from tanpo.consensus.state import (
    Core,
    broadcast,
    build_heartbeat,
    compute_leader,
    compute_timeout_ms,
    persist,
    send,
)
from tanpo.consensus.witness import note_timeout
from tanpo.ledger.certificate import TimeoutCertificate, TimeoutEntry, step_down_bytes, timeout_bytes
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.types import Term, ValidatorIndex


def on_tick(core: Core) -> None:
    """Complain about a leader that is silent or without progress; repeat a timeout we signed (T2, T4)."""
    clock = core.clock
    note_idle(core)
    if not core.can_sign:
        return
    heartbeat_ms = core.config.timing.heartbeat_ms
    if core.has_timed_out:
        if clock.now_ms - clock.complaint_ms >= 2 * heartbeat_ms:
            _repeat_timeout(core)
    elif find_complaint(core) is not None and clock.now_ms - clock.complaint_ms >= heartbeat_ms:
        clock.complaint_ms = clock.now_ms
        _note_suspect(core, core.config.validator)
        broadcast(core, Suspect(term=core.term))
    amplify(core)
    give_away(core)


def note_idle(core: Core) -> None:
    """Let the wait for a commit begin no earlier than now while there is nothing to commit (T2)."""
    if not has_work(core):
        core.clock.progress_ms = core.clock.now_ms


def find_complaint(core: Core) -> str | None:
    """Return why we suspect the leader of the term, None while he does his duty (T2)."""
    clock, timing = core.clock, core.config.timing
    patience_ms = compute_timeout_ms(core)
    if not core.is_leader and clock.now_ms - clock.heard_ms > patience_ms:
        return "the leader is silent"
    if has_work(core) and clock.now_ms - clock.progress_ms > patience_ms:
        return "nothing commits"
    term_ms = clock.now_ms - core.current.entered_ms
    if core.has_overdue and term_ms > max(patience_ms, timing.request_timeout_ms):
        return "the leader passes over a transaction"
    return None


def has_work(core: Core) -> bool:
    """Whether something ought to commit."""
    tip_height = core.chain.tip.height
    voted = core.record.voted
    is_vote_open = voted is not None and voted.term == core.term and voted.height > tip_height
    return core.has_pending or core.high_qc.height > tip_height or is_vote_open


def on_suspect(core: Core, sender: ValidatorIndex, suspect: Suspect) -> None:
    """Count a complaint about our term's leader; help a sender that is behind."""
    if suspect.term < core.term:
        send_hint(core, sender)
    elif suspect.term == core.term:
        _note_suspect(core, sender)
        amplify(core)


def on_timeout(core: Core, sender: ValidatorIndex, timeout: Timeout) -> None:
    """Count a signed timeout; learn from its certificates whatever its term (T1, T4)."""
    entry = timeout.entry
    if entry.validator != sender:
        raise PeerFault(Reason.PROTOCOL, "timeout of another validator", value=entry.validator, limit=sender)
    high = timeout.high_qc
    if (entry.high_term, entry.high_height, entry.high_hash) != (high.term, high.height, high.block_hash):
        raise PeerFault(Reason.PROTOCOL, "timeout names another certificate than it carries")
    certificate = timeout.term_certificate
    if certificate is not None and certificate.term >= core.term:
        accept_term_certificate(core, certificate)
    # Only now: its term may have become ours, and then it counts.
    if high.rank > core.high_qc.rank or timeout.term == core.term:
        high = verify_quorum(core, high)
        accept_certificate(core, high)
    if timeout.term < core.term:
        send_hint(core, sender)
    if timeout.term != core.term or core.current.timeouts.get(sender) == timeout:
        return
    check_entry(core, timeout.term, entry)
    note_timeout(core, timeout.term, entry)
    core.current.timeouts[sender] = replace(timeout, high_qc=high)
    amplify(core)
    _complete(core)


def on_term_certificate(core: Core, message: TermCertificate) -> None:
    """Enter the term it opens, if that is later than ours."""
    if message.certificate.term >= core.term:
        accept_term_certificate(core, message.certificate)


def on_heartbeat(core: Core, sender: ValidatorIndex, heartbeat: Heartbeat) -> None:
    """Learn where the sender stands; from the term's leader it is also a sign of life."""
    if heartbeat.high_qc.rank > core.high_qc.rank:
        accept_certificate(core, verify_quorum(core, heartbeat.high_qc))
    proof = heartbeat.commit_proof
    known = core.record.commit_proof
    if proof is not None and (known is None or proof.height > known.height):
        check_commit_proof(core, proof)
        accept_certificate(core, proof.certificate)
        accept_commit_proof(core, proof)
    certificate = heartbeat.term_certificate
    if certificate is not None and certificate.term >= core.term:
        accept_term_certificate(core, certificate)
    if heartbeat.term < core.term:
        send_hint(core, sender)
    elif heartbeat.term == core.term and sender == compute_leader(core.config, core.term):
        core.clock.heard_ms = core.clock.now_ms


def give_away(core: Core) -> None:
    """Give our term away if this node is to lead no more (T6)."""
    validator = core.config.validator
    must_yield = core.is_draining and core.is_leader and core.may_sign and not core.has_timed_out
    if validator is None or not must_yield or core.config.validator_count == 1:
        return
    message = step_down_bytes(core.config.network_id, core.config.epoch, core.term)
    core.current.step_down = StepDown(term=core.term, signature=core.signer(message))
    _time_out(core)


def on_step_down(core: Core, sender: ValidatorIndex, message: StepDown) -> None:
    """Time out at once in a term that its leader gives away: there is nobody to wait for (T6).

    Raises:
        PeerFault: the leader of the term did not sign it.
    """
    if message.term < core.term:
        send_hint(core, sender)
    if message.term != core.term:
        return
    leader = compute_leader(core.config, core.term)
    signed = step_down_bytes(core.config.network_id, core.config.epoch, message.term)
    if not core.checker.verify(leader, signed, message.signature):
        raise PeerFault(Reason.SIGNATURE_INVALID, "step-down without its leader's signature", value=leader)
    if core.may_sign and not core.has_timed_out:
        _time_out(core)


def send_hint(core: Core, to: ValidatorIndex) -> None:
    """Show a validator in an older term what it missed, at a bounded rate."""
    now_ms, last_ms = core.clock.now_ms, core.hinted_ms.get(to)
    if last_ms is None or now_ms - last_ms >= core.config.timing.heartbeat_ms // 2:
        core.hinted_ms[to] = now_ms
        send(core, to, build_heartbeat(core))


def amplify(core: Core) -> None:
    """Time out once f+1 validators complain: at least one of them is honest (T2)."""
    if not core.may_sign or core.has_timed_out:
        return
    oldest_ms = core.clock.now_ms - core.config.timing.base_timeout_ms
    complaining = [index for index, at_ms in core.current.suspects.items() if at_ms >= oldest_ms]
    complaining += [index for index in core.current.timeouts if index not in complaining]
    if len(complaining) > core.faulty_max:
        _time_out(core)


def _note_suspect(core: Core, validator: ValidatorIndex | None) -> None:
    if validator is not None:
        core.current.suspects[validator] = core.clock.now_ms


def _time_out(core: Core) -> None:
    """Promise to vote no more in this term, naming our lock (R1, S3)."""
    validator, high = core.config.validator, core.high_qc
    if validator is None:
        return
    message = timeout_bytes(
        core.config.network_id, core.config.epoch, core.term, high.term, high.height, high.block_hash
    )
    timeout = Timeout(
        term=core.term,
        entry=TimeoutEntry(
            validator=validator,
            high_term=high.term,
            high_height=high.height,
            high_hash=high.block_hash,
            signature=core.signer(message),
        ),
        high_qc=high,
        term_certificate=core.record.term_certificate,
    )
    core.record = replace(core.record, timeout=timeout)
    core.current.timeouts[validator] = timeout
    _repeat_timeout(core)


def _repeat_timeout(core: Core) -> None:
    timeout = core.record.timeout
    if timeout is not None and timeout.term == core.term and core.config.validator is not None:
        core.clock.complaint_ms = core.clock.now_ms
        core.current.timeouts.setdefault(core.config.validator, timeout)
        persist(core)  # The promise is durable before it leaves (D1).
        broadcast(core, timeout)
        if core.current.step_down is not None:
            broadcast(core, core.current.step_down)
        _complete(core)


def check_entry(core: Core, term: Term, entry: TimeoutEntry) -> None:
    """Raise `PeerFault` unless the timeout is signed by the validator it names."""
    message = timeout_bytes(
        core.config.network_id,
        core.config.epoch,
        term,
        entry.high_term,
        entry.high_height,
        entry.high_hash,
    )
    if not core.checker.verify(entry.validator, message, entry.signature):
        raise PeerFault(
            Reason.SIGNATURE_INVALID,
            f"bad timeout signature of validator {entry.validator}",
            value=entry.validator,
        )


def _complete(core: Core) -> None:
    """Enter the next term with a quorum's timeouts, and show everybody (T1)."""
    timeouts = core.current.timeouts
    if len(timeouts) < core.quorum:
        return
    ordered = [timeouts[index] for index in sorted(timeouts)]
    certificate = TimeoutCertificate(
        epoch=core.config.epoch,
        term=core.term,
        entries=tuple(timeout.entry for timeout in ordered),
        high_qc=max((timeout.high_qc for timeout in ordered), key=lambda qc: qc.rank),
    )
    enter_term(core, Term(core.term + 1), certificate)
