"""Members: who belongs to the network, and which roles each member holds.

Members and their first roles come from the genesis. Later a role is granted or revoked by a transaction that
more than two thirds of all members signed. An account is named after the member that owns it: "dealer-a", or
"dealer-a/client-7" for a sub-account.

Refusals: UNAUTHORISED MEMBER_UNKNOWN MEMBER_EXISTS ROLE_UNKNOWN ROLE_HELD ROLE_NOT_HELD
"""

ROLE_NAMES = " registrar custodian issuer cash_issuer participant collateral_agent price_source supervisor "


@record
class Member:
    """One member and its roles."""

    member: str
    roles: list[str]


@record
class Tally:
    """How many members are among some signers, and how many there are."""

    votes: int
    members: int


roles: Map[str, list[str]]
member_count: int


@init
def setup(members: list[Member]) -> None:
    for entry_of in members:
        require(entry_of.member not in roles, "MEMBER_EXISTS", member=entry_of.member)
        for role in entry_of.roles:
            check_role(role)
        roles[entry_of.member] = entry_of.roles
    member_count = len(members)


@view
def exists(member: str) -> bool:
    """Tell whether the member belongs to the network."""
    return member in roles


@view
def has_role(member: str, role: str) -> bool:
    """Tell whether the member holds the role; no for anyone who is no member."""
    nothing: list[str] = []
    return role in roles.get(member, nothing)


@view
def roles_of(member: str) -> list[str]:
    """Return the roles of a member."""
    require(member in roles, "MEMBER_UNKNOWN", member=member)
    return roles[member]


@view
def count_votes(signers: list[str]) -> Tally:
    """Count the members among those who signed, against all members."""
    votes = 0
    for signer in signers:
        if signer in roles:
            votes += 1
    return Tally(votes=votes, members=member_count)


@entry
def grant(member: str, role: str) -> None:
    """Give a member a role. Signed by more than two thirds of all members."""
    check_vote()
    check_role(role)
    require(member in roles, "MEMBER_UNKNOWN", member=member)
    held = roles[member]
    require(role not in held, "ROLE_HELD", member=member, role=role)
    held.append(role)
    roles[member] = held
    emit("RoleGranted", member=member, role=role)


@entry
def revoke(member: str, role: str) -> None:
    """Take a role from a member. Signed by more than two thirds of all members."""
    check_vote()
    require(member in roles, "MEMBER_UNKNOWN", member=member)
    held = roles[member]
    require(role in held, "ROLE_NOT_HELD", member=member, role=role)
    roles[member] = [other for other in held if other != role]
    emit("RoleRevoked", member=member, role=role)


def check_role(role: str) -> None:
    known = role.find(" ") < 0 and ROLE_NAMES.find(" " + role + " ") >= 0
    require(known, "ROLE_UNKNOWN", role=role, limit=ROLE_NAMES)


def check_vote() -> None:
    # A contract could pass on signatures that were given for something else.
    require(not ctx.sender.startswith("contract:"), "UNAUTHORISED", needed="a direct call", caller=ctx.sender)
    tally = count_votes(ctx.signers)
    enough = tally.votes * 3 > tally.members * 2
    require(
        enough,
        "UNAUTHORISED",
        needed="more than two thirds of all members",
        votes=tally.votes,
        members=tally.members,
    )
