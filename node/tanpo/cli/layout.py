"""The folder of a local network: which files it holds, and what it says of its nodes.

network.json   the nodes and their addresses      genesis.json      what all nodes agree on
lock           held while a command changes it    authorities.pem   the CAs of all members
MEMBER/        that member's CA, certificates and keys, profile.toml for clients, node.toml for its node,
               data/, node.log and node.pid

Where the nodes run in containers, compose.yaml and .env say how. What a node may read is then in MEMBER/etc/
alone, its data is in a volume, and the engine keeps its log.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import Reason, UsageError

MANIFEST_VERSION: Final = 1
NODE_NAME: Final = "node-1"
"""Each member of a local network runs one node; commands name it by its member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlace:
    """One node of a local network: its member, and where it listens for clients, peers and operations."""

    member: str
    node: str
    address: str
    peer_address: str
    ops_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFiles:
    """The paths of one member's files."""

    root: Path

    @property
    def config(self) -> Path:
        """The node's configuration."""
        return self.root / "node.toml"

    @property
    def profile(self) -> Path:
        """The profile with which a client connects to the node."""
        return self.root / "profile.toml"

    @property
    def operator_profile(self) -> Path:
        """The profile with which the operator connects to the node."""
        return self.root / "operator.toml"

    @property
    def data(self) -> Path:
        """The node's blocks and state."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """The node's log, over all its starts."""
        return self.root / "node.log"

    @property
    def process(self) -> Path:
        """The pid file."""
        return self.root / "node.pid"

    @property
    def validator_key(self) -> Path:
        """The key with which the node votes."""
        return self.root / "validator.key"

    @property
    def transaction_key(self) -> Path:
        """The key that signs the member's transactions."""
        return self.root / "transaction.key"

    def pem(self, name: str) -> tuple[Path, Path]:
        """Return the paths of a certificate and its key: `ca`, `node`, `client` or `operator`."""
        return self.root / f"{name}.crt", self.root / f"{name}.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFolder:
    """The paths of a local network's files."""

    root: Path

    @property
    def manifest(self) -> Path:
        """The list of nodes; written last, so that its presence means the folder is complete."""
        return self.root / "network.json"

    @property
    def unfinished(self) -> Path:
        """A mark that is there while the files are made: what lies beside it is half a network at most."""
        return self.root / "unfinished"

    @property
    def genesis(self) -> Path:
        """The genesis, the same for every node."""
        return self.root / "genesis.json"

    @property
    def authorities(self) -> Path:
        """The CAs of all members, which clients believe."""
        return self.root / "authorities.pem"

    @property
    def shared_genesis(self) -> str:
        """The genesis, as a file in a member's folder names it."""
        return f"../{self.genesis.name}"

    @property
    def shared_authorities(self) -> str:
        """The CAs of all members, as a file in a member's folder names them."""
        return f"../{self.authorities.name}"

    @property
    def compose(self) -> Path:
        """How the nodes run in containers; absent where they are processes of this machine."""
        return self.root / "compose.yaml"

    @property
    def lock(self) -> Path:
        """Held while a command starts or stops nodes."""
        return self.root / "lock"

    def get_member(self, member: str) -> MemberFiles:
        """Return the paths of one member's files."""
        return MemberFiles(root=self.root / member)

    def save_manifest(self, nodes: tuple[NodePlace, ...]) -> None:
        """Write the list of nodes."""
        document = {"version": MANIFEST_VERSION, "nodes": [asdict(node) for node in nodes]}
        self.manifest.write_text(json.dumps(document, indent=2) + "\n")

    def load_manifest(self) -> tuple[NodePlace, ...]:
        """Return the list of nodes.

        Raises:
            UsageError: the folder holds no network, or one of another version.
        """
        try:
            document = json.loads(self.manifest.read_text())
            if document["version"] != MANIFEST_VERSION:
                raise _unusable(self.manifest, f"has version {document['version']}")
            return tuple(NodePlace(**node) for node in document["nodes"])
        except FileNotFoundError:
            raise UsageError(
                Reason.NOT_FOUND,
                "there is no network in this folder",
                value=self.root,
                limit="a folder made by `tanpo net up`",
                remedy="make one with `tanpo net up`, or name another with --dir",
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unusable(self.manifest, f"cannot be read: {error}") from None


def select_node(nodes: tuple[NodePlace, ...], name: str) -> NodePlace:
    """Return the node of a member, or the one named MEMBER/NODE. Raises `UsageError` when there is none."""
    for node in nodes:
        if name in (node.member, f"{node.member}/{node.node}"):
            return node
    raise UsageError(
        Reason.NOT_FOUND,
        "there is no such node",
        value=name,
        limit=", ".join(node.member for node in nodes),
        remedy="name a node by its member",
    )


def _unusable(path: Path, why: str) -> UsageError:
    return UsageError(
        Reason.CONFIGURATION,
        f"the network's manifest {why}",
        value=path,
        limit=f"version {MANIFEST_VERSION}",
        remedy="remove the folder and make the network anew with `tanpo net up`",
    )
