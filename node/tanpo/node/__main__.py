"""`python -m tanpo.node CONFIG [--rejoin]`: run a node."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

REJOIN: Final = "--rejoin"


def main() -> int:
    """Run the node that the first argument configures."""
    arguments = sys.argv[1:]
    if len(arguments) not in (1, 2) or arguments[0].startswith("-") or arguments[1:] not in ([], [REJOIN]):
        sys.stderr.write(f"usage: python -m tanpo.node CONFIG.toml [{REJOIN}]\n")
        return 2
    # Before gRPC is imported: its own lines are not JSON, and what matters in them is reported by us.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tanpo.node.app import run_node

    return run_node(Path(arguments[0]), may_rejoin=REJOIN in arguments)


if __name__ == "__main__":
    sys.exit(main())
