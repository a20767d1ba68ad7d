"""Transactions, blocks, receipts, certificates, their canonical encoding and proofs: pure, no I/O."""
