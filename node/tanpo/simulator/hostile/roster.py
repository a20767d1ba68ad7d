"""All behaviours by name: a seed picks a few of them for each hostile validator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from tanpo.simulator.hostile import mixing, proposing, terms, voting
from tanpo.simulator.hostile.actor import Behaviour

BEHAVIOURS: Final[Mapping[str, Callable[[], Behaviour]]] = MappingProxyType(
    {
        "bad-blocks": proposing.ProposeBad,
        "censor": proposing.Censor,
        "collude": voting.Collude,
        "equivocate": proposing.Equivocate,
        "flood-future-terms": terms.FloodTerms,
        "forge-locks": mixing.ForgeLocks,
        "forge-step-downs": terms.ForgeStepDowns,
        "hoard": voting.Hoard,
        "lie-in-catch-up": terms.LieInCatchUp,
        "lie-in-status": terms.LieInStatus,
        "lie-in-timeouts": terms.LieInTimeouts,
        "open-below": proposing.open_below,
        "open-twice": proposing.open_twice,
        "pad-certificates": voting.Pad,
        "repeat-old-certificates": mixing.RepeatOld,
        "replay": terms.Replay,
        "silent": voting.be_silent,
        "suspect-always": terms.SuspectAlways,
        "true-then-lie": mixing.TrueThenLie,
        "vote-for-everything": voting.VoteForEverything,
        "withhold-blocks": voting.withhold_blocks,
        "withhold-certificates": voting.withhold_certificates,
        "withhold-votes": voting.withhold_votes,
        "wrong-roots": proposing.WrongRoots,
    }
)


def make_behaviours(names: tuple[str, ...]) -> tuple[Behaviour, ...]:
    """Return a new behaviour for each name."""
    return tuple(BEHAVIOURS[name]() for name in names)
