"""Settlement: several deliveries that happen together or not at all.

Two ways in. `swap` settles in one transaction that every delivering party signed. `propose` puts the legs on the
table; each delivering party then affirms, which locks what it is to deliver; the last affirmation settles. Until
then any party may cancel, and after the expiry anyone may clear the proposal away: silence approves nothing (I22).

The legs settle in the order given, each in full (BIS model 1). A refusal names the leg, counted from 0, and leaves
every balance as it was (I5). Who may debit an account is checked by the register of instruments (I6).

Refusals: LEG_COUNT UNAUTHORISED NOT_A_PARTY PROPOSAL_UNKNOWN PROPOSAL_CLOSED ALREADY_AFFIRMED EXPIRED
EXPIRY_RANGE NOT_EXPIRED LIMIT_RANGE, and those of the register
"""

LEGS_MIN = 2
LEGS_MAX = 16
EXPIRY_AHEAD_MAX_MS = 31_536_000_000
PAGE_MAX = 100

OPEN = "open"
SETTLED = "settled"
CANCELLED = "cancelled"
EXPIRED = "expired"

register: Contract["instruments"]


@record
class Proposal:
    """Legs on the table. `parties` own the delivering accounts and must all affirm before `expiry` (ms)."""

    legs: list[register.Leg]
    parties: list[str]
    affirmed: list[str]
    expiry: int
    status: str


proposals: Map[int, Proposal]
proposal_count: int
open_of: Index[str, int]


@init
def setup() -> None:
    proposal_count = 0


@entry
def swap(legs: list[register.Leg]) -> None:
    """Settle all legs now. Signed by the owner of every delivering account."""
    check_direct()
    check_count(legs)
    register.settle(legs=legs)
    emit("Swapped", legs=len(legs))


@entry
def propose(legs: list[register.Leg], expiry: int) -> int:
    """Put legs on the table until `expiry` (block time, ms) and return the proposal's number. Affirms nothing."""
    check_direct()
    check_count(legs)
    ahead = 0 < expiry - ctx.time <= EXPIRY_AHEAD_MAX_MS
    require(ahead, "EXPIRY_RANGE", value=expiry, now=ctx.time, limit=ctx.time + EXPIRY_AHEAD_MAX_MS)
    parties: list[str] = []
    receivers: list[str] = []
    for leg in legs:
        member = owner_of(leg.deliverer)
        if member not in parties:
            parties.append(member)
        receivers.append(owner_of(leg.receiver))
    require(has_signed(parties) or has_signed(receivers), "NOT_A_PARTY")
    proposal_count += 1
    number = proposal_count
    proposals[number] = Proposal(legs=legs, parties=sorted(parties), affirmed=[], expiry=expiry, status=OPEN)
    for member in parties:
        open_of.add(member, number)
    emit("Proposed", proposal=number, legs=len(legs), expiry=expiry)
    return number


@entry
def affirm(proposal: int) -> str:
    """Affirm for every signing party and lock what it delivers. The last affirmation settles. Returns the status."""
    check_direct()
    terms = open_proposal(proposal)
    require(ctx.time < terms.expiry, "EXPIRED", proposal=proposal, expiry=terms.expiry, now=ctx.time)
    require(has_signed(terms.parties), "NOT_A_PARTY", proposal=proposal)
    joining = [member for member in terms.parties if member in ctx.signers]
    joining = [member for member in joining if member not in terms.affirmed]
    require(len(joining) > 0, "ALREADY_AFFIRMED", proposal=proposal)
    number = 0
    for leg in terms.legs:
        if owner_of(leg.deliverer) in joining:
            register.lock(account=leg.deliverer, instrument=leg.instrument, quantity=leg.quantity, leg=number)
        number += 1
    for member in joining:
        terms.affirmed.append(member)
        emit("Affirmed", proposal=proposal, party=member)
    if len(terms.affirmed) == len(terms.parties):
        settle(terms.legs)
        close(proposal, terms, SETTLED)
    else:
        proposals[proposal] = terms
    return terms.status


@entry
def cancel(proposal: int) -> None:
    """Withdraw a proposal before its last affirmation. Signed by any party of it."""
    check_direct()
    terms = open_proposal(proposal)
    receivers = [owner_of(leg.receiver) for leg in terms.legs]
    require(has_signed(terms.parties) or has_signed(receivers), "NOT_A_PARTY", proposal=proposal)
    unlock(terms)
    close(proposal, terms, CANCELLED)


@entry
def expire(proposal: int) -> None:
    """Clear a proposal away once its time has passed. Anyone may: it only gives back what was locked."""
    terms = open_proposal(proposal)
    require(ctx.time >= terms.expiry, "NOT_EXPIRED", proposal=proposal, expiry=terms.expiry, now=ctx.time)
    unlock(terms)
    close(proposal, terms, EXPIRED)


@view
def get_proposal(proposal: int) -> Proposal:
    """Return a proposal, open or closed."""
    require(proposal in proposals, "PROPOSAL_UNKNOWN", proposal=proposal)
    return proposals[proposal]


@view
def open_proposals(party: str, after: int, limit: int) -> list[int]:
    """Return the numbers of the open proposals in which the member delivers, those above `after`."""
    require(1 <= limit <= PAGE_MAX, "LIMIT_RANGE", value=limit, limit=PAGE_MAX)
    return open_of.page(party, after, limit)


def check_count(legs: list[register.Leg]) -> None:
    count = len(legs)
    require(LEGS_MIN <= count <= LEGS_MAX, "LEG_COUNT", value=count, limit=LEGS_MAX)


def check_direct() -> None:
    # Signatures reach every contract of a transaction; only the member's own call may spend them here.
    require(not ctx.sender.startswith("contract:"), "UNAUTHORISED", needed="a direct call", caller=ctx.sender)


def open_proposal(number: int) -> Proposal:
    require(number in proposals, "PROPOSAL_UNKNOWN", proposal=number)
    terms = proposals[number]
    require(terms.status == OPEN, "PROPOSAL_CLOSED", proposal=number, status=terms.status)
    return terms


def settle(legs: list[register.Leg]) -> None:
    number = 0
    for leg in legs:
        register.move_locked(
            deliverer=leg.deliverer,
            receiver=leg.receiver,
            instrument=leg.instrument,
            quantity=leg.quantity,
            leg=number,
        )
        number += 1


def unlock(terms: Proposal) -> None:
    for leg in terms.legs:
        if owner_of(leg.deliverer) in terms.affirmed:
            register.unlock(account=leg.deliverer, instrument=leg.instrument, quantity=leg.quantity)


def close(number: int, terms: Proposal, status: str) -> None:
    terms.status = status
    proposals[number] = terms
    for member in terms.parties:
        open_of.remove(member, number)
    emit("ProposalClosed", proposal=number, status=status)


def has_signed(some: list[str]) -> bool:
    for member in some:
        if member in ctx.signers:
            return True
    return False


def owner_of(account: str) -> str:
    cut = account.find("/")
    if cut < 0:
        return account
    return account[:cut]
