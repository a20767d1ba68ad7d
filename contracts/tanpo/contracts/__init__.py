"""The product's contracts: source in the tanpo dialect, handed to the machine and never imported to run."""

from tanpo.contracts.source import PRODUCT_CONTRACTS, load_source

__all__ = ["PRODUCT_CONTRACTS", "load_source"]
