"""Members: who belongs to the network, with which roles, under which CA, and whose keys sign transactions.

The first members are those of the genesis. Later ones are admitted, and members dismissed, by a transaction that more
than two thirds of all members signed; so are roles granted and revoked. A member changes its own keys and its CA by
its own signature, or the others do it for one that has lost its keys. Nodes read `records` and `owners`: what a block
changes counts from the next block on. An account is named after the member that owns it: "dealer-a", or
"dealer-a/client-7" for a sub-account; accounts outlast their member. So the name of a dismissed member is given
away by `readmit` alone: who has it from then on disposes of those accounts.

A key belongs to one member for ever, and never returns once it is removed: a signature says whose it is at any height.

Refusals: UNAUTHORISED MEMBER_UNKNOWN MEMBER_EXISTS MEMBER_DISMISSED DEPARTURE_UNKNOWN MEMBER_NAME MEMBER_COUNT
MEMBER_VOTES NAME_FORM LEI_FORM ROLE_UNKNOWN ROLE_HELD ROLE_NOT_HELD KEY_FORM KEY_USED KEY_UNKNOWN KEY_COUNT KEY_LAST AUTHORITY_FORM AUTHORITY_COUNT
"""

ROLE_NAMES = " registrar custodian issuer cash_issuer participant collateral_agent price_source supervisor "
MEMBERS_MAX = 256
KEYS_MAX = 16
AUTHORITIES_MAX = 2
AUTHORITY_BYTES_MAX = 4096
MEMBER_NAME_MAX = 48
NAME_MAX = 100
LEI_LENGTH = 20
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NAME_SIGNS = "abcdefghijklmnopqrstuvwxyz0123456789_-"
KEY_BYTES = 91
KEY_PREFIX = b"0Y0\x13\x06\x07*\x86H\xce=\x02\x01\x06\x08*\x86H\xce=\x03\x01\x07\x03B\x00\x04"


@record
class Member:
    """A member as the genesis names it: keys are P-256 public keys in DER, the CA certificate is PEM."""

    member: str
    name: str
    lei: str
    roles: list[str]
    ca_certificate: bytes
    keys: list[bytes]


@record
class Authority:
    """A CA that issues certificates of a member, PEM, and the height of the block that added it."""

    certificate: bytes
    added: int


@record
class Record:
    """What a member is known by: its name and LEI, the CAs that issue its certificates, its keys in force."""

    name: str
    lei: str
    authorities: list[Authority]
    keys: list[bytes]


@record
class Owner:
    """A key, whose it is, and the heights of the blocks that added it and removed it; 0 while it is in force."""

    key: bytes
    member: str
    added: int
    removed: int


@record
class Departure:
    """Who had a name that is a member's no more, and the height of the block that dismissed it: 0 for nobody."""

    name: str
    lei: str
    height: int


@record
class Tally:
    """How many members are among some signers, and how many there are."""

    votes: int
    members: int


roles: Map[str, list[str]]
records: Map[str, Record]
owners: Map[bytes, Owner]
departures: Map[str, Departure]
member_count: int
voting: list[str]


@init
def setup(members: list[Member], voters: list[str]) -> None:
    member_count = 0
    voting = voters
    for one in members:
        enrol(one)
    for member in voters:
        require(member in roles, "MEMBER_UNKNOWN", member=member)


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
def record_of(member: str) -> Record:
    """Return name, LEI, CAs and keys of a member."""
    require(member in roles, "MEMBER_UNKNOWN", member=member)
    return records[member]


@view
def owner_of(key_id: bytes) -> Owner:
    """Return whose a key is, or was. Its id is the first 16 bytes of its SHA-256."""
    require(key_id in owners, "KEY_UNKNOWN", key=key_id)
    return owners[key_id]


@view
def departure_of(member: str) -> Departure:
    """Return who had a name before it was dismissed, if nobody has it now."""
    return departures.get(member, Departure(name="", lei="", height=0))


@view
def count_votes(signers: list[str]) -> Tally:
    """Count the members among those who signed, against all members."""
    votes = 0
    for signer in signers:
        if signer in roles:
            votes += 1
    return Tally(votes=votes, members=member_count)


@entry
def admit(member: str, name: str, lei: str, granted: list[str], ca_certificate: bytes, keys: list[bytes]) -> None:
    """Let an organisation be a member, under a name that was nobody's. More than two thirds of all sign."""
    check_vote()
    if member in departures:
        left = departures[member]
        require(False, "MEMBER_DISMISSED", member=member, name=left.name, lei=left.lei, height=left.height)
    enrol(Member(member=member, name=name, lei=lei, roles=granted, ca_certificate=ca_certificate, keys=keys))
    emit("MemberAdmitted", member=member, name=name, lei=lei, roles=granted, keys=keys)


@entry
def readmit(member: str, name: str, lei: str, granted: list[str], ca_certificate: bytes, keys: list[bytes]) -> None:
    """Let an organisation be a member under the name of a dismissed one, whose accounts become its own.

    Signed by more than two thirds of all members.
    """
    check_vote()
    require(member in departures, "DEPARTURE_UNKNOWN", member=member)
    del departures[member]
    enrol(Member(member=member, name=name, lei=lei, roles=granted, ca_certificate=ca_certificate, keys=keys))
    emit("MemberReadmitted", member=member, name=name, lei=lei, roles=granted, keys=keys)


@entry
def dismiss(member: str) -> None:
    """Let a member be one no more: its keys, its CA and its roles end; its accounts stay.

    Signed by more than two thirds of all members. None of its nodes may be a validator, or be about to be one.
    """
    check_vote()
    require(member in roles, "MEMBER_UNKNOWN", member=member)
    require(member not in voting, "MEMBER_VOTES", member=member)
    left = records[member]
    for key in left.keys:
        end_key(key)
    departures[member] = Departure(name=left.name, lei=left.lei, height=ctx.height)
    del records[member]
    del roles[member]
    member_count -= 1
    emit("MemberDismissed", member=member)


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


@entry
def add_key(member: str, key: bytes) -> None:
    """Let one more key sign for a member. Signed by the member, or by more than two thirds of all members."""
    check_own(member)
    found = records[member]
    found.keys.append(key)
    require(len(found.keys) <= KEYS_MAX, "KEY_COUNT", member=member, limit=KEYS_MAX)
    begin_key(member, key)
    records[member] = found
    emit("KeyAdded", member=member, key=key)


@entry
def remove_key(member: str, key: bytes) -> None:
    """Let a key sign no more, for ever. Signed by the member, or by more than two thirds of all members."""
    check_own(member)
    found = records[member]
    require(key in found.keys, "KEY_UNKNOWN", member=member, key=key)
    require(len(found.keys) > 1, "KEY_LAST", member=member)
    found.keys = [other for other in found.keys if other != key]
    end_key(key)
    records[member] = found
    emit("KeyRemoved", member=member, key=key)


@entry
def replace_authority(member: str, ca_certificates: list[bytes]) -> None:
    """Let these CAs issue the certificates of a member: one, or two while certificates of both are in use.

    Signed by the member, or by more than two thirds of all members.
    """
    check_own(member)
    check_authorities(member, ca_certificates)
    found = records[member]
    kept: list[Authority] = []
    for certificate in ca_certificates:
        kept.append(date_authority(certificate, found.authorities))
    found.authorities = kept
    records[member] = found
    emit("AuthorityReplaced", member=member, count=len(ca_certificates))


@entry
def note_voting(members: list[str]) -> None:
    """Note whose nodes are validators, or are about to be. Called by the contract of validators."""
    require(ctx.sender == "contract:validators", "UNAUTHORISED", needed="the validators", caller=ctx.sender)
    voting = members


def enrol(one: Member) -> None:
    member = one.member
    require(is_member_name(member), "MEMBER_NAME", member=member)
    require(member not in roles, "MEMBER_EXISTS", member=member)
    require(1 <= len(one.name) <= NAME_MAX, "NAME_FORM", member=member, limit=NAME_MAX)
    require(len(one.lei) == 0 or len(one.lei) == LEI_LENGTH, "LEI_FORM", member=member, lei=one.lei)
    named: dict[str, bool] = {}
    for role in one.roles:
        check_role(role)
        require(role not in named, "ROLE_HELD", member=member, role=role)
        named[role] = True
    require(1 <= len(one.keys) <= KEYS_MAX, "KEY_COUNT", member=member, limit=KEYS_MAX)
    for key in one.keys:
        begin_key(member, key)
    check_authorities(member, [one.ca_certificate])
    nothing: list[Authority] = []
    authorities = [date_authority(one.ca_certificate, nothing)]
    member_count += 1
    require(member_count <= MEMBERS_MAX, "MEMBER_COUNT", limit=MEMBERS_MAX)
    roles[member] = one.roles
    records[member] = Record(name=one.name, lei=one.lei, authorities=authorities, keys=one.keys)


def begin_key(member: str, key: bytes) -> None:
    require(len(key) == KEY_BYTES and key[: len(KEY_PREFIX)] == KEY_PREFIX, "KEY_FORM", member=member, key=key)
    key_id = sha256(key)[:16]
    require(key_id not in owners, "KEY_USED", member=member, key=key)
    owners[key_id] = Owner(key=key, member=member, added=ctx.height, removed=0)


def end_key(key: bytes) -> None:
    key_id = sha256(key)[:16]
    owner = owners[key_id]
    owner.removed = ctx.height
    owners[key_id] = owner


def date_authority(certificate: bytes, before: list[Authority]) -> Authority:
    # One that stays counts from when it came: nodes trust the CA that had its subject first.
    for one in before:
        if one.certificate == certificate:
            return one
    return Authority(certificate=certificate, added=ctx.height)


def check_authorities(member: str, certificates: list[bytes]) -> None:
    total = len(certificates)
    require(1 <= total <= AUTHORITIES_MAX, "AUTHORITY_COUNT", member=member, value=total, limit=AUTHORITIES_MAX)
    for certificate in certificates:
        size = len(certificate)
        require(1 <= size <= AUTHORITY_BYTES_MAX, "AUTHORITY_FORM", member=member, limit=AUTHORITY_BYTES_MAX)
    if total == AUTHORITIES_MAX:
        require(certificates[0] != certificates[1], "AUTHORITY_FORM", member=member, limit=AUTHORITY_BYTES_MAX)


def check_role(role: str) -> None:
    known = role.find(" ") < 0 and ROLE_NAMES.find(" " + role + " ") >= 0
    require(known, "ROLE_UNKNOWN", role=role, limit=ROLE_NAMES)


def check_own(member: str) -> None:
    require(member in roles, "MEMBER_UNKNOWN", member=member)
    check_direct()
    if member not in ctx.signers:
        check_vote()


def check_direct() -> None:
    # A contract could pass on signatures that were given for something else.
    require(not ctx.sender.startswith("contract:"), "UNAUTHORISED", needed="a direct call", caller=ctx.sender)


def check_vote() -> None:
    check_direct()
    tally = count_votes(ctx.signers)
    enough = tally.votes * 3 > tally.members * 2
    require(
        enough,
        "UNAUTHORISED",
        needed="more than two thirds of all members",
        votes=tally.votes,
        members=tally.members,
    )


def is_member_name(name: str) -> bool:
    if not 1 <= len(name) <= MEMBER_NAME_MAX:
        return False
    if LETTERS.find(name[0]) < 0:
        return False
    for position in range(len(name)):
        if NAME_SIGNS.find(name[position]) < 0:
            return False
    return True
