"""Contracts: which source the network runs, as its members propose and approve it.

A member proposes a plan: a contract's name, the hash and size of its source, what it is written for, and either the
arguments of `@init`, or the hash of the source that it replaces. It delivers the source in parts. A proposal that
more than two thirds of all members approved is agreed, and ends in the block that agreed it: after the last
transaction of the block the nodes check the source and put it in force, so that it runs from the next block on, or
refuse it and say why. The nodes themselves call `settle` and `refuse`, and nobody else can.

Who approves signs the whole plan, and with it the source. At most one proposal is agreed in a block.

Refusals: UNAUTHORISED MEMBER_UNKNOWN CONTRACT_NAME SOURCE_SIZE HASH_FORM VERSION_FORM ARGUMENTS_UNUSED DEADLINE
PROPOSALS_OPEN PROPOSAL_UNKNOWN PROPOSAL_ENDED PROPOSAL_EXPIRED PLAN_DIFFERS PART_ORDER PART_SIZE SOURCE_INCOMPLETE
SOURCE_COMPLETE ALREADY_APPROVED AGREEMENT_PENDING NOTHING_AGREED
"""

NAME_MAX = 48
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NAME_SIGNS = "abcdefghijklmnopqrstuvwxyz0123456789_-"
SOURCE_BYTES_MAX = 64 * 1024
PART_BYTES = 4096
HASH_BYTES = 32
OPEN_MAX = 4
OPEN_MS_MAX = 30 * 24 * 60 * 60 * 1000
PAGE_MAX = 20

registry: Contract["members"]


@record
class Plan:
    """What is to be in force. `replaces` is the hash of the source it replaces, empty for version 1.

    `arguments` are those of `@init`, in the canonical encoding of named values; an upgrade has none.
    """

    contract: str
    version: int
    source_hash: bytes
    source_bytes: int
    language_version: int
    gas_table_version: int
    replaces: bytes
    arguments: bytes


@record
class Proposal:
    """A plan and what became of it. `status` is open, agreed, installed, refused or withdrawn.

    `parts` are those delivered. `code` and `reasons` say why the nodes refused it; `height` is where it ended.
    """

    number: int
    plan: Plan
    proposer: str
    approvals: list[str]
    deadline: int
    parts: int
    status: str
    code: str
    reasons: list[str]
    height: int


@record
class Agreement:
    """The proposal that the nodes are to settle, and the transaction that agreed it; number 0 for none."""

    number: int
    tx_id: bytes


proposals: Map[int, Proposal]
parts: Map[tuple[int, int], bytes]
open_of: Map[str, int]
proposal_count: int
agreed_number: int
agreed_tx: bytes


@init
def setup() -> None:
    proposal_count = 0
    agreed_number = 0
    agreed_tx = b""


@view
def proposal(number: int) -> Proposal:
    """Return a proposal by its number."""
    require(number in proposals, "PROPOSAL_UNKNOWN", number=number, limit=proposal_count)
    return proposals[number]


@view
def latest(before: int, limit: int) -> list[Proposal]:
    """Return the latest proposals of those numbered below `before`, or of all for 0; at most 20, newest first."""
    found: list[Proposal] = []
    number = proposal_count
    if before > 0:
        number = min(number, before - 1)
    while number > 0 and len(found) < min(limit, PAGE_MAX):
        found.append(proposals[number])
        number -= 1
    return found


@view
def source(number: int) -> list[bytes]:
    """Return the parts of a proposal's source that are delivered; none once it ended."""
    require(number in proposals, "PROPOSAL_UNKNOWN", number=number, limit=proposal_count)
    nothing = b""
    found = [parts.get((number, index), nothing) for index in range(proposals[number].parts)]
    return [part for part in found if part != nothing]


@view
def agreed() -> Agreement:
    """Return what the nodes are to settle at the end of this block; ordinarily nothing."""
    return Agreement(number=agreed_number, tx_id=agreed_tx)


@entry
def propose(plan: Plan, deadline: int) -> int:
    """Propose a plan that may be approved until the deadline (ms), and return its number.

    Members that sign this approve of the plan.
    """
    check_direct()
    member = ctx.sender
    require(registry.exists(member=member), "MEMBER_UNKNOWN", member=member)
    check_plan(plan)
    open_now = deadline > ctx.time and deadline <= ctx.time + OPEN_MS_MAX
    require(open_now, "DEADLINE", value=deadline, after=ctx.time, limit=ctx.time + OPEN_MS_MAX)
    held = open_of.get(member, 0)
    require(held < OPEN_MAX, "PROPOSALS_OPEN", member=member, value=held, limit=OPEN_MAX)
    open_of[member] = held + 1
    proposal_count += 1
    number = proposal_count
    nothing: list[str] = []
    proposals[number] = Proposal(
        number=number,
        plan=plan,
        proposer=member,
        approvals=add_members(nothing),
        deadline=deadline,
        parts=0,
        status="open",
        code="",
        reasons=nothing,
        height=0,
    )
    emit("Proposed", number=number, contract=plan.contract, version=plan.version, source_hash=plan.source_hash)
    return number


@entry
def deliver(number: int, first: int, pieces: list[bytes]) -> int:
    """Add the next parts of a proposal's source, `first` the number of the first, and return how many are held.

    Every part is 4,096 bytes but the last. Signed by the proposer. Safe to repeat: what is held is left out.
    """
    check_direct()
    found = find_open(number)
    require(ctx.sender == found.proposer, "UNAUTHORISED", needed=found.proposer, caller=ctx.sender)
    size = found.plan.source_bytes
    total = count_parts(size)
    require(0 <= first <= found.parts, "PART_ORDER", value=first, limit=found.parts)
    require(first + len(pieces) <= total, "SOURCE_COMPLETE", value=first + len(pieces), limit=total)
    index = first
    for piece in pieces:
        wanted = min(PART_BYTES, size - index * PART_BYTES)
        require(len(piece) == wanted, "PART_SIZE", part=index, value=len(piece), limit=wanted)
        if index >= found.parts:
            parts[(number, index)] = piece
        index += 1
    found.parts = max(index, found.parts)
    conclude(found)
    return found.parts


@entry
def approve(number: int, plan: Plan) -> int:
    """Approve a proposal, whose plan is given again: that is what is signed. Return the approvals so far."""
    check_direct()
    found = find_open(number)
    require(found.plan == plan, "PLAN_DIFFERS", number=number, contract=found.plan.contract)
    total = count_parts(plan.source_bytes)
    require(found.parts == total, "SOURCE_INCOMPLETE", number=number, value=found.parts, limit=total)
    before = len(found.approvals)
    found.approvals = add_members(found.approvals)
    require(len(found.approvals) > before, "ALREADY_APPROVED", number=number, value=before)
    conclude(found)
    return len(found.approvals)


@entry
def withdraw(number: int) -> None:
    """End a proposal that is open. Signed by its proposer, or, after the deadline, by any member."""
    check_direct()
    require(number in proposals, "PROPOSAL_UNKNOWN", number=number, limit=proposal_count)
    found = proposals[number]
    require(found.status == "open", "PROPOSAL_ENDED", number=number, status=found.status)
    nobody: list[str] = []
    is_over = ctx.time > found.deadline and len(add_members(nobody)) > 0
    allowed = found.proposer in ctx.signers or is_over
    require(allowed, "UNAUTHORISED", needed=found.proposer, caller=ctx.sender, deadline=found.deadline)
    end(found, "withdrawn")
    emit("Withdrawn", number=number, contract=found.plan.contract)


@entry
def settle(number: int) -> None:
    """Note that the agreed proposal is in force. Called by the nodes."""
    found = take_agreed(number)
    end(found, "installed")
    plan = found.plan
    emit("Installed", number=number, contract=plan.contract, version=plan.version, source_hash=plan.source_hash)


@entry
def refuse(number: int, code: str, reasons: list[str]) -> None:
    """Note why the agreed proposal cannot be in force. Called by the nodes."""
    found = take_agreed(number)
    found.code = code
    found.reasons = reasons
    end(found, "refused")
    emit("Refused", number=number, contract=found.plan.contract, code=code, reasons=reasons)


def check_direct() -> None:
    # A contract could pass on signatures that were given for something else.
    require(not ctx.sender.startswith("contract:"), "UNAUTHORISED", needed="a direct call", caller=ctx.sender)


def check_plan(plan: Plan) -> None:
    require(is_contract_name(plan.contract), "CONTRACT_NAME", value=plan.contract, limit=NAME_MAX)
    size = plan.source_bytes
    require(1 <= size <= SOURCE_BYTES_MAX, "SOURCE_SIZE", value=size, limit=SOURCE_BYTES_MAX)
    replaced = len(plan.replaces)
    is_formed = len(plan.source_hash) == HASH_BYTES and replaced in [0, HASH_BYTES]
    require(is_formed, "HASH_FORM", value=len(plan.source_hash), replaces=replaced, limit=HASH_BYTES)
    versions = plan.language_version > 0 and plan.gas_table_version > 0
    require(versions, "VERSION_FORM", language=plan.language_version, gas_table=plan.gas_table_version)
    is_next = plan.version == 1 if replaced == 0 else plan.version > 1
    require(is_next, "VERSION_FORM", version=plan.version, replaces=replaced)
    size = len(plan.arguments)
    require(replaced == 0 or size == 0, "ARGUMENTS_UNUSED", contract=plan.contract, value=size)


def find_open(number: int) -> Proposal:
    require(number in proposals, "PROPOSAL_UNKNOWN", number=number, limit=proposal_count)
    found = proposals[number]
    require(found.status == "open", "PROPOSAL_ENDED", number=number, status=found.status)
    require(ctx.time <= found.deadline, "PROPOSAL_EXPIRED", number=number, deadline=found.deadline)
    return found


def count_parts(size: int) -> int:
    return (size + PART_BYTES - 1) // PART_BYTES


def add_members(approvals: list[str]) -> list[str]:
    """Return the approvals with those members that signed and are not among them."""
    fresh = [one for one in ctx.signers if one not in approvals and registry.exists(member=one)]
    return approvals + fresh


def conclude(found: Proposal) -> None:
    """Store a proposal, and agree it if its source is whole and enough members approved."""
    tally = registry.count_votes(signers=found.approvals)
    is_whole = found.parts == count_parts(found.plan.source_bytes)
    if is_whole and tally.votes * 3 > tally.members * 2:
        waiting = agreed_number
        require(waiting == 0, "AGREEMENT_PENDING", number=waiting)
        found.status = "agreed"
        agreed_number = found.number
        agreed_tx = ctx.tx_id
        emit("Agreed", number=found.number, contract=found.plan.contract, votes=tally.votes, members=tally.members)
    proposals[found.number] = found


def take_agreed(number: int) -> Proposal:
    require(ctx.sender == "", "UNAUTHORISED", needed="the nodes themselves", caller=ctx.sender)
    waiting = agreed_number
    require(number > 0 and number == waiting, "NOTHING_AGREED", number=number, agreed=waiting)
    agreed_number = 0
    agreed_tx = b""
    return proposals[number]


def end(found: Proposal, status: str) -> None:
    """Store what became of a proposal, and drop its source."""
    for index in range(found.parts):
        del parts[(found.number, index)]
    open_of[found.proposer] -= 1
    found.status = status
    found.height = ctx.height
    proposals[found.number] = found


def is_contract_name(name: str) -> bool:
    if not 1 <= len(name) <= NAME_MAX:
        return False
    if LETTERS.find(name[0]) < 0:
        return False
    for position in range(len(name)):
        if NAME_SIGNS.find(name[position]) < 0:
            return False
    return True
