"""What members agree to install: a plan for one version of a contract, and its source in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, cast

from tanpo.ledger.codec import Reader, Writer
from tanpo.ledger.values import Fields, Value, read_fields, write_fields

CONTRACTS_CONTRACT: Final = "contracts"
"""The contract that holds proposals, and by which nodes put contracts in force."""

PART_BYTES: Final = 4_096
"""Size of every part of a source but the last: the longest value that enters a transaction."""

PARTS_A_CALL: Final = 8
"""Parts delivered in one transaction: half of what one may hold, to leave room for all the rest of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractPlan:
    """What is to be in force, as members sign it. `replaces` is the hash of the version before it.

    `arguments` are those of `@init` as `encode_arguments` writes them; an upgrade has none.
    """

    contract: str
    version: int
    source_hash: bytes
    source_bytes: int
    language_version: int
    gas_table_version: int
    replaces: bytes
    arguments: bytes

    @classmethod
    def create(
        cls,
        contract: str,
        source: bytes,
        *,
        language_version: int,
        gas_table_version: int,
        version: int = 1,
        replaces: bytes = b"",
        arguments: Fields = (),
    ) -> ContractPlan:
        """Return the plan for a source."""
        return cls(
            contract=contract,
            version=version,
            source_hash=sha256(source).digest(),
            source_bytes=len(source),
            language_version=language_version,
            gas_table_version=gas_table_version,
            replaces=replaces,
            arguments=encode_arguments(arguments),
        )


def encode_arguments(arguments: Fields) -> bytes:
    """Return named values in their canonical encoding, nothing for none."""
    if not arguments:
        return b""
    writer = Writer()
    write_fields(writer, arguments)
    return writer.finish()


def decode_arguments(encoded: bytes) -> Fields:
    """Return the named values that `encoded` spells. Raises `PeerFault` for any other bytes."""
    if not encoded:
        return ()
    reader = Reader(encoded)
    arguments = read_fields(reader)
    reader.finish()
    return arguments


def split_source(source: bytes) -> list[bytes]:
    """Return the parts in which a source is delivered."""
    return [source[start : start + PART_BYTES] for start in range(0, len(source), PART_BYTES)]


def plan_to_value(plan: ContractPlan) -> dict[str, Value]:
    """Return a plan as the contract that holds proposals takes it."""
    return {
        "contract": plan.contract,
        "version": plan.version,
        "source_hash": plan.source_hash,
        "source_bytes": plan.source_bytes,
        "language_version": plan.language_version,
        "gas_table_version": plan.gas_table_version,
        "replaces": plan.replaces,
        "arguments": plan.arguments,
    }


def plan_from_value(value: Value) -> ContractPlan:
    """Return the plan in what a view of that contract returns, which is trusted to be of that form."""
    fields = cast("Mapping[str, Value]", value)
    return ContractPlan(
        contract=cast("str", fields["contract"]),
        version=cast("int", fields["version"]),
        source_hash=cast("bytes", fields["source_hash"]),
        source_bytes=cast("int", fields["source_bytes"]),
        language_version=cast("int", fields["language_version"]),
        gas_table_version=cast("int", fields["gas_table_version"]),
        replaces=cast("bytes", fields["replaces"]),
        arguments=cast("bytes", fields["arguments"]),
    )


def join_source(parts: Value) -> bytes:
    """Return the source whose parts a view of that contract returns, as far as they are delivered."""
    return b"".join(cast("Sequence[bytes]", parts))
