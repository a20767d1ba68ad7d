"""`python -m tanpo.testing.scenario [--rewrite] PATH ...`: replay scenario files and say what differs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from tanpo.testing.endings import run_to_end
from tanpo.testing.scenario.replaying import Replay, replay
from tanpo.testing.scenario.script import ScenarioError, parse_script

MISUSED: Final = 2


def main() -> int:
    """Replay the files, or all of a folder; return 1 if one tells something else, 2 if there is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--rewrite", action="store_true", help="redraw the outcome lines")
    arguments = parser.parse_args()
    paths = [one for path in arguments.paths for one in find_scenarios(path)]
    absent = [path for path in paths if not path.exists()]
    if absent or not paths:
        wanted = absent or arguments.paths
        sys.stderr.write(f"no scenario files here: {', '.join(map(str, wanted))}\n")
        return MISUSED
    failed = [path.name for path in paths if not play_file(path, is_rewriting=arguments.rewrite)]
    say(f"{len(paths) - len(failed)} of {len(paths)} scenarios hold")
    if failed:
        sys.stderr.write("failed: " + ", ".join(failed) + "\n")
        return 1
    return 0


def say(line: str) -> None:
    """Write one line to whoever asked."""
    sys.stdout.write(line + "\n")


def find_scenarios(path: Path) -> list[Path]:
    """Return the scenario files of a folder, or the file itself."""
    return sorted(path.glob("*.scenario")) if path.is_dir() else [path]


def play_file(path: Path, *, is_rewriting: bool) -> bool:
    """Replay one file and say how it went; redraw it if asked to, but never over a claim that fails."""
    try:
        found = replay(parse_script(str(path), path.read_text()))
    except ScenarioError as error:
        say(f"FAILED {error}")
        return False
    except (OSError, UnicodeDecodeError) as error:
        say(f"FAILED {path} cannot be read: {error}")
        return False
    if is_rewriting and found.difference and not found.failures:
        path.write_text(found.text)
        say(f"redrew {path.name}: {found.script.title}")
        return True
    say(f"{'ok    ' if found.is_good else 'FAILED'} {path.name}: {found.script.title}")
    for line in describe_faults(found):
        say(f"       {line}")
    return found.is_good


def describe_faults(found: Replay) -> list[str]:
    """Return the claims that failed and how the outcomes differ."""
    return [*found.failures, *found.difference.splitlines()]


if __name__ == "__main__":
    run_to_end(main)
