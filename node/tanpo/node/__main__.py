"""`python -m tanpo.node CONFIG`: run a node."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> int:
    """Run the node that the one argument configures."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.stderr.write("usage: python -m tanpo.node CONFIG.toml\n")
        return 2
    # Before gRPC is imported: its own lines are not JSON, and what matters in them is reported by us.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tanpo.node.app import run_node

    return run_node(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
