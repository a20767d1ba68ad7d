"""A second verifier, written from the documents and using nothing of ours, finds the same in frozen files."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tanpo.client import exporting
from tanpo.ledger.block import decode_block
from tanpo.ledger.certificate import encode_commit_proof
from tanpo.ledger.errors import LedgerError, PeerFault
from tanpo.ledger.genesis import Genesis, genesis_from_json, genesis_to_json
from tanpo.ledger.proofcheck import verify_proof_file
from tanpo.ledger.prooffile import encode_proof_file
from tanpo.ledger.proofparse import decode_proof_file
from tanpo.ledger.types import Term
from tanpo.ledger.validators import validators_to_value
from tanpo.testing.chain import MEMBERS, certify
from tanpo.testing.town import Town

FOLDER = Path(__file__).parent / "proofs"
VERIFIER = Path(__file__).parents[2] / "docs" / "verify_proof.py"
CHANGED = {
    "receipt": ("Merkle path", ("siblings", 0)),
    "refusal": ("transaction", ("payload",)),
    "standing": ("standing", ("standing", "records", 1)),
    "value": ("value", ("value",)),
    "absence": ("contract entry", ("contract_entry",)),
    "variable": ("partial tree", ("partial_tree",)),
    "listing": ("listing", ("group_keys", 0)),
}
"""A link of each file, and the field whose last byte, changed, breaks it."""


def load_genesis() -> Genesis:
    return genesis_from_json((FOLDER / "genesis.json").read_text())


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
    trusted = json.loads((FOLDER / "genesis.json").read_text())
    document = json.loads((FOLDER / f"{kind}.json").read_text())

    found = second.verify(document, trusted)

    assert f"block {document.get('height', '')}" in found
    assert ('roles then {"dealer-a": ["participant"], "fund-a": ["participant"]}' in found) == (
        kind == "standing"
    )
    assert ('CAs then {"dealer-a": [[0, "' in found) == (kind in ("refusal", "standing"))
    assert ("roles of its signers are not proved" in found) == (kind == "receipt")
    assert ("was refused" in found, "held nothing" in found) == (kind == "refusal", kind == "absence")


@pytest.mark.parametrize("kind", CHANGED)
def test_a_second_verifier_names_the_same_link(kind: str, second: ModuleType) -> None:
    trusted = json.loads((FOLDER / "genesis.json").read_text())
    document = json.loads((FOLDER / f"{kind}.json").read_text())
    link, place = CHANGED[kind]
    spoil(document, place)

    with pytest.raises(second.BrokenLink, match=link):
        second.verify(document, trusted)
    with pytest.raises(Exception, match=link):
        verify_proof_file(decode_proof_file(json.dumps(document)), load_genesis())


def end_epoch(town: Town, term: Term) -> None:
    """Vote for other validators, and make the last block of the epoch final in a term."""
    first, *others = town.chain.genesis.validators
    named = (replace(first, node="another"), *others)
    town.call("validators", "replace", {"validators": validators_to_value(named)}, *MEMBERS)
    town.chain.commit(town.chain.execute(), term)


@pytest.mark.parametrize("term", [0, 1, 5])
def test_the_last_block_of_an_epoch_may_become_final_in_a_later_term(
    term: int, second: ModuleType, tmp_path: Path
) -> None:
    town = Town(tmp_path)
    town.open_book(dealer_a=1_000)
    end_epoch(town, Term(term))
    receipt = town.transfer(1)
    town.chain.run()
    genesis = town.chain.genesis
    if term == 0:
        with pytest.raises(PeerFault, match="of another epoch or term"):
            town.run(exporting.receipt_file(town.context, receipt.tx_id))
    else:
        text = encode_proof_file(town.run(exporting.receipt_file(town.context, receipt.tx_id)))
        verify_proof_file(decode_proof_file(text), genesis)
        second.verify(json.loads(text), json.loads(genesis_to_json(genesis)))
    town.chain.close()


def test_any_other_block_becomes_final_in_its_own_term(second: ModuleType, tmp_path: Path) -> None:
    town = Town(tmp_path)
    town.open_book(dealer_a=1_000)
    receipt = town.transfer(1)
    document = json.loads(encode_proof_file(town.run(exporting.receipt_file(town.context, receipt.tx_id))))
    genesis = town.chain.genesis
    block = decode_block(
        town.chain.execution.store.read_block(town.chain.execution.store.executed_height).block
    )
    signers = [town.chain.validator_keys[one.public_key] for one in genesis.validators]
    document["trail"]["commit_proof"] = encode_commit_proof(certify(block, signers, Term(2))).hex()

    with pytest.raises(second.BrokenLink, match="commit proof"):
        second.verify(document, json.loads(genesis_to_json(genesis)))
    with pytest.raises(LedgerError, match="of another epoch or term"):
        verify_proof_file(decode_proof_file(json.dumps(document)), genesis)
    town.chain.close()


def spoil(document: Any, place: tuple[Any, ...]) -> None:
    for step in place[:-1]:
        document = document[step]
    part = document[place[-1]]
    document[place[-1]] = part[:-1] + ("0" if part[-1] != "0" else "1")
