"""The protocol with one rule missing, many times over: each is a change of a few characters in a copy.

`old` must stand in the module exactly once, so that a mutant never silently stops being one. What each must
lead to - a fork, a broken promise, a network that stands still - is found by the simulator (`run.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One rule of SPEC.md switched off: in `module`, a path below `tanpo`, `old` becomes `new`."""

    name: str
    rule: str
    module: str
    old: str
    new: str


MUTANTS: Final = (
    # Voting.
    Mutant(
        name="vote after the timeout of the term",
        rule="R1",
        module="consensus/voting.py",
        old="if not core.can_sign or core.has_timed_out or not is_fresh or proposal.rank[0] != core.term:",
        new="if not core.can_sign or not is_fresh or proposal.rank[0] != core.term:",
    ),
    Mutant(
        name="commit vote after the timeout of the term",
        rule="R1",
        module="consensus/voting.py",
        old="if not core.may_sign or core.has_timed_out:",
        new="if not core.may_sign:",
    ),
    Mutant(
        name="two votes at one rank",
        rule="R2",
        module="consensus/voting.py",
        old="    if held is not None and leader_vote.rank <= held.rank:\n        return\n",
        new="",
    ),
    Mutant(
        name="a lower rank than voted for before",
        rule="R2",
        module="consensus/voting.py",
        old="is_fresh = proposal.rank > core.voted_rank",
        new="is_fresh = proposal.leader_vote != core.record.voted",
    ),
    Mutant(
        name="any certificate continues a term",
        rule="R3",
        module="consensus/voting.py",
        old="    if append.justify.term == core.term:\n        return True",
        new="    if append.justify.term == core.term or core.voted_rank[0] == core.term:\n        return True",
    ),
    Mutant(
        name="a first block below a listed lock",
        rule="R4",
        module="consensus/voting.py",
        old="        and justify.rank >= certificate.high_rank\n",
        new="",
    ),
    Mutant(
        name="a first block without a term certificate",
        rule="R4",
        module="consensus/voting.py",
        old="        certificate is not None\n        and certificate.term == core.term - 1\n        and justify",
        new="        certificate is None or justify",
    ),
    Mutant(
        name="several first blocks in a term",
        rule="R4",
        module="consensus/voting.py",
        old="return core.voted_rank[0] < core.term and _opens_term",
        new="return _opens_term",
    ),
    Mutant(
        name="the certificate of a known term is not verified",
        rule="R4",
        module="consensus/certificates.py",
        old="    if certificate == core.record.term_certificate:\n        return\n",
        new="    if certificate.term + 1 <= core.term:\n        return\n",
    ),
    Mutant(
        name="results of the parent are not compared",
        rule="V4",
        module="consensus/certificates.py",
        old="    if (roots.state_root, roots.receipts_root) != (header.state_root, header.receipts_root):\n"
        '        return "its',
        new='    if header.height < 0:\n        return "its',
    ),
    Mutant(
        name="a time far ahead",
        rule="V3",
        module="consensus/voting.py",
        old="is_early = header.time_ms > core.clock.wall_ms + core.config.timing.precision_ms",
        new="is_early = False",
    ),
    Mutant(
        name="a time that does not rise",
        rule="V3",
        module="consensus/voting.py",
        old="if block.header.time_ms <= parent_time_ms:",
        new="if block.header.time_ms < 0:",
    ),
    Mutant(
        name="bodies are not checked",
        rule="V2",
        module="consensus/voting.py",
        old="if roots is None or not proposal.is_checked or proposal.refusal is not None:",
        new="if roots is None:",
    ),
    # Certificates.
    Mutant(
        name="a quorum of one vote less",
        rule="S1",
        module="ledger/certificate.py",
        old="return (validator_count + compute_faulty_max(validator_count)) // 2 + 1",
        new="return max(1, (validator_count + compute_faulty_max(validator_count)) // 2)",
    ),
    Mutant(
        name="a quorum of 2f+1",
        rule="S1",
        module="ledger/certificate.py",
        old="return (validator_count + compute_faulty_max(validator_count)) // 2 + 1",
        new="return 2 * compute_faulty_max(validator_count) + 1",
    ),
    Mutant(
        name="one signer counts twice",
        rule="S1",
        module="ledger/certificate.py",
        old="    if any(a >= b for a, b in itertools.pairwise(indices)):",
        new="    if any(a > b for a, b in itertools.pairwise(indices)):",
    ),
    Mutant(
        name="votes are not verified",
        rule="S1",
        module="ledger/certificate.py",
        old='        if not checker.verify(index, message, signature):\n            raise _bad_signature("quorum',
        new='        if not signature:\n            raise _bad_signature("quorum',
    ),
    Mutant(
        name="the lock does not rise with a certificate",
        rule="S3",
        module="consensus/certificates.py",
        old="    if certificate.rank > core.high_qc.rank:\n        core.record = replace(core.record, high_qc=certificate)\n",
        new="    if certificate.rank > core.high_qc.rank and certificate.term > core.term:\n"
        "        core.record = replace(core.record, high_qc=certificate)\n",
    ),
    Mutant(
        name="the lock goes back",
        rule="S3",
        module="consensus/certificates.py",
        old="    if certificate.rank > core.high_qc.rank:\n        core.record = replace(core.record, high_qc=certificate)\n",
        new="    if certificate.rank != core.high_qc.rank:\n"
        "        core.record = replace(core.record, high_qc=certificate)\n",
    ),
    Mutant(
        name="timeouts do not sign their lock",
        rule="S3",
        module="ledger/certificate.py",
        old="    body = Writer().u64(term).u64(high_term).u64(high_height).raw(high_hash).finish()\n",
        new="    body = Writer().u64(term).finish()\n",
    ),
    Mutant(
        name="commit across terms",
        rule="S4",
        module="consensus/certificates.py",
        old="is_same_term = header.parent_term == header.term == certificate.term",
        new="is_same_term = True",
    ),
    Mutant(
        name="a commit vote for a certificate of an earlier term",
        rule="S5",
        module="consensus/voting.py",
        old="    if nudge.certificate.term < core.term:\n        send_hint(core, sender)\n        return\n",
        new="",
    ),
    # Durability, a row of the table each.
    Mutant(
        name="the proposal leaves before it is durable",
        rule="D1",
        module="consensus/proposing.py",
        old="    persist(core)  # Durable before it leaves: after a crash it is repeated, never made anew (D1).\n",
        new="",
    ),
    Mutant(
        name="the vote leaves before it is durable",
        rule="D1",
        module="consensus/voting.py",
        old="    persist(core)  # Vote, block and lock are durable before the vote leaves (D1).\n",
        new="",
    ),
    Mutant(
        name="the commit vote leaves before the lock is durable",
        rule="D1",
        module="consensus/voting.py",
        old="    persist(core)  # The lock is durable before anyone may count on it (D1).\n",
        new="",
    ),
    Mutant(
        name="the timeout leaves before it is durable",
        rule="D1",
        module="consensus/terms.py",
        old="        persist(core)  # The promise is durable before it leaves (D1).\n",
        new="",
    ),
    Mutant(
        name="the leader's commit vote counts before its lock is durable",
        rule="D1",
        module="consensus/proposing.py",
        old="    persist(core)  # The lock is durable before anyone may count on it (D1).\n",
        new="",
    ),
    Mutant(
        name="the driver sends before it has synced",
        rule="D1",
        module="node/agenda.py",
        old="            write=merge_writes(writes) if writes else None,",
        new="            write=merge_writes(writes[:-1]) if writes[:-1] else None,",
    ),
    Mutant(
        name="a vote is forgotten at a restart",
        rule="D2",
        module="consensus/record.py",
        old="        voted=read_vote(reader) if reader.flag() else None,",
        new="        voted=None if reader.flag() and read_vote(reader) else None,",
    ),
    Mutant(
        name="a lock is forgotten at a restart",
        rule="D2",
        module="consensus/start.py",
        old="        return _Resumed(record=record, is_durable=True, has_amnesia=start.has_forgotten)",
        new="        record = replace(record, high_qc=config.base_certificate, commit_proof=None)\n"
        "        return _Resumed(record=record, is_durable=True, has_amnesia=start.has_forgotten)",
    ),
    Mutant(
        name="a timeout is forgotten at a restart",
        rule="D2",
        module="consensus/start.py",
        old="        return _Resumed(record=record, is_durable=True, has_amnesia=start.has_forgotten)",
        new="        return _Resumed(record=replace(record, timeout=None), is_durable=True)",
    ),
    Mutant(
        name="blocks voted for are not kept",
        rule="D3",
        module="consensus/voting.py",
        old="    held.is_kept = True\n",
        new="",
    ),
    Mutant(
        name="a restarted leader makes another block",
        rule="D5",
        module="consensus/proposing.py",
        old="    return core.voted_rank[0] == core.term and core.voted_rank > core.high_qc.rank\n",
        new="    return core.round.prepare is not None and core.voted_rank > core.high_qc.rank\n",
    ),
    Mutant(
        name="whoever lost its record signs on",
        rule="D6",
        module="consensus/start.py",
        old="has_amnesia=config.validator is not None and resumed.has_amnesia,",
        new="has_amnesia=False,",
    ),
    Mutant(
        name="nobody asks after a restart",
        rule="D7",
        module="consensus/replica.py",
        old="    if core.is_restart or core.has_amnesia:\n",
        new="    if core.has_amnesia:\n",
    ),
    Mutant(
        name="a rejoined validator signs at once",
        rule="D8",
        module="consensus/amnesia.py",
        old="    floor = Term(max(core.term, *inquiry.answers.values()) + 1)\n",
        new="    floor = Term(0)\n",
    ),
    # Epochs.
    Mutant(
        name="signatures do not name their epoch",
        rule="E3",
        module="ledger/certificate.py",
        old='    return b"tanpo-v1" + Writer().u8(kind).raw(network_id).u64(epoch).finish()',
        new='    return b"tanpo-v1" + Writer().u8(kind).raw(network_id).u64(0).finish()',
    ),
    Mutant(
        name="blocks follow the last of an epoch",
        rule="E3",
        module="consensus/proposing.py",
        old="    if parent is not None and parent.block.header.flags & BlockFlags.EPOCH_END:\n",
        new="    if parent is not None and parent.block.header.tx_count > 1000:\n",
    ),
    Mutant(
        name="the marks of an epoch's end are not compared",
        rule="V5",
        module="consensus/certificates.py",
        old="    if (bool(header.flags & BlockFlags.EPOCH_END), header.next_valset_hash) != (is_end, wanted):\n",
        new="    if header.height < 0:\n",
    ),
    Mutant(
        name="the last block is repeated whatever the locks",
        rule="E4",
        module="consensus/voting.py",
        old="    if core.term == _FIRST_TERM:\n        return justify == get_base_certificate(core)\n",
        new="    if core.term == _FIRST_TERM:\n        return justify == get_base_certificate(core)\n"
        "    if core.round.proposal is not None and core.round.proposal.append.is_repeat:\n        return True\n",
    ),
    Mutant(
        name="nobody asks for the end of an epoch",
        rule="E6",
        module="consensus/replica.py",
        old="            catch_up.on_later_epoch(core)\n",
        new="            pass\n",
    ),
    # Committing and catching up.
    Mutant(
        name="committed blocks without a proof",
        rule="C3",
        module="consensus/catch_up.py",
        old="    check_commit_proof(core, committed.proof)\n",
        new="",
    ),
    Mutant(
        name="committed blocks that do not lead to their proof",
        rule="C3",
        module="consensus/catch_up.py",
        old="    _check_links(committed, headers)\n",
        new="",
    ),
    Mutant(
        name="commit before execution",
        rule="C2",
        module="consensus/committing.py",
        old="    if core.halted is not None or held.roots is None:\n        return False\n",
        new="    if core.halted is not None:\n        return False\n",
    ),
    Mutant(
        name="missing blocks are not asked for",
        rule="F1",
        module="consensus/catch_up.py",
        old="    for missing in wanted.values():\n        _ask_block(core, missing)\n",
        new="",
    ),
    # Terms and progress.
    Mutant(
        name="timeouts are sent once",
        rule="T4",
        module="consensus/terms.py",
        old="        if clock.now_ms - clock.complaint_ms >= 2 * heartbeat_ms:\n            _repeat_timeout(core)\n",
        new="        pass\n",
    ),
    Mutant(
        name="nobody is suspected",
        rule="T2",
        module="consensus/terms.py",
        old="    if len(complaining) > core.faulty_max:\n",
        new="    if len(complaining) > core.config.validator_count:\n",
    ),
    Mutant(
        name="proposals are sent once",
        rule="P4",
        module="consensus/proposing.py",
        old="    if _is_proposal_open(core):\n        _repeat_proposal(core)\n",
        new="",
    ),
    Mutant(
        name="whoever is behind is shown nothing",
        rule="T1",
        module="consensus/terms.py",
        old="    if last_ms is None or now_ms - last_ms >= core.config.timing.heartbeat_ms // 2:\n",
        new="    if last_ms is not None and now_ms < 0:\n",
    ),
    Mutant(
        name="a leader that passes over a transaction is not suspected",
        rule="T2",
        module="consensus/terms.py",
        old="    if core.has_overdue and term_ms > max(patience_ms, timing.request_timeout_ms):\n",
        new="    if core.has_overdue and term_ms < 0:\n",
    ),
    # Bounds and evidence.
    Mutant(
        name="held blocks are never let go",
        rule="B1",
        module="consensus/chain.py",
        old="        if surplus <= 0:\n            return ()\n",
        new="        if surplus <= 1_000_000:\n            return ()\n",
    ),
    Mutant(
        name="timeouts of any term are kept",
        rule="B2",
        module="consensus/terms.py",
        old="    if timeout.term != core.term or core.round.timeouts.get(sender) == timeout:\n        return\n",
        new="    if timeout.term < core.term or core.round.timeouts.get(sender) == timeout:\n        return\n",
    ),
    Mutant(
        name="honest timeouts are called lies",
        rule="G3",
        module="consensus/witness.py",
        old="    if term >= vote.term and (entry",
        new="    if (entry",
    ),
)
