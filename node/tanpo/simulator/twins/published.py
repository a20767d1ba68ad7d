"""Published scenarios, as data: they forked Fast-HotStuff as it was first proposed, and must not fork this.

Fast-HotStuff committed a block as soon as its child was certified, also when views had failed in between;
here that takes a child of the same term (S4). The mutant "commit across terms" (`tests/mutants`) is that flaw
again. A scenario of theirs has a leader for each view, and the leader of the next view makes the certificate
of a view's block; here a term's leader makes it, and is kept from showing it. Step by step the first one is
told by `tests/scenario/twins.scenario`.
"""

from __future__ import annotations

from typing import Final

from tanpo.simulator.twins.plan import Groups, TermPlan, TwinsScenario


def _plan(groups: str, timeout_groups: str) -> TermPlan:
    return TermPlan(groups=_read(groups), timeout_groups=_read(timeout_groups), silent_after=1)


def _read(text: str) -> Groups:
    return tuple(tuple(part.split()) for part in text.split("|"))


FORKED_WITH_TWINS: Final = TwinsScenario(
    name="fast-hotstuff with twins",
    validator_count=4,
    twinned=(3,),
    terms=(
        # Only 0 knows that its block is certified; then only 1 knows it of the rival.
        _plan("0 1 3 | 2 3'", "0 3 | 1 2 3'"),
        _plan("1 2 3' | 0 3", "1 3' | 0 2 3"),
        # 2 builds on the block of 0, and is the only one to see that certified: the flaw commits that of 0.
        _plan("0 2 3 | 1 3'", "2 3 | 0 1 3'"),
        # The other twin leads, and has to build on the block of 1.
        TermPlan(groups=_read("0 1 3' | 2 3"), timeout_groups=_read("0 1 3' | 2 3"), silent_after=3),
    ),
)
"""Bano et al., section on Fast-HotStuff: four validators, one twin, four views that matter."""

FORKED_WITHOUT_TWINS: Final = TwinsScenario(
    name="fast-hotstuff without twins",
    validator_count=4,
    twinned=(),
    terms=(
        _plan("0 2 3 | 1", "1 2 3 | 0"),
        _plan("1 2 3 | 0", "0 2 3 | 1"),
        # Two leaders reach nobody, until it is the turn of 0 once more, who still has its certificate.
        _plan("0 | 1 | 2 | 3", "0 2 3 | 1"),
        _plan("0 | 1 | 2 | 3", "0 2 3 | 1"),
        _plan("0 2 3 | 1", "1 2 3 | 0"),
        # 1 still has the higher one from its own term, and extends that.
        TermPlan(groups=_read("1 2 3 | 0"), timeout_groups=_read("1 2 3 | 0"), silent_after=3),
    ),
)
"""relab/hotstuff, `twins/fhsbug_test.go`: views 5 to 11 of a run of four replicas and no twin."""

PUBLISHED: Final = (FORKED_WITH_TWINS, FORKED_WITHOUT_TWINS)
