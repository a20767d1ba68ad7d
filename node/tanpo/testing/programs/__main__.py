"""`python -m tanpo.testing.programs`: run random programs on both engines and on CPython, and compare."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tanpo.testing.programs.campaign import CHUNK, PYTHON_EVERY, Findings, run_chunk
from tanpo.testing.programs.interpreters import compare_interpreters


def main() -> int:
    """Run as the arguments say, print JSON, and exit with 1 if anything differed."""
    options = read_arguments()
    started = time.monotonic()
    found = run_all(options.first, options.programs, options.jobs, options.python_every)
    document: dict[str, object] = {"first": options.first, **found.describe()}
    is_same = found.differing == 0
    if options.interpreters:
        results = compare_interpreters(options.first, options.programs, found.digests)
        document["interpreters"] = results
        is_same = is_same and all(result.get("same", True) for result in results)
        for result in results:
            if "skipped" in result:
                sys.stderr.write(f"SKIPPED Python {result['python']}: {result['skipped']}\n")
    document["seconds"] = round(time.monotonic() - started, 1)
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 0 if is_same else 1


def run_all(first: int, count: int, jobs: int, python_every: int) -> Findings:
    """Run the programs of `count` seeds in `jobs` processes; the findings do not depend on how many."""
    starts = list(range(first, first + count, CHUNK))
    sizes = [min(CHUNK, first + count - start) for start in starts]
    total = Findings()
    if jobs == 1:
        for start, size in zip(starts, sizes, strict=True):
            total.add(run_chunk(start, size, python_every))
        return total
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for found in pool.map(run_chunk, starts, sizes, [python_every] * len(starts)):
            total.add(found)
    return total


def read_arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tanpo.testing.programs")
    parser.add_argument("--programs", type=int, default=1_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="seed of the first program")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument(
        "--python-every",
        type=int,
        default=PYTHON_EVERY,
        help="run one program in so many on CPython as well; 0 for none",
    )
    parser.add_argument(
        "--interpreters", action="store_true", help="compare with every Python found and two hash seeds"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
