"""What is installed: the version of the distribution, and of what it shares with other nodes."""

from __future__ import annotations

import platform
from importlib.metadata import version


def describe_versions() -> dict[str, str | int]:
    """Return what a report of a fault should name, and what members compare before a contract changes."""
    from tanpo.node.protocol import PROTOCOL_VERSION
    from tanpo.vm import GAS_TABLE_VERSION, LANGUAGE_VERSION

    return {
        "tanpo": version("tanpo"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "protocol_version": PROTOCOL_VERSION,
        "language_version": LANGUAGE_VERSION,
        "gas_table_version": GAS_TABLE_VERSION,
    }


def write_versions() -> str:
    """Return the same in two lines, of which the first is for scripts: the name and the version alone."""
    found = describe_versions()
    return (
        f"tanpo {found['tanpo']}\nPython {found['python']} on {found['platform']}; "
        f"protocol {found['protocol_version']}, contract language {found['language_version']}, "
        f"gas table {found['gas_table_version']}"
    )
