"""Ask the node of this container whether it lives: exit with 0 if it does, and with 1 and the reason if not.

It imports next to nothing, for it runs every few seconds beside the node and takes its time from it. Whether
the node is *ready* is asked over `/readyz` by whoever sends it work: one that waits for a quorum is well, and
must not be restarted for it.
"""

from __future__ import annotations

import os
import socket
import sys
import tomllib

CONFIG = "/etc/tanpo/node.toml"
TIMEOUT_S = 3.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - names what a node may listen on
"""A node that listens everywhere is asked where it is."""


def find_address() -> tuple[str, int]:
    """Return host and port of the node's operations, from the environment or else from its configuration."""
    address = os.environ.get("TANPO_OPS_LISTEN")
    if address is None:
        with open(CONFIG, "rb") as stream:  # noqa: PTH123 - pathlib takes as long to import as all of this
            address = str(tomllib.load(stream)["ops_listen"])
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    return EVERYWHERE.get(host, host), int(port)


def main() -> int:
    """Ask, and say what came."""
    try:
        with socket.create_connection(find_address(), timeout=TIMEOUT_S) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            line = connection.makefile("rb").readline(256)
    except (OSError, ValueError, KeyError) as error:
        sys.stdout.write(f"no answer: {error}\n")
        return 1
    sys.stdout.write(line.decode("latin-1"))
    return 0 if line.split(b" ")[1:2] == [b"200"] else 1


if __name__ == "__main__":
    sys.exit(main())
