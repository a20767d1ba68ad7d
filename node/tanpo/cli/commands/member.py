"""`tanpo member`: what an institution makes for itself before there is a network, and once there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from tanpo.cli.output import Format, OutputOption, print_fields

app = typer.Typer(
    help="A member's own files: CA, keys, card, and its node's configuration.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

NODE = "node-1"
OPS_LISTEN = "127.0.0.1:7602"


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make; it must not exist.")],
    member: Annotated[str, typer.Option(metavar="ID", help="The member's name on the ledger, for good.")],
    name: Annotated[str, typer.Option(help="The institution's name.")],
    lei: Annotated[str, typer.Option(metavar="LEI", help="Its legal entity identifier (ISO 17442).")],
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where its clients will reach its node.")],
    peer_address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where other members' nodes will reach it.")
    ],
    role: Annotated[
        list[str] | None, typer.Option(metavar="ROLE", help="A role from the beginning; repeat for each.")
    ] = None,
    node: Annotated[str, typer.Option(metavar="NAME", help="The node's name.")] = NODE,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="A further name of the node's host; repeat for each."),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Make a member's CA, keys, certificates and card, each where it belongs. Nothing is overwritten.

    DIR/ca is kept off the network, DIR/client with those who act for the member, DIR/node goes to the node's
    host, and DIR/ID.card is for the other members.
    """
    from tanpo.cli.founding.cards import describe_card
    from tanpo.cli.founding.folder import Introduction, MemberFolder, create_member

    given = Introduction(
        member=member,
        name=name,
        lei=lei,
        roles=tuple(role or ()),
        node=node,
        address=address,
        peer_address=peer_address,
        hosts=tuple(host or ()),
    )
    facts = create_member(directory, given)
    card = MemberFolder(root=directory).get_card(member)
    print_fields(output, {"card": str(card), **describe_card(facts)})


@app.command()
def show(
    card: Annotated[Path, typer.Argument(metavar="CARD", help="A member's card.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Check that a card is whole, and show what it says.

    Compare its hash with the member by another way than the card came: by telephone, or on paper.
    """
    from tanpo.cli.founding.cards import describe_card, load_card

    print_fields(output, {"card": str(card), **describe_card(load_card(card).facts)})


@app.command()
def configure(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The member's folder.")],
    genesis: Annotated[Path, typer.Option(help="The genesis that all members signed.")],
    file: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="The members' cards and their signatures.")
    ],
    ops_listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the node answers its own operations.")
    ] = OPS_LISTEN,
    output: OutputOption = Format.TABLE,
) -> None:
    """Check that all members signed a genesis, and write what node and clients need to start with it.

    That is the genesis, node.toml, the CAs of all members, and profiles. Nothing is overwritten.
    """
    from tanpo.cli.founding import papers
    from tanpo.cli.founding.folder import MemberFolder, configure_member
    from tanpo.cli.founding.signing import verify_signatures

    read = papers.read_genesis(genesis)
    cards, signatures = papers.sort_files(file)
    members = verify_signatures(read.genesis, signatures)
    written = configure_member(MemberFolder(root=directory), read, cards, ops_listen)
    print_fields(
        output,
        {
            "network": read.genesis.network,
            "network_id": read.genesis.network_id.hex(),
            "signed_by": list(members),
            "written": [str(path) for path in written],
        },
    )
