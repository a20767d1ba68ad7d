"""The replica: one event in, ordered effects out, no I/O."""

from __future__ import annotations

from collections.abc import Callable

from tanpo.consensus.config import PayloadSource, ReplicaConfig, ReplicaStart
from tanpo.consensus.effects import Effect
from tanpo.consensus.events import Event
from tanpo.ledger.certificate import SignatureChecker
from tanpo.ledger.types import Height, Signature, Term, ValidatorIndex

Signer = Callable[[bytes], Signature]


class Replica:
    """One validator's (or observer's) state machine."""

    def __init__(
        self,
        config: ReplicaConfig,
        checker: SignatureChecker,
        signer: Signer,
        payloads: PayloadSource,
        start: ReplicaStart,
    ) -> None:
        raise NotImplementedError

    def step(self, event: Event) -> list[Effect]:
        """Take one event and return what to do about it, in order."""
        raise NotImplementedError

    @property
    def term(self) -> Term:
        """The current term."""
        raise NotImplementedError

    @property
    def leader(self) -> ValidatorIndex:
        """The leader of the current term."""
        raise NotImplementedError

    @property
    def is_leader(self) -> bool:
        """Whether this replica leads the current term."""
        raise NotImplementedError

    @property
    def committed_height(self) -> Height:
        """The height of the last block for which `CommitBlock` was returned."""
        raise NotImplementedError

    @property
    def high_rank(self) -> tuple[Term, Height]:
        """Term and height of the highest certificate held."""
        raise NotImplementedError

    @property
    def wake_ms(self) -> int | None:
        """When a `Ticked` is wanted before the next regular one (monotonic), to end a linger."""
        raise NotImplementedError

    @property
    def stalled(self) -> str | None:
        """Why nothing moves, for people; None when nothing is amiss."""
        raise NotImplementedError
