"""Partitions that are planned term by term: who hears whom, and when a leader falls silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanpo.consensus import Message
from tanpo.consensus.messages import Append, Suspect, TermCertificate, Timeout

if TYPE_CHECKING:
    from tanpo.simulator.cluster import Cluster
    from tanpo.simulator.process import Process


class Partitions:
    """The plan of a run's settings at work. It applies to what is sent, by the term that the sender is in."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._entered: dict[str, tuple[int, int]] = {}
        self._first: dict[str, tuple[int, int]] = {}
        self.is_over = not cluster.settings.term_partitions
        """Whether the whole plan is over: everybody hears everybody, in whatever term."""

    def note_sent(self, sender: Process, message: Message) -> None:
        """Note where a leader's term starts."""
        if not self.is_over and isinstance(message, Append):
            term, _ = self._first.get(sender.name, (0, 0))
            if term != message.term:
                self._first[sender.name] = (message.term, message.block.header.height)

    def carry(self, sender: Process, receiver: Process, message: Message | None) -> bool:
        """Return whether a message passes; None stands for a transaction."""
        settings, term = self._cluster.settings, sender.replica.term
        if self.is_over or term > len(settings.term_partitions) or self._has_passed(sender, term):
            return True
        plan = settings.term_partitions
        if settings.timeout_partitions and isinstance(message, Suspect | Timeout | TermCertificate):
            if isinstance(message, TermCertificate):
                return True
            plan = settings.timeout_partitions
        elif message is not None and self._is_silent(sender, term):
            return False
        return any(sender.name in group and receiver.name in group for group in plan[term - 1])

    def _has_passed(self, sender: Process, term: int) -> bool:
        """Whether the partition of a process's term has lasted long enough."""
        now_ms = self._cluster.clock.now_ms
        known_term, since_ms = self._entered.get(sender.name, (0, 0))
        if known_term != term:
            since_ms = now_ms
            self._entered[sender.name] = (term, now_ms)
        return now_ms - since_ms >= self._cluster.settings.term_partition_ms

    def _is_silent(self, sender: Process, term: int) -> bool:
        """Whether so many of a leader's blocks are certified that it is to keep the last certificate."""
        plan = self._cluster.settings.silent_after
        known_term, first = self._first.get(sender.name, (0, 0))
        if not plan or known_term != term:
            return False
        certified_term, height = sender.replica.high_rank
        return certified_term == term and height - first + 1 >= plan[term - 1]
