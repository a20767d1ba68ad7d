"""What a replica holds is bounded, whatever its peers send."""

from __future__ import annotations

from typing import Final

from tanpo.consensus import Replica
from tanpo.consensus.certificates import CERTIFICATES_MAX
from tanpo.consensus.chain import HELD_MAX, LAG_MAX
from tanpo.consensus.witness import TIMEOUTS_MAX, VOTES_MAX
from tanpo.simulator.violation import Violation

HELD_SLACK: Final = 4 * LAG_MAX
"""Blocks beyond `HELD_MAX` that are final or about to be, and so are spared."""


def check_memory(name: str, replica: Replica, durable_blocks: int, nodes_max: int) -> None:
    """Raise `Violation` if anything a replica holds has passed its bound.

    It looks inside: no caller of a replica needs these figures, and no other way shows what is never freed.
    """
    core = replica._core
    count = core.config.validator_count
    blocks_max = HELD_MAX + HELD_SLACK
    held = sum(1 for _ in core.chain.held())
    sizes = (
        ("held blocks", held, blocks_max),
        ("durable blocks", durable_blocks, blocks_max),
        ("timeouts", len(core.current.timeouts), count),
        ("suspects", len(core.current.suspects), count),
        ("certificates", len(core.certificates), CERTIFICATES_MAX),
        ("fetches", len(core.catch_up.fetches), blocks_max),
        ("hints", len(core.hinted_ms), nodes_max),
        ("witnessed validators", len(core.witness), count),
        ("witnessed votes", max((len(one.votes) for one in core.witness.values()), default=0), VOTES_MAX),
        (
            "witnessed timeouts",
            max((len(one.timeouts) for one in core.witness.values()), default=0),
            TIMEOUTS_MAX,
        ),
        ("reported faults", len(core.reported), 3 * count),
        ("unsent effects", len(core.effects), 0),
    )
    for what, size, limit in sizes:
        if size > limit:
            raise Violation("memory", f"{size} {what}, more than {limit}", name)
