"""Whom a client believes: the validators of its genesis or of a pinned epoch, and whom these lead to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from tanpo.api.v1 import ledger_pb2
from tanpo.ledger.errors import invariant
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.lineage import EpochPin, EpochStep, Lineage
from tanpo.ledger.types import MemberId
from tanpo.ledger.validators import Validator


class Trust:
    """The lineage of validators as far as this client has followed it; all its calls share one."""

    __slots__ = ("_lineage", "genesis", "pin", "steps")

    def __init__(self, genesis: Genesis, pin: EpochPin | None = None) -> None:
        self.genesis = genesis
        self.pin = pin or EpochPin.of_genesis(genesis)
        self.steps: dict[int, EpochStep] = {}
        # A pin is a hash; the validators behind it are still to be heard of.
        self._lineage = None if pin else Lineage.of_genesis(genesis)

    @property
    def known(self) -> Lineage | None:
        """The lineage, None as long as nothing is known but a hash."""
        return self._lineage

    def get_lineage(self) -> Lineage:
        """Return the lineage, once something was verified with it."""
        invariant(self._lineage is not None, "a proof was verified without a lineage")
        return cast("Lineage", self._lineage)

    @property
    def next_epoch(self) -> int:
        """The epoch from which on a node is to be asked."""
        return self.pin.epoch if self._lineage is None else self._lineage.newest

    def covers(self, epoch: int) -> bool:
        """Return whether the validators of an epoch are known, or lie before the pin for good."""
        return self._lineage is not None and epoch <= self._lineage.newest

    def learn(self, response: ledger_pb2.GetLineageResponse) -> Lineage:
        """Take in what a node says of the epochs from `next_epoch` on, as far as it is proved.

        Raises:
            PeerFault: it is not proved.
        """
        if self._lineage is None:
            self._lineage = Lineage(self.genesis.network_id, self.pin, _read_validators(response.validators))
        for message in response.steps:
            step = EpochStep(
                header=message.header,
                commit_proof=message.commit_proof,
                validators=_read_validators(message.validators),
            )
            self.steps.setdefault(self._lineage.extend(step), step)
        return self._lineage


def _read_validators(messages: Iterable[ledger_pb2.EpochValidator]) -> tuple[Validator, ...]:
    return tuple(
        Validator(member=MemberId(one.member), node=one.node, public_key=one.public_key) for one in messages
    )
