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
from tanpo.testing.frozen_proofs import write_frozen_proofs

FOLDER = Path(__file__).parent / "proofs"
WORDS: dict[str, list[str]] = json.loads((FOLDER / "words.json").read_text())


def load_genesis() -> Genesis:
    return genesis_from_json((FOLDER / "genesis.json").read_text())


def test_the_frozen_files_are_made_anew_by_their_program_and_prove_the_same_kinds(tmp_path: Path) -> None:
    write_frozen_proofs(tmp_path)

    assert {one.name for one in tmp_path.iterdir()} == {one.name for one in FOLDER.iterdir()}
    genesis = genesis_from_json((tmp_path / "genesis.json").read_text())
    words = json.loads((tmp_path / "words.json").read_text())
    assert words.keys() == WORDS.keys()
    for kind, told in words.items():
        file = decode_proof_file((tmp_path / f"{kind}.json").read_text())
        assert describe_verdict(verify_proof_file(file, genesis), genesis) == told


@pytest.mark.parametrize("kind", WORDS)
def test_a_frozen_file_proves_what_it_proved(kind: str) -> None:
    text = (FOLDER / f"{kind}.json").read_text()

    file, genesis = decode_proof_file(text), load_genesis()

    assert encode_proof_file(file) == text
    assert describe_verdict(verify_proof_file(file, genesis), genesis) == WORDS[kind]
