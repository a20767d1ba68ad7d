"""Frozen proof files: what they prove, and in which words, stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tanpo.cli.wording import describe_verdict
from tanpo.ledger.genesis import Genesis, genesis_from_json
from tanpo.ledger.proofcheck import verify_proof_file
from tanpo.ledger.prooffile import encode_proof_file
from tanpo.ledger.proofparse import decode_proof_file

FOLDER = Path(__file__).parent / "proofs"
GENESIS = {"standing": "standing-genesis.json"}
WORDS: dict[str, list[str]] = json.loads((FOLDER / "words.json").read_text())


def load_genesis(kind: str) -> Genesis:
    return genesis_from_json((FOLDER / GENESIS.get(kind, "genesis.json")).read_text())


@pytest.mark.parametrize("kind", WORDS)
def test_a_frozen_file_proves_what_it_proved(kind: str) -> None:
    text = (FOLDER / f"{kind}.json").read_text()

    file, genesis = decode_proof_file(text), load_genesis(kind)

    assert encode_proof_file(file) == text
    assert describe_verdict(verify_proof_file(file, genesis), genesis) == WORDS[kind]
