"""Validators: which nodes vote on blocks, in which epoch, and how they are replaced.

The first validators come from the genesis. `replace` names the next ones, signed by more than two thirds of all
members. The block above it is the last of its epoch; executing that block puts the new validators in force, so they
vote from the block after it on. The nodes themselves call `begin_epoch` and `refuse_pending`, and nobody else can.

To lose nothing, a change must keep as many validators exactly as they are, node and key, as make a quorum of the new
set: then the new epoch makes progress although no newcomer is up yet. Fewer than four validators tolerate no fault and
have none to lose, so they change freely.

Refusals: UNAUTHORISED MEMBER_UNKNOWN VALIDATOR_COUNT VALIDATOR_TWICE NODE_NAME KEY_FORM VALIDATORS_UNCHANGED
QUORUM_LOST CHANGE_PENDING NOTHING_PENDING
"""

VALIDATORS_MAX = 64
FAULT_TOLERANT = 4
NODE_NAME_MAX = 48
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NAME_SIGNS = "abcdefghijklmnopqrstuvwxyz0123456789_-"
KEY_BYTES = 91
KEY_PREFIX = b"0Y0\x13\x06\x07*\x86H\xce=\x02\x01\x06\x08*\x86H\xce=\x03\x01\x07\x03B\x00\x04"

registry: Contract["members"]


@record
class Validator:
    """A node that votes: its member, its name within the member, and its P-256 public key in DER."""

    member: str
    node: str
    public_key: bytes


@record
class Epoch:
    """The number of the epoch that the next block is of, and the height of the block it starts from."""

    number: int
    base_height: int


sets: Map[int, list[Validator]]
wanted: list[Validator]
number: int
base_height: int


@init
def setup(validators: list[Validator]) -> None:
    check_form(validators)
    nothing: list[Validator] = []
    sets[0] = validators
    wanted = nothing
    number = 0
    base_height = 0


@view
def current() -> list[Validator]:
    """Return the validators of the next block, in the order of their indices."""
    return sets[number]


@view
def of_epoch(number_of: int) -> list[Validator]:
    """Return the validators of an epoch, this one or an earlier one; none of an epoch that has not begun."""
    nothing: list[Validator] = []
    return sets.get(number_of, nothing)


@view
def pending() -> list[Validator]:
    """Return the validators that the next block puts in force; none ordinarily."""
    return wanted


@view
def epoch() -> Epoch:
    """Return the epoch of the next block."""
    return Epoch(number=number, base_height=base_height)


@entry
def replace(validators: list[Validator]) -> None:
    """Let these be the validators from the block after the next on. Signed by more than two thirds of all members."""
    check_vote()
    waiting = wanted
    require(len(waiting) == 0, "CHANGE_PENDING", epoch=number)
    check_form(validators)
    now = sets[number]
    require(now != validators, "VALIDATORS_UNCHANGED", epoch=number)
    kept = 0
    for one in validators:
        if one in now:
            kept += 1
    total = len(validators)
    quorum = (total + (total - 1) // 3) // 2 + 1
    lasts = kept >= quorum or len(now) < FAULT_TOLERANT
    require(lasts, "QUORUM_LOST", kept=kept, limit=quorum, validators=total)
    wanted = validators
    note_voting(now, validators)
    emit("ReplacementAgreed", epoch=number + 1, validators=total, kept=kept)


@entry
def begin_epoch() -> None:
    """Put the pending validators in force. Called by the nodes at the last block of an epoch."""
    check_node()
    waiting = wanted
    require(len(waiting) > 0, "NOTHING_PENDING")
    nothing: list[Validator] = []
    number += 1
    sets[number] = waiting
    wanted = nothing
    base_height = ctx.height
    note_voting(waiting, nothing)


@entry
def refuse_pending() -> None:
    """Drop the pending validators. Called by the nodes when a key among them is no point of its curve."""
    check_node()
    nothing: list[Validator] = []
    wanted = nothing
    note_voting(sets[number], nothing)


def note_voting(now: list[Validator], then: list[Validator]) -> None:
    # Members that have a node in either are not dismissed.
    members: list[str] = []
    for one in now + then:
        if one.member not in members:
            members.append(one.member)
    registry.note_voting(members=members)


def check_node() -> None:
    require(ctx.sender == "", "UNAUTHORISED", needed="the nodes themselves", caller=ctx.sender)


def check_vote() -> None:
    # A contract could pass on signatures that were given for something else.
    require(not ctx.sender.startswith("contract:"), "UNAUTHORISED", needed="a direct call", caller=ctx.sender)
    tally = registry.count_votes(signers=ctx.signers)
    enough = tally.votes * 3 > tally.members * 2
    require(
        enough,
        "UNAUTHORISED",
        needed="more than two thirds of all members",
        votes=tally.votes,
        members=tally.members,
    )


def check_form(validators: list[Validator]) -> None:
    total = len(validators)
    require(1 <= total <= VALIDATORS_MAX, "VALIDATOR_COUNT", value=total, limit=VALIDATORS_MAX)
    names: dict[str, bool] = {}
    keys: dict[bytes, bool] = {}
    for one in validators:
        require(registry.exists(member=one.member), "MEMBER_UNKNOWN", member=one.member)
        require(is_node_name(one.node), "NODE_NAME", member=one.member, node=one.node)
        is_key = len(one.public_key) == KEY_BYTES and one.public_key[: len(KEY_PREFIX)] == KEY_PREFIX
        require(is_key, "KEY_FORM", member=one.member, node=one.node)
        name = one.member + "/" + one.node
        require(name not in names, "VALIDATOR_TWICE", member=one.member, node=one.node, what="node")
        require(one.public_key not in keys, "VALIDATOR_TWICE", member=one.member, node=one.node, what="key")
        names[name] = True
        keys[one.public_key] = True


def is_node_name(name: str) -> bool:
    if not 1 <= len(name) <= NODE_NAME_MAX:
        return False
    if LETTERS.find(name[0]) < 0:
        return False
    for position in range(len(name)):
        if NAME_SIGNS.find(name[position]) < 0:
            return False
    return True
