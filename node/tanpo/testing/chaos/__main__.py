"""`python -m tanpo.testing.chaos`: run a network under faults for a while and print what came of it."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from tanpo.testing.chaos.processes import Load

INTERRUPTED: Final = 130


def main() -> int:
    """Run as the arguments say; exit with 1 when a promise was broken, and then keep all files."""
    options = read_arguments()
    # As Ctrl-C: whoever ends the bench must not be left with its nodes, clients and mounts.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    # Before gRPC is imported: its own lines are not JSON.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tanpo.testing.chaos.run import Plan, run_plan

    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    folder = options.folder or Path(tempfile.mkdtemp(prefix="tanpo-chaos-"))
    plan = Plan(
        folder=folder.absolute(),
        faulty_node=options.faulty_node.absolute(),
        seconds=options.seconds,
        seed=seed,
        member_count=options.nodes,
        load=Load(rate=options.rate),
        term_changes=options.term_changes,
    )
    sys.stderr.write(f"seed {seed}, files in {folder}\n")
    try:
        result = asyncio.run(run_plan(plan))
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; kept {folder}\n")
        return INTERRUPTED
    sys.stdout.write(json.dumps(result.to_document(), indent=2) + "\n")
    if result.violations:
        sys.stderr.write(f"{len(result.violations)} violations; kept {folder}\n")
        return 1
    if options.folder is None:
        shutil.rmtree(folder)
    return 0


def read_arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tanpo.testing.chaos")
    parser.add_argument(
        "--faulty-node", type=_read_program, required=True, help="the program of nodes that misbehave"
    )
    parser.add_argument("--seconds", type=_read_amount, default=120.0, help="how long to break things")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--nodes", type=int, choices=(4, 7), default=4)
    parser.add_argument("--rate", type=_read_amount, default=80.0, help="operations a second, at most")
    parser.add_argument("--term-changes", type=int, default=10, help="deaths of a leader to measure")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; kept when given")
    return parser.parse_args()


def _read_program(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text} is no file")
    return Path(text)


def _read_amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not (amount > 0 and math.isfinite(amount)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return amount


if __name__ == "__main__":
    sys.exit(main())
