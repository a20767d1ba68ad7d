"""What makes a block final is found wherever its proof is stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from tanpo.ledger.block import compute_block_hash
from tanpo.ledger.certificate import decode_commit_proof
from tanpo.ledger.errors import Unavailable
from tanpo.ledger.lineage import Lineage, decode_headers
from tanpo.ledger.types import Height
from tanpo.node.execution import ExecutedBlock
from tanpo.node.finality import find_final
from tanpo.testing.chain import Chain, certify


@pytest.fixture
def interrupted(tmp_path: Path) -> Chain:
    """Blocks 1 and 2 came with the proof of block 3; after a stop, blocks 3 and 4 with that of block 5."""
    chain = Chain(tmp_path, has_validators=True)
    blocks: list[ExecutedBlock] = []
    for _ in range(5):
        blocks.append(chain.execute(above=blocks[-1] if blocks else None))
    signers = list(chain.validator_keys.values())
    proofs = {3: certify(blocks[2].decoded.block, signers), 5: certify(blocks[4].decoded.block, signers)}
    for number, proved in ((1, 3), (2, 3), (3, 5), (4, 5)):
        chain.execution.commit(blocks[number - 1].block_hash, proofs[proved])
    return chain


def test_a_proof_is_found_that_only_blocks_below_carry(interrupted: Chain) -> None:
    store, lineage = interrupted.execution.store, Lineage.of_genesis(interrupted.genesis)
    for height in (1, 2):
        header, descendants, commit_proof = find_final(store, Height(height))
        headers = decode_headers((header, *descendants))
        assert [one.height for one in headers] == list(range(height, 4))
        lineage.verify_final(headers, commit_proof)
        assert decode_commit_proof(commit_proof).block_hash == compute_block_hash(headers[-1])
    interrupted.close()


def test_a_block_is_not_final_for_others_before_the_one_that_is_proved_is_there(interrupted: Chain) -> None:
    for height in (3, 4):
        with pytest.raises(Unavailable, match="not stored yet"):
            find_final(interrupted.execution.store, Height(height))
    interrupted.close()
