"""Run seeds until something is wrong: the process in which a mutant is hunted (`run.py`)."""

from __future__ import annotations

import json
import os
import sys
import threading

from tanpo.simulator.run import run_seed
from tanpo.simulator.settings import Mode, draw_settings


def main(first: int, count: int) -> None:
    """Print, as JSON, how many seeds it took until a checker fired, and what it said."""
    steps = 0
    for number in range(count):
        seed = first + number
        for mode in (Mode.SAFETY, Mode.LIVENESS):
            report = run_seed(seed, draw_settings(seed, mode))
            steps += report.steps
            if report.violation is not None:
                finding = {"seed": seed, "mode": mode.value, "checker": report.checker}
                _print(number + 1, steps, report.violation, finding)
                return
    _print(count, steps, None, {})


def end_with_parent() -> None:
    """End this process when the one that holds its input is gone: a hunt takes hours, and burns a core."""
    # Not `sys.stdin`, whose lock the interpreter would wait for at its end.
    while os.read(0, 1):
        pass
    os._exit(1)


def _print(seeds: int, steps: int, violation: str | None, finding: dict[str, object]) -> None:
    shown = None if violation is None else violation[:300]
    print(json.dumps({"seeds": seeds, "steps": steps, "violation": shown, **finding}))


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    main(int(sys.argv[1]), int(sys.argv[2]))
