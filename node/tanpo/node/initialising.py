"""Preparing a new node's data directory, once: apart from the node, which need not be loaded for it."""

from __future__ import annotations

from pathlib import Path

from tanpo.node.config import load_config
from tanpo.node.credentials import load_signing_key
from tanpo.node.dialling import load_genesis
from tanpo.node.promises import create_promises


def init_node(config_path: Path) -> Path:
    """Make the consensus store of a node whose key never voted, and return its path.

    Raises:
        UsageError: the configuration is wrong, the key may have voted, or the node runs now.
        CorruptState: its data contradicts itself.
    """
    config = load_config(config_path)
    key = load_signing_key(config)
    public_key = None if key is None else key.public_key.encoded
    return create_promises(load_genesis(config.genesis), config.data_dir, public_key)
