"""A fuzzer of the contract checker: any bytes are a contract or a refusal, never another error.

It runs on the standard library alone, so that any version of Python can. `python -m tanpo.testing.front`
fuzzes and prints JSON; with `--digest` it prints one digest over all answers to the corpus and its mutants.
"""

from tanpo.testing.front.corpus import load_corpus
from tanpo.testing.front.fuzzing import Campaign, Finding, check_one
from tanpo.testing.front.mutating import Mutator

__all__ = ["Campaign", "Finding", "Mutator", "check_one", "load_corpus"]
