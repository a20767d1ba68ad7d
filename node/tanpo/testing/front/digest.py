"""One digest over what the checker says to a corpus and its mutants, to compare versions of Python."""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import Final

from tanpo.testing.front.corpus import load_interfaces
from tanpo.testing.front.fuzzing import check_one
from tanpo.testing.front.mutating import Mutator

_SEED: Final = 20_240_229


def list_sources(corpus: list[bytes], mutants: int) -> list[bytes]:
    """Return the corpus and a number of mutants of it, the same on every version of Python."""
    random = Random(_SEED)  # noqa: S311 - replays, not secrets
    mutator = Mutator(random, syntax=False)
    made = [mutator.mutate(random.choice(corpus), random.choice(corpus)) for _ in range(mutants)]
    return corpus + made


def compute_digest(corpus: list[bytes], mutants: int) -> str:
    """Return the digest of all faults, word for word."""
    interfaces = load_interfaces()
    digest = sha256()
    for source in list_sources(corpus, mutants):
        for fault in check_one(source, interfaces):
            digest.update(f"{fault}|{fault.construct}\n".encode())
        digest.update(b"--\n")
    return digest.hexdigest()
