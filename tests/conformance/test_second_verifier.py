"""A second verifier, written from the documents and using nothing of ours, finds the same in frozen files."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tanpo.ledger.genesis import Genesis, genesis_from_json
from tanpo.ledger.proofcheck import verify_proof_file
from tanpo.ledger.proofparse import decode_proof_file

FOLDER = Path(__file__).parent / "proofs"
VERIFIER = Path(__file__).parents[2] / "docs" / "verify_proof.py"
GENESIS = {"standing": "standing-genesis.json"}
CHANGED = {
    "receipt": ("Merkle path", ("siblings", 0)),
    "refusal": ("transaction", ("payload",)),
    "standing": ("standing", ("standing", "roles", 1)),
    "value": ("value", ("value",)),
    "absence": ("contract entry", ("contract_entry",)),
    "variable": ("partial tree", ("partial_tree",)),
    "listing": ("listing", ("group_keys", 0)),
}
"""A link of each file, and the field whose last byte, changed, breaks it."""


def load_genesis(kind: str) -> Genesis:
    return genesis_from_json((FOLDER / GENESIS.get(kind, "genesis.json")).read_text())


@pytest.fixture(scope="module")
def second() -> ModuleType:
    """The verifier of the documents, which uses nothing of ours."""
    assert not re.search(r"(import|from) tanpo", VERIFIER.read_text())
    spec = importlib.util.spec_from_file_location("verify_proof", VERIFIER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", CHANGED)
def test_a_second_verifier_accepts_the_same(kind: str, second: ModuleType) -> None:
    trusted = json.loads((FOLDER / GENESIS.get(kind, "genesis.json")).read_text())
    document = json.loads((FOLDER / f"{kind}.json").read_text())

    found = second.verify(document, trusted)

    assert f"block {document.get('height', '')}" in found
    assert ('roles then {"dealer-a": ["participant"], ' in found) == (kind == "standing")
    assert ("was refused" in found, "held nothing" in found) == (kind == "refusal", kind == "absence")


@pytest.mark.parametrize("kind", CHANGED)
def test_a_second_verifier_names_the_same_link(kind: str, second: ModuleType) -> None:
    trusted = json.loads((FOLDER / GENESIS.get(kind, "genesis.json")).read_text())
    document = json.loads((FOLDER / f"{kind}.json").read_text())
    link, place = CHANGED[kind]
    spoil(document, place)

    with pytest.raises(second.BrokenLink, match=link):
        second.verify(document, trusted)
    with pytest.raises(Exception, match=link):
        verify_proof_file(decode_proof_file(json.dumps(document)), load_genesis(kind))


def spoil(document: Any, place: tuple[Any, ...]) -> None:
    for step in place[:-1]:
        document = document[step]
    part = document[place[-1]]
    document[place[-1]] = part[:-1] + ("0" if part[-1] != "0" else "1")
