"""`python -m tanpo.testing.decay`: damage files of every kind, and print what was noticed."""

from __future__ import annotations

import argparse
import json
import logging
import secrets
import sys
import tempfile
from pathlib import Path

import structlog
from tanpo.testing.decay.flipping import decay
from tanpo.testing.decay.specimens import make_specimens


def main() -> int:
    """Run as the arguments say; exit with 1 if a wrong answer was given."""
    parser = argparse.ArgumentParser(prog="python -m tanpo.testing.decay")
    parser.add_argument("--flips", type=int, default=2000, help="single bits to flip")
    parser.add_argument("--truncations", type=int, default=500, help="tails to cut")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    options = parser.parse_args()
    # What is dropped is said in the log, a line each.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(prefix="tanpo-decay-") as scratch:
        tallies = decay(
            make_specimens(Path(scratch)),
            Path(scratch),
            flips=options.flips,
            truncations=options.truncations,
            seed=options.seed,
        )
    document = {
        "seed": options.seed,
        "flips": options.flips,
        "truncations": options.truncations,
        "detected": sum(tally.detected for tally in tallies.values()),
        "harmless": sum(tally.harmless for tally in tallies.values()),
        "wrong": sum(len(tally.wrong) for tally in tallies.values()),
        "kinds": {
            kind: {"detected": tally.detected, "harmless": tally.harmless, "wrong": tally.wrong}
            for kind, tally in tallies.items()
        },
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 1 if document["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
