"""`tanpo genesis`: the ceremony by which members agree what their network starts with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from tanpo.cli.output import Format, OutputOption, print_fields, print_text

app = typer.Typer(
    help="What a network starts with: propose it, look at it, sign it, see that all did.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

FileArgument: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="The genesis.")]


@app.command()
def propose(
    card: Annotated[list[Path], typer.Argument(metavar="CARD...", help="The cards of all members.")],
    network: Annotated[str, typer.Option(metavar="NAME", help="The network's name.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write; it must not exist.")],
    observer: Annotated[
        list[str] | None,
        typer.Option(metavar="MEMBER", help="A member whose node is no validator yet; repeat for each."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Another limit than the ordinary one; repeat for each."),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Put the members' cards and the product's contracts together to a genesis, for all of them to sign.

    Their nodes are the validators, in the order of the cards, but for those of observers.
    """
    import time

    from tanpo.cli.founding.assembling import parse_parameters, propose_genesis
    from tanpo.cli.founding.cards import load_card
    from tanpo.cli.founding.creating import create_file
    from tanpo.cli.founding.explaining import describe_genesis, explain_genesis
    from tanpo.ledger.genesis import genesis_to_json

    cards = [load_card(path) for path in card]
    genesis = propose_genesis(
        network,
        cards,
        observers=observer or (),
        parameters=parse_parameters(limit or ()),
        time_ms=time.time_ns() // 1_000_000,
    )
    create_file(out, genesis_to_json(genesis).encode())
    if output is Format.JSON:
        print_fields(output, {"file": str(out), **describe_genesis(genesis)})
    else:
        print_text("\n".join(explain_genesis(genesis, cards)))


@app.command()
def show(
    file: FileArgument,
    card: Annotated[
        list[Path] | None,
        typer.Argument(metavar="CARD...", help="Cards of members, to be compared with it."),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Say in plain words what a genesis holds, having checked it: nodes can start with it, cards agree."""
    from tanpo.cli.founding import papers
    from tanpo.cli.founding.assembling import check_cards, check_start
    from tanpo.cli.founding.cards import load_card
    from tanpo.cli.founding.explaining import check_against_cards, describe_genesis, explain_genesis

    genesis = papers.read_genesis(file).genesis
    cards = [load_card(path) for path in card or ()]
    check_cards(cards)
    check_against_cards(genesis, cards)
    check_start(genesis)
    if output is Format.JSON:
        compared = [one.facts.member for one in cards]
        print_fields(output, {**describe_genesis(genesis), "compared_with_cards": compared})
    else:
        print_text("\n".join(explain_genesis(genesis, cards)))


@app.command()
def sign(
    file: FileArgument,
    card: Annotated[Path, typer.Option(help="Your own member's card.")],
    key: Annotated[Path, typer.Option(help="The member's transaction key.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write; it must not exist.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Sign a genesis for your member, having checked that it says of it what its card says.

    Look at it first (`tanpo genesis show`): what all members signed is what the network starts with.
    """
    from tanpo.cli.founding import papers
    from tanpo.cli.founding.cards import load_card
    from tanpo.cli.founding.signing import save_signature
    from tanpo.client import FileSigner

    genesis = papers.read_genesis(file).genesis
    facts = load_card(card).facts
    save_signature(out, genesis, facts, FileSigner.load(key))
    print_fields(
        output,
        {
            "file": str(out),
            "member": facts.member,
            "network": genesis.network,
            "network_id": genesis.network_id.hex(),
        },
    )


@app.command()
def verify(
    file: FileArgument,
    signature: Annotated[list[Path], typer.Argument(metavar="SIGNATURE...", help="The members' signatures.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Check that all members signed this genesis; fail unless each of them did."""
    from tanpo.cli.founding import papers
    from tanpo.cli.founding.signing import load_signature, verify_signatures

    genesis = papers.read_genesis(file).genesis
    members = verify_signatures(genesis, [load_signature(path) for path in signature])
    print_fields(
        output,
        {"network": genesis.network, "network_id": genesis.network_id.hex(), "signed_by": list(members)},
    )
