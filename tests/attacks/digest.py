"""Prints one digest over what the checker says to all attacks and to mutants of them.

Runs on the standard library alone, as any version of Python found on the machine: packages that bring in more
are entered without their `__init__`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("consensus", "contracts", "node")]
for NAME, FOLDER in (("tanpo.ledger", "consensus"), ("tanpo.testing", "node")):
    BARE = ModuleType(NAME)
    BARE.__path__ = [str(ROOT / FOLDER / NAME.replace(".", "/"))]
    sys.modules[NAME] = BARE

from tanpo.testing.front.corpus import load_corpus  # noqa: E402 - paths come first
from tanpo.testing.front.digest import compute_digest  # noqa: E402 - paths come first

sys.stdout.write(compute_digest(load_corpus(Path(__file__).parent), int(sys.argv[1])))
