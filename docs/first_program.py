"""A first program: issue a yen deposit, hand some of it to a dealer, and prove it without trusting a node.

Start a network with `make up`, then run this with the folder it keeps its files in:

    .venv/bin/python docs/first_program.py .net
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from tanpo.client import Client, load_profile, verify_proof
from tanpo.ledger import Value

DEPOSIT = f"yen-{secrets.token_hex(4)}"


def main(folder: Path) -> None:
    """Tokenise, deliver, look and verify."""
    bank = load_profile(folder / "trust-bank" / "profile.toml")
    custodian = load_profile(folder / "custody-bank" / "profile.toml")
    instrument: Value = {
        "id": DEPOSIT,
        "name": "Yen deposit of the trust bank",
        "kind": "deposit_token",
        "currency": "JPY",
        "decimals": 0,
        "denomination": 1,
        "registrar": "trust-bank",
        "custodian": "custody-bank",
        "issuer_lei": "",
        "asset_class": "cash",
        "country": "JP",
        "rating": "",
        "maturity": 0,
    }
    lock: dict[str, Value] = {"instrument": DEPOSIT, "reference": "vault-1", "quantity": 1_000_000}
    delivery: dict[str, Value] = {
        "deliverer": "trust-bank",
        "receiver": "dealer-a",
        "instrument": DEPOSIT,
        "quantity": 250_000,
    }
    with Client(bank) as trust_bank, Client(custodian) as custody_bank:
        trust_bank.submit("instruments", "define", {"instrument": instrument}).raise_for_failure()
        # Nothing is minted but against what the custodian confirms to hold.
        custody_bank.submit("instruments", "confirm_lock", lock).raise_for_failure()
        trust_bank.submit("instruments", "mint", {"account": "trust-bank", **lock}).raise_for_failure()
        transfer = trust_bank.submit("instruments", "transfer", delivery).raise_for_failure()

        # A failure is an outcome too: final, recorded by every node, with its reason.
        refused = trust_bank.submit("instruments", "transfer", {**delivery, "quantity": 900_000})
        held = trust_bank.query("instruments", "free", account="dealer-a", instrument=DEPOSIT).value

        # What the node says is checked against the genesis: a quorum of validators signed for it.
        proof = trust_bank.chain.prove(transfer.tx_id).proof
    verified = verify_proof(proof, transfer.tx_id, bank.genesis)
    print(f"dealer-a holds {held!r} of {DEPOSIT}, final at height {verified.receipt.height}")
    print(f"a second transfer was refused: {refused.receipt.code} {dict(refused.receipt.details)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
