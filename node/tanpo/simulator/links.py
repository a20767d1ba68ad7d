"""The links between processes: in order and fast, but for the faults of the run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from tanpo.consensus import Message
from tanpo.consensus.messages import Append
from tanpo.consensus.wire import decode_message, encode_message
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.types import Epoch, ValidatorIndex
from tanpo.simulator.addresses import resolve
from tanpo.simulator.faults import FaultKind
from tanpo.simulator.partitions import Partitions

if TYPE_CHECKING:
    from tanpo.simulator.cluster import Cluster
    from tanpo.simulator.process import Process

Parcel: TypeAlias = tuple[Epoch, Message]

_EXTRA_MS = 2_000
"""Most that a delayed message is late."""
_SHUFFLE_MS = 60
"""Most that a reordered message is late."""


class Links:
    """Carries messages. `cut` are the directions, from process to process, that carry nothing now."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._loss = cluster.streams.get(FaultKind.LOSS)
        self._delay = cluster.streams.get(FaultKind.DELAY)
        self._duplication = cluster.streams.get(FaultKind.DUPLICATION)
        self._reordering = cluster.streams.get(FaultKind.REORDERING)
        self._latency = cluster.streams.get("latency")
        self._last_ms: dict[tuple[str, str], int] = {}
        self.partitions = Partitions(cluster)
        self.cut: set[tuple[str, str]] = set()

    def send(self, sender: Process, receivers: Sequence[ValidatorIndex], message: Message) -> None:
        """Send to validators and guests of the sender's epoch; twins each get it.

        Raises:
            PeerFault: on a wire, an honest sender's message does not spell one.
        """
        epoch = sender.replica.epoch
        if self._cluster.settings.is_on_wire:
            try:
                epoch, message = decode_message(encode_message(message, epoch))
            except PeerFault:
                if sender.node not in self._cluster.hostile:
                    raise
                return  # Whoever gets it drops it.
        self._cluster.annals.note_sent(sender, receivers, message)
        if isinstance(message, Append):
            self._cluster.checks.justifications.note(message)
        self.partitions.note_sent(sender, message)
        for index in receivers:
            for receiver in resolve(sender, index):
                if receiver is not sender:
                    self._carry(sender, receiver, (epoch, message))

    def is_open(self, sender: Process, receiver: Process, message: Message | None = None) -> bool:
        """Whether a message passes from one process to another now; None stands for a transaction."""
        if (sender.name, receiver.name) in self.cut:
            return False
        return self.partitions.carry(sender, receiver, message)

    def _carry(self, sender: Process, receiver: Process, parcel: Parcel) -> None:
        cluster = self._cluster
        if not receiver.is_up:
            return
        if not self.is_open(sender, receiver, parcel[1]):
            cluster.luck.note("cut-message")
            return
        delay_ms = 1 + self._latency.randrange(cluster.settings.latency_ms)
        pair = (sender.name, receiver.name)
        if cluster.is_calm(sender, receiver):
            self._deliver_after(pair, delay_ms, sender, receiver, parcel)
            return
        if self._loss.random() < cluster.luck.rates[FaultKind.LOSS]:
            cluster.luck.note(FaultKind.LOSS)
            return
        if self._delay.random() < cluster.luck.rates[FaultKind.DELAY]:
            cluster.luck.note(FaultKind.DELAY)
            delay_ms += self._delay.randrange(_EXTRA_MS)
        if self._duplication.random() < cluster.luck.rates[FaultKind.DUPLICATION]:
            cluster.luck.note(FaultKind.DUPLICATION)
            late_ms = delay_ms + self._duplication.randrange(_EXTRA_MS)
            cluster.clock.after(late_ms, partial(self._deliver, sender, receiver, parcel))
        if self._reordering.random() < cluster.luck.rates[FaultKind.REORDERING]:
            cluster.luck.note(FaultKind.REORDERING)
            late_ms = delay_ms + self._reordering.randrange(_SHUFFLE_MS)
            cluster.clock.after(late_ms, partial(self._deliver, sender, receiver, parcel))
            return
        self._deliver_after(pair, delay_ms, sender, receiver, parcel)

    def _deliver_after(
        self, pair: tuple[str, str], delay_ms: int, sender: Process, receiver: Process, parcel: Parcel
    ) -> None:
        """Deliver behind all that was sent before on this link."""
        now_ms = self._cluster.clock.now_ms
        at_ms = max(self._last_ms.get(pair, 0), now_ms + delay_ms)
        self._last_ms[pair] = at_ms
        self._cluster.clock.after(at_ms - now_ms, partial(self._deliver, sender, receiver, parcel))

    def _deliver(self, sender: Process, receiver: Process, parcel: Parcel) -> None:
        if receiver.is_up:
            epoch, message = parcel
            self._cluster.checks.on_delivered(sender, receiver, message)
            receiver.receive(sender, epoch, message)
