"""A member alone with its one validator: all of its files in a folder, and its node as a process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
from tanpo.ledger.errors import invariant
from tanpo.ledger.genesis import Genesis, InstalledContract, Member, Parameters, genesis_to_json
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.transaction import Call, build_transaction, sign_envelope
from tanpo.ledger.types import MemberId
from tanpo.ledger.validators import Validator
from tanpo.node.config import ENVIRONMENT_PREFIX, NodeConfig, TlsConfig, render_config
from tanpo.node.identity import Role
from tanpo.node.pki import create_authority, issue_certificate
from tanpo.node.promises import create_promises
from tanpo.node.tls import load_channel_credentials

SOLO: Final = MemberId("solo")
START_TIMEOUT_S: Final = 60
"""For one step of a node on a machine that is busy with other tests."""

_VALID_FOR_MS: Final = 600_000
_GAS_LIMIT: Final = 1_000_000
_NOTES: Final = """
notes: Map[str, str]


@entry
def write(name: str, text: str) -> None:
    notes[name] = text
    emit("Written", name=name)


@entry
def work(rounds: int) -> int:
    total = 0
    for number in range(rounds):
        total += number
    return total
"""


class Site:
    """The member's files, prepared for a first start, and the node's configuration as text to be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = create_authority(SOLO, "testnet")
        self.signing_key, self.key = PrivateKey.generate(), PrivateKey.generate()
        self.genesis = Genesis(
            network="testnet",
            time_ms=time.time_ns() // 1_000_000,
            parameters=Parameters(),
            members=(
                Member(
                    member=SOLO,
                    name="Solo",
                    lei="",
                    roles=(),
                    ca_certificate=self.authority.certificate_pem,
                    keys=(self.key.public_key.encoded,),
                ),
            ),
            validators=(Validator(member=SOLO, node="n1", public_key=self.signing_key.public_key.encoded),),
            contracts=(InstalledContract(name="notes", source=_NOTES, arguments=()),),
        )
        node = issue_certificate(self.authority, Role.NODE, "n1")
        self.client = issue_certificate(self.authority, Role.CLIENT, "desk")
        self.write("genesis.json", genesis_to_json(self.genesis).encode())
        self.write("ca.pem", self.authority.certificate_pem)
        self.write("node.pem", node.certificate)
        self.write("node.key", node.private_key)
        self.write("signing.key", self.signing_key.to_pem())
        create_promises(self.genesis, folder / "data")
        self.config = render_config(
            NodeConfig(
                member=SOLO,
                node="n1",
                data_dir=Path("data"),
                genesis=Path("genesis.json"),
                listen="127.0.0.1:0",
                peer_listen="127.0.0.1:0",
                ops_listen="127.0.0.1:0",
                tls=TlsConfig(ca=Path("ca.pem"), certificate=Path("node.pem"), key=Path("node.key")),
                signing_key=Path("signing.key"),
            )
        )

    def write(self, name: str, content: bytes) -> None:
        """Write one of the member's files, for its owner alone."""
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)

    def change(self, old: str, new: str) -> None:
        """Change the configuration in one place."""
        invariant(self.config.count(old) == 1, f"{old!r} is not in the configuration once")
        self.config = self.config.replace(old, new)

    def write_config(self) -> Path:
        """Write the configuration as it is now, and return its path."""
        self.write("node.toml", self.config.encode())
        return self.folder / "node.toml"

    async def start(self) -> Process:
        """Start the node's process."""
        path = self.write_config()
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)
        }
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tanpo.node", str(path), stderr=PIPE, env=environment
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[Process, dict[str, Any]]]:
        """Run the node in this block: its process, and the line of its log that names its ports."""
        process = await self.start()
        try:
            yield process, await read_until(process, "serving")
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def channel(self, port: int) -> grpc.aio.Channel:
        """Return a client's channel to the node."""
        credentials = load_channel_credentials(
            self.authority.certificate_pem, self.client.certificate, self.client.private_key
        )
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials)

    def envelope(self, request_id: str) -> bytes:
        """Return a transaction that writes a note."""
        return self.seal(request_id, Call.create("notes", "write", {"name": request_id, "text": "x"}))

    def seal(self, request_id: str, call: Call) -> bytes:
        """Return a signed transaction of the member."""
        transaction = build_transaction(
            network_id=self.genesis.network_id,
            member=SOLO,
            request_id=request_id,
            valid_until_ms=time.time_ns() // 1_000_000 + _VALID_FOR_MS,
            gas_limit=_GAS_LIMIT,
            signers=[self.key.key_id],
            call=call,
        )
        return sign_envelope(self.genesis.network_id, [transaction], [self.key]).encoded


async def read_until(process: Process, event: str) -> dict[str, Any]:
    """Return the first line of a node's log that tells of an event; no error may come before it."""
    if process.stderr is None:
        raise RuntimeError("the log of the node is not read")
    async with asyncio.timeout(START_TIMEOUT_S):
        async for line in process.stderr:
            fields: dict[str, Any] = json.loads(line)
            invariant(fields["level"] != "error", f"the node says {fields}")
            if fields["event"] == event:
                return fields
    raise RuntimeError(f"the node ended without {event!r}")
