"""`python -m tanpo.testing.front ATTACKS [--seconds N | --executions N] [--seed N]`: fuzz, and print JSON."""

from __future__ import annotations

import argparse
import json
import resource
import sys
from pathlib import Path
from random import Random
from time import monotonic

from tanpo.testing.front.corpus import load_corpus, load_interfaces
from tanpo.testing.front.digest import compute_digest
from tanpo.testing.front.fuzzing import Campaign

MEMORY_MAX = 2 << 30
"""The most address space: a source that needs more ends in an error, which is a finding."""


def main() -> None:
    """Fuzz for a time or a number of executions; exit with 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attacks", type=Path, help="the folder of attacks to start from")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--executions", type=int, help="stop after so many instead, to replay a run")
    parser.add_argument("--seed", type=int, help="a random one if left out")
    parser.add_argument("--keep", type=Path, help="a folder for the sources of findings")
    parser.add_argument("--digest", type=int, metavar="MUTANTS", help="only print a digest over all answers")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    if options.digest is not None:
        sys.stdout.write(compute_digest(load_corpus(options.attacks), options.digest) + "\n")
        return
    seed = Random().randrange(1 << 32) if options.seed is None else options.seed  # noqa: S311 - replays, not secrets
    campaign = Campaign(seed, load_corpus(options.attacks), load_interfaces())
    run(campaign, options.seconds, options.executions)
    sys.stdout.write(json.dumps(describe(campaign, seed), indent=2) + "\n")
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        for finding in campaign.findings:
            (options.keep / finding.digest).write_bytes(finding.source)
    sys.exit(1 if campaign.findings else 0)


def run(campaign: Campaign, seconds: float, executions: int | None) -> None:
    """Check the seeds, then change them until the time or the number is used up."""
    stop = monotonic() + seconds
    campaign.run_seeds()
    while monotonic() < stop if executions is None else campaign.executions < executions:
        campaign.step()
    campaign.close()


def describe(campaign: Campaign, seed: int) -> dict[str, object]:
    """Return what a campaign did."""
    return {
        "python": sys.version.split()[0],
        "seed": seed,
        "executions": campaign.executions,
        "accepted": campaign.accepted,
        "seeds": campaign.seeds,
        "corpus": len(campaign.corpus),
        "branches": campaign.branches,
        "slowest_ms": round(campaign.slowest_ms, 1),
        "findings": [
            {"what": finding.what, "digest": finding.digest, "source": ascii(finding.source[:400])}
            for finding in campaign.findings
        ],
    }


if __name__ == "__main__":
    main()
