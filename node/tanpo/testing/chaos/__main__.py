"""`python -m tanpo.testing.chaos`: run a network under faults for a while and print what came of it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tanpo.testing.chaos.processes import Load


def main() -> int:
    """Run as the arguments say; exit with 1 when a promise was broken, and then keep all files."""
    parser = argparse.ArgumentParser(prog="python -m tanpo.testing.chaos")
    parser.add_argument("--faulty-node", type=Path, required=True, help="the program of nodes that misbehave")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long to break things")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--nodes", type=int, choices=(4, 7), default=4)
    parser.add_argument("--rate", type=float, default=80.0, help="operations a second, at most")
    parser.add_argument("--term-changes", type=int, default=10, help="deaths of a leader to measure")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; kept when given")
    options = parser.parse_args()
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
    result = asyncio.run(run_plan(plan))
    sys.stdout.write(json.dumps(result.to_document(), indent=2) + "\n")
    if result.violations:
        sys.stderr.write(f"{len(result.violations)} violations; kept {folder}\n")
        return 1
    if options.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
