"""What the fuzzer starts from: the attacks and the contracts of the product."""

from __future__ import annotations

from pathlib import Path

from tanpo.contracts.source import PRODUCT_CONTRACTS, load_source
from tanpo.testing.attacks import load_attacks
from tanpo.vm import compile_contract
from tanpo.vm.interface import Interface

SEED_CHARACTERS_MAX = 8_000
"""Longest seed: the product's contracts are cut into pieces, as whole ones take long to check."""


def load_interfaces() -> dict[str, Interface]:
    """Return the interfaces of the product's contracts, which sources may name as handles."""
    interfaces: dict[str, Interface] = {}
    for name in PRODUCT_CONTRACTS:
        interfaces[name] = compile_contract(load_source(name), name=name, interfaces=interfaces).interface
    return interfaces


def load_corpus(attacks: Path) -> list[bytes]:
    """Return the seeds in a fixed order: sources of a folder of attacks, pieces of product contracts."""
    sources = [source for attack in load_attacks(attacks) for _, source in attack.sources]
    for name in PRODUCT_CONTRACTS:
        text = load_source(name)
        head = text.partition("\n\n@")[0]
        sources += [f"{head}\n\n@{piece}" for piece in text.split("\n\n@")[1:]]
    seeds = (source.encode("utf-8", "surrogatepass") for source in sources)
    return [seed for seed in dict.fromkeys(seeds) if len(seed) <= SEED_CHARACTERS_MAX]
