"""Runs programs on an interpreter that has nothing installed: prints the digest of each chunk as JSON.

Started by path, with the folders that hold the namespace `tanpo` as arguments. The packages of the ledger and
of this one are entered without their `__init__`, which would bring in the library for signatures.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType


def main() -> None:
    """Run as the arguments say: first seed, how many, and the folders."""
    first, count = int(sys.argv[1]), int(sys.argv[2])
    roots = sys.argv[3:]
    sys.path[:0] = roots
    for name in ("ledger", "testing"):
        module = ModuleType(f"tanpo.{name}")
        module.__path__ = [str(Path(root) / "tanpo" / name) for root in roots]
        sys.modules[f"tanpo.{name}"] = module
    from tanpo.testing.programs.campaign import CHUNK, run_chunk

    digests: list[str] = []
    for start in range(first, first + count, CHUNK):
        digests += run_chunk(start, min(CHUNK, first + count - start), 0).digests
    sys.stdout.write(json.dumps(digests))


if __name__ == "__main__":
    main()
