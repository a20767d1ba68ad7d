"""Instruments: the register of who holds what.

What must always hold, for every instrument:

- the sum over all accounts of free + locked + pledged_out is minted - burned (I1);
- minted - burned never exceeds what the custodian confirmed as locked and has not released (I2);
- no balance is below zero or above QUANTITY_MAX (I3), and a quantity is free, locked or pledged, never two of
  these at once (I4);
- no account is debited without the signature of the member that owns it (I6). The exceptions are the contract
  that locked or took in pledge with that member's signature, and a transfer forced by the registrar with a reason;
- a frozen instrument or account neither sends nor receives, a forced transfer excepted (I18).

A pledge leaves title with the giver: the quantity counts as the giver's pledged_out, and the taker's pledged_in
is only a memorandum of its right. Quantities are integers in the smallest unit.

Contracts act for members only if named as operators when the register was set up: others could use a signature
for something that the signer never meant.

Refusals: UNAUTHORISED CALLER_FORBIDDEN ROLE_MISSING INSTRUMENT_UNKNOWN INSTRUMENT_EXISTS INSTRUMENT_INVALID
ISIN_INVALID LEI_INVALID ACCOUNT_INVALID ACCOUNT_UNKNOWN SAME_ACCOUNT QUANTITY_RANGE DENOMINATION
INSUFFICIENT_BALANCE INSTRUMENT_FROZEN ACCOUNT_FROZEN ALREADY_FROZEN NOT_FROZEN REASON_MISSING REFERENCE_INVALID
CONFIRMATION_EXISTS CONFIRMATION_UNKNOWN CONFIRMATION_EXCEEDED BURN_EXISTS BURN_UNKNOWN ENCUMBRANCE_EXCEEDED
LEG_COUNT LIMIT_RANGE
"""

QUANTITY_MAX = 1_000_000_000_000_000_000_000_000
DECIMALS_MAX = 18
LEGS_MAX = 16
PAGE_MAX = 100
TEXT_MAX = 140
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
INTERNAL_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-"
KINDS = " bond equity fund_share beneficiary_right deposit_token stablecoin basket "


@record
class Instrument:
    """What an instrument is. The id is an ISIN, or an internal id in lower case."""

    id: str
    name: str
    kind: str
    currency: str
    decimals: int
    denomination: int
    registrar: str
    custodian: str
    issuer_lei: str
    asset_class: str
    country: str
    rating: str
    maturity: int


@record
class Rules:
    """The part of an instrument that every movement reads."""

    denomination: int
    registrar: str
    frozen: bool


@record
class Position:
    """What an account has of one instrument."""

    free: int
    locked: int
    pledged_out: int
    pledged_in: int


@record
class Supply:
    """Running totals of an instrument: confirmed and released by the custodian, minted and burned here."""

    confirmed: int
    released: int
    minted: int
    burned: int


@record
class Leg:
    """One delivery: from the deliverer's account to the receiver's."""

    deliverer: str
    receiver: str
    instrument: str
    quantity: int


members: Contract["members"]

operators: list[str]
definitions: Map[str, Instrument]
rules: Map[str, Rules]
supplies: Map[str, Supply]
positions: Map[tuple[str, str], Position]
instruments_of: Index[str, str]
accounts_of: Index[str, str]
all_instruments: Index[str, str]

# (instrument, reference) -> quantity confirmed and not yet minted; burned and not yet released
confirmations: Map[tuple[str, str], int]
burns: Map[tuple[str, str], int]

# (registrar, account) -> reason. A registrar freezes an account for the instruments it keeps the register of.
freezes: Map[tuple[str, str], str]

# (contract, account, instrument) and (contract, giver, taker, instrument) -> quantity held by that contract
locks: Map[tuple[str, str, str], int]
pledges: Map[tuple[str, str, str, str], int]


@init
def setup(contracts: list[str]) -> None:
    operators = ["contract:" + name for name in contracts]


# -- what anyone may ask ------------------------------------------------------------------------------------


@view
def get_instrument(instrument: str) -> Instrument:
    """Return what the instrument is."""
    require(instrument in definitions, "INSTRUMENT_UNKNOWN", instrument=instrument)
    return definitions[instrument]


@view
def is_frozen(instrument: str) -> bool:
    """Tell whether all movements of the instrument are stopped."""
    return rules_of(instrument).frozen


@view
def frozen_because(account: str, instrument: str) -> str:
    """Return why the account is frozen for the instrument, empty if it is not."""
    return freezes.get((rules_of(instrument).registrar, account), "")


@view
def position(account: str, instrument: str) -> Position:
    """Return what the account has of the instrument, all zero if nothing."""
    return positions.get((account, instrument), Position(free=0, locked=0, pledged_out=0, pledged_in=0))


@view
def free(account: str, instrument: str) -> int:
    """Return what the account could deliver at once."""
    return position(account, instrument).free


@view
def supply(instrument: str) -> Supply:
    """Return the running totals of an instrument."""
    require(instrument in supplies, "INSTRUMENT_UNKNOWN", instrument=instrument)
    return supplies[instrument]


@view
def holdings(account: str, after: str, limit: int) -> list[str]:
    """Return the instruments the account has a position in, those after `after` in ascending order."""
    check_limit(limit)
    return instruments_of.page(account, after, limit)


@view
def holders(instrument: str, after: str, limit: int) -> list[str]:
    """Return the accounts with a position in the instrument, pledgees included, those after `after`."""
    check_limit(limit)
    return accounts_of.page(instrument, after, limit)


@view
def list_instruments(after: str, limit: int) -> list[str]:
    """Return the ids of all instruments, those after `after` in ascending order."""
    check_limit(limit)
    return all_instruments.page("", after, limit)


@view
def held_by_contract(contract: str, account: str, instrument: str) -> int:
    """Return what a contract has locked in the account."""
    return locks.get(("contract:" + contract, account, instrument), 0)


# -- the life of an instrument ------------------------------------------------------------------------------


@entry
def define(instrument: Instrument) -> None:
    """Enter a new instrument. Signed by its registrar; for tokens of money by a member that may issue money."""
    check_caller()
    check_signed(instrument.registrar, "registrar")
    role = "registrar"
    if is_money(instrument.kind):
        role = "cash_issuer"
    check_holds_role(instrument.registrar, role)
    check_holds_role(instrument.custodian, "custodian")
    require(instrument.id not in definitions, "INSTRUMENT_EXISTS", instrument=instrument.id)
    check_definition(instrument)
    definitions[instrument.id] = instrument
    rules[instrument.id] = Rules(
        denomination=instrument.denomination, registrar=instrument.registrar, frozen=False
    )
    supplies[instrument.id] = Supply(confirmed=0, released=0, minted=0, burned=0)
    all_instruments.add("", instrument.id)
    emit("Defined", instrument=instrument.id, kind=instrument.kind, registrar=instrument.registrar)


@entry
def confirm_lock(instrument: str, reference: str, quantity: int) -> None:
    """Confirm that the underlying of a quantity is locked. Signed by the custodian; each reference once."""
    check_caller()
    check_custodian(instrument)
    check_quantity(quantity, rules_of(instrument).denomination, 0)
    check_reference(reference)
    used = (instrument, reference) in confirmations
    require(not used, "CONFIRMATION_EXISTS", instrument=instrument, reference=reference)
    totals = supplies[instrument]
    limit = QUANTITY_MAX - totals.confirmed
    require(quantity <= limit, "QUANTITY_RANGE", leg=0, value=quantity, limit=limit)
    totals.confirmed += quantity
    supplies[instrument] = totals
    confirmations[(instrument, reference)] = quantity
    emit("LockConfirmed", instrument=instrument, reference=reference, quantity=quantity)


@entry
def mint(instrument: str, account: str, quantity: int, reference: str) -> None:
    """Issue units against what the custodian confirmed under the reference. Signed by the registrar."""
    check_caller()
    terms = rules_of(instrument)
    check_signed(terms.registrar, "registrar")
    check_quantity(quantity, terms.denomination, 0)
    check_moving(terms, instrument, account, 0)
    key = (instrument, reference)
    require(key in confirmations, "CONFIRMATION_UNKNOWN", instrument=instrument, reference=reference)
    available = confirmations[key]
    require(
        quantity <= available, "CONFIRMATION_EXCEEDED", reference=reference, needed=quantity, available=available
    )
    # A used-up confirmation stays at zero, so that its reference is never accepted again (I9).
    confirmations[key] = available - quantity
    totals = supplies[instrument]
    totals.minted += quantity
    supplies[instrument] = totals
    credit(account, instrument, quantity)
    emit("Minted", instrument=instrument, account=account, quantity=quantity, reference=reference)


@entry
def burn(instrument: str, account: str, quantity: int, reference: str) -> None:
    """Redeem units. Signed by the holder and the registrar; the custodian then releases the underlying."""
    check_caller()
    terms = rules_of(instrument)
    check_signed(terms.registrar, "registrar")
    check_signed(owner_of(account), "holder")
    check_quantity(quantity, terms.denomination, 0)
    check_moving(terms, instrument, account, 0)
    check_reference(reference)
    key = (instrument, reference)
    require(key not in burns, "BURN_EXISTS", instrument=instrument, reference=reference)
    burns[key] = quantity
    debit(account, instrument, quantity, 0)
    totals = supplies[instrument]
    totals.burned += quantity
    supplies[instrument] = totals
    emit("Burned", instrument=instrument, account=account, quantity=quantity, reference=reference)


@entry
def confirm_release(instrument: str, reference: str) -> None:
    """Confirm that the underlying of a burn has been released. Signed by the custodian, once for each burn."""
    check_caller()
    check_custodian(instrument)
    key = (instrument, reference)
    quantity = burns.get(key, 0)
    require(quantity > 0, "BURN_UNKNOWN", instrument=instrument, reference=reference)
    burns[key] = 0
    totals = supplies[instrument]
    totals.released += quantity
    supplies[instrument] = totals
    emit("Released", instrument=instrument, reference=reference, quantity=quantity)


@entry
def freeze_instrument(instrument: str, reason: str) -> None:
    """Stop every movement of an instrument. Signed by its registrar."""
    set_frozen(instrument, True, reason)
    emit("InstrumentFrozen", instrument=instrument, reason=reason)


@entry
def unfreeze_instrument(instrument: str, reason: str) -> None:
    """Let an instrument move again. Signed by its registrar."""
    set_frozen(instrument, False, reason)
    emit("InstrumentUnfrozen", instrument=instrument, reason=reason)


@entry
def freeze_account(registrar: str, account: str, reason: str) -> None:
    """Stop an account in all instruments of a registrar. Signed by that registrar."""
    check_account_control(registrar, account, reason)
    key = (registrar, account)
    require(key not in freezes, "ALREADY_FROZEN", account=account, registrar=registrar)
    freezes[key] = reason
    emit("AccountFrozen", account=account, registrar=registrar, reason=reason)


@entry
def unfreeze_account(registrar: str, account: str, reason: str) -> None:
    """Let an account move again in all instruments of a registrar. Signed by that registrar."""
    check_account_control(registrar, account, reason)
    key = (registrar, account)
    require(key in freezes, "NOT_FROZEN", account=account, registrar=registrar)
    del freezes[key]
    emit("AccountUnfrozen", account=account, registrar=registrar, reason=reason)


# -- movements ----------------------------------------------------------------------------------------------


@entry
def transfer(deliverer: str, receiver: str, instrument: str, quantity: int) -> None:
    """Deliver free of payment. Signed by the member that owns the deliverer's account."""
    check_caller()
    deliver(deliverer, receiver, instrument, quantity, 0)


@entry
def settle(legs: list[Leg]) -> None:
    """Make all deliveries in the order given, or none. Signed by the owner of every delivering account."""
    check_caller()
    count = len(legs)
    require(1 <= count <= LEGS_MAX, "LEG_COUNT", value=count, limit=LEGS_MAX)
    number = 0
    for leg in legs:
        deliver(leg.deliverer, leg.receiver, leg.instrument, leg.quantity, number)
        number += 1


@entry
def force_transfer(deliverer: str, receiver: str, instrument: str, quantity: int, reason: str) -> None:
    """Move units by order of the registrar, frozen or not. What is locked or pledged is out of its reach."""
    check_caller()
    terms = rules_of(instrument)
    check_signed(terms.registrar, "registrar")
    check_reason(reason)
    check_quantity(quantity, terms.denomination, 0)
    require(deliverer != receiver, "SAME_ACCOUNT", leg=0, account=deliverer)
    debit(deliverer, instrument, quantity, 0)
    credit(receiver, instrument, quantity)
    emit(
        "ForcedTransfer",
        deliverer=deliverer,
        receiver=receiver,
        instrument=instrument,
        quantity=quantity,
        registrar=terms.registrar,
        reason=reason,
    )


# -- locks, for a contract that will settle -----------------------------------------------------------------


@entry
def lock(account: str, instrument: str, quantity: int, leg: int) -> None:
    """Set units aside for the calling contract. Signed by the owner; `leg` only names the place in a refusal."""
    check_contract()
    terms = rules_of(instrument)
    check_deliverer(account, leg)
    check_quantity(quantity, terms.denomination, leg)
    check_moving(terms, instrument, account, leg)
    place = position(account, instrument)
    check_available(place, account, instrument, quantity, leg)
    place.free -= quantity
    place.locked += quantity
    positions[(account, instrument)] = place
    key = (ctx.sender, account, instrument)
    locks[key] = locks.get(key, 0) + quantity
    emit("Locked", account=account, instrument=instrument, quantity=quantity, holder=ctx.sender)


@entry
def unlock(account: str, instrument: str, quantity: int) -> None:
    """Give locked units back. Only for the contract that locked them; possible while frozen, nothing moves."""
    check_contract()
    take_lock(account, instrument, quantity)
    place = position(account, instrument)
    place.locked -= quantity
    place.free += quantity
    positions[(account, instrument)] = place
    emit("Unlocked", account=account, instrument=instrument, quantity=quantity, holder=ctx.sender)


@entry
def move_locked(deliverer: str, receiver: str, instrument: str, quantity: int, leg: int) -> None:
    """Deliver locked units. Only for the contract that locked them."""
    check_contract()
    terms = rules_of(instrument)
    require(deliverer != receiver, "SAME_ACCOUNT", leg=leg, account=deliverer)
    check_moving(terms, instrument, deliverer, leg)
    check_moving(terms, instrument, receiver, leg)
    take_lock(deliverer, instrument, quantity)
    place = position(deliverer, instrument)
    place.locked -= quantity
    keep(deliverer, instrument, place)
    credit(receiver, instrument, quantity)
    emit("Transferred", deliverer=deliverer, receiver=receiver, instrument=instrument, quantity=quantity)


# -- pledges, for a contract that keeps collateral ----------------------------------------------------------


@entry
def pledge(giver: str, taker: str, instrument: str, quantity: int) -> None:
    """Encumber units in favour of the taker. Signed by the giver's owner; title stays with the giver."""
    check_contract()
    terms = rules_of(instrument)
    require(giver != taker, "SAME_ACCOUNT", leg=0, account=giver)
    check_deliverer(giver, 0)
    check_quantity(quantity, terms.denomination, 0)
    check_moving(terms, instrument, giver, 0)
    check_moving(terms, instrument, taker, 0)
    given = position(giver, instrument)
    check_available(given, giver, instrument, quantity, 0)
    given.free -= quantity
    given.pledged_out += quantity
    positions[(giver, instrument)] = given
    taken = open_position(taker, instrument)
    taken.pledged_in += quantity
    positions[(taker, instrument)] = taken
    key = (ctx.sender, giver, taker, instrument)
    pledges[key] = pledges.get(key, 0) + quantity
    emit("Pledged", giver=giver, taker=taker, instrument=instrument, quantity=quantity, holder=ctx.sender)


@entry
def release(giver: str, taker: str, instrument: str, quantity: int) -> None:
    """Free pledged units for their giver. Only for the contract that took the pledge."""
    check_contract()
    terms = rules_of(instrument)
    check_moving(terms, instrument, giver, 0)
    check_moving(terms, instrument, taker, 0)
    take_pledge(giver, taker, instrument, quantity)
    given = position(giver, instrument)
    given.pledged_out -= quantity
    given.free += quantity
    positions[(giver, instrument)] = given
    emit("PledgeReleased", giver=giver, taker=taker, instrument=instrument, quantity=quantity, holder=ctx.sender)


@entry
def move_pledged(giver: str, taker: str, receiver: str, instrument: str, quantity: int) -> None:
    """Realise a pledge: title passes to the receiver. Only for the contract that took the pledge."""
    check_contract()
    terms = rules_of(instrument)
    require(giver != receiver, "SAME_ACCOUNT", leg=0, account=giver)
    check_moving(terms, instrument, giver, 0)
    check_moving(terms, instrument, receiver, 0)
    take_pledge(giver, taker, instrument, quantity)
    given = position(giver, instrument)
    given.pledged_out -= quantity
    keep(giver, instrument, given)
    credit(receiver, instrument, quantity)
    emit("PledgeRealised", giver=giver, taker=taker, receiver=receiver, instrument=instrument, quantity=quantity)


# -- balances -----------------------------------------------------------------------------------------------


def deliver(deliverer: str, receiver: str, instrument: str, quantity: int, leg: int) -> None:
    terms = rules_of(instrument)
    require(deliverer != receiver, "SAME_ACCOUNT", leg=leg, account=deliverer)
    check_deliverer(deliverer, leg)
    check_quantity(quantity, terms.denomination, leg)
    check_moving(terms, instrument, deliverer, leg)
    check_moving(terms, instrument, receiver, leg)
    debit(deliverer, instrument, quantity, leg)
    credit(receiver, instrument, quantity)
    emit("Transferred", deliverer=deliverer, receiver=receiver, instrument=instrument, quantity=quantity)


def debit(account: str, instrument: str, quantity: int, leg: int) -> None:
    place = position(account, instrument)
    check_available(place, account, instrument, quantity, leg)
    place.free -= quantity
    keep(account, instrument, place)


def credit(account: str, instrument: str, quantity: int) -> None:
    place = open_position(account, instrument)
    place.free += quantity
    positions[(account, instrument)] = place


def open_position(account: str, instrument: str) -> Position:
    # An empty position is never stored: finding one means that this account is new to the instrument.
    place = position(account, instrument)
    if is_empty(place):
        check_account(account)
        instruments_of.add(account, instrument)
        accounts_of.add(instrument, account)
    return place


def keep(account: str, instrument: str, place: Position) -> None:
    if is_empty(place):
        del positions[(account, instrument)]
        instruments_of.remove(account, instrument)
        accounts_of.remove(instrument, account)
    else:
        positions[(account, instrument)] = place


def is_empty(place: Position) -> bool:
    return place.free == 0 and place.locked == 0 and place.pledged_out == 0 and place.pledged_in == 0


def take_lock(account: str, instrument: str, quantity: int) -> None:
    key = (ctx.sender, account, instrument)
    held = locks.get(key, 0)
    enough = 0 < quantity <= held
    require(enough, "ENCUMBRANCE_EXCEEDED", account=account, instrument=instrument, needed=quantity, available=held)
    if quantity == held:
        del locks[key]
    else:
        locks[key] = held - quantity


def take_pledge(giver: str, taker: str, instrument: str, quantity: int) -> None:
    key = (ctx.sender, giver, taker, instrument)
    held = pledges.get(key, 0)
    enough = 0 < quantity <= held
    require(enough, "ENCUMBRANCE_EXCEEDED", account=giver, instrument=instrument, needed=quantity, available=held)
    if quantity == held:
        del pledges[key]
    else:
        pledges[key] = held - quantity
    taken = position(taker, instrument)
    taken.pledged_in -= quantity
    keep(taker, instrument, taken)


def set_frozen(instrument: str, frozen: bool, reason: str) -> None:
    check_caller()
    terms = rules_of(instrument)
    check_signed(terms.registrar, "registrar")
    check_reason(reason)
    if frozen:
        require(not terms.frozen, "ALREADY_FROZEN", instrument=instrument)
    else:
        require(terms.frozen, "NOT_FROZEN", instrument=instrument)
    terms.frozen = frozen
    rules[instrument] = terms


# -- who may --------------------------------------------------------------------------------------------------


def check_caller() -> None:
    if ctx.sender.startswith("contract:"):
        require(ctx.sender in operators, "CALLER_FORBIDDEN", caller=ctx.sender)


def check_contract() -> None:
    require(ctx.sender in operators, "CALLER_FORBIDDEN", caller=ctx.sender)


def check_signed(member: str, role: str) -> None:
    require(member in ctx.signers, "UNAUTHORISED", needed=role, member=member)


def check_deliverer(account: str, leg: int) -> None:
    member = owner_of(account)
    require(member in ctx.signers, "UNAUTHORISED", leg=leg, account=account, needed="holder", member=member)


def check_custodian(instrument: str) -> None:
    require(instrument in definitions, "INSTRUMENT_UNKNOWN", instrument=instrument)
    check_signed(definitions[instrument].custodian, "custodian")


def check_holds_role(member: str, role: str) -> None:
    require(members.has_role(member=member, role=role), "ROLE_MISSING", member=member, role=role)


def check_account_control(registrar: str, account: str, reason: str) -> None:
    check_caller()
    check_signed(registrar, "registrar")
    held = members.has_role(member=registrar, role="registrar") or members.has_role(
        member=registrar, role="cash_issuer"
    )
    require(held, "ROLE_MISSING", member=registrar, role="registrar")
    check_account(account)
    check_reason(reason)


# -- what is well-formed --------------------------------------------------------------------------------------


def rules_of(instrument: str) -> Rules:
    terms = rules.get(instrument, Rules(denomination=0, registrar="", frozen=False))
    require(terms.denomination > 0, "INSTRUMENT_UNKNOWN", instrument=instrument)
    return terms


def check_moving(terms: Rules, instrument: str, account: str, leg: int) -> None:
    require(not terms.frozen, "INSTRUMENT_FROZEN", leg=leg, instrument=instrument)
    key = (terms.registrar, account)
    require(key not in freezes, "ACCOUNT_FROZEN", leg=leg, account=account, registrar=terms.registrar)


def check_available(place: Position, account: str, instrument: str, quantity: int, leg: int) -> None:
    require(
        place.free >= quantity,
        "INSUFFICIENT_BALANCE",
        leg=leg,
        account=account,
        instrument=instrument,
        needed=quantity,
        available=place.free,
    )


def check_quantity(quantity: int, denomination: int, leg: int) -> None:
    require(0 < quantity <= QUANTITY_MAX, "QUANTITY_RANGE", leg=leg, value=quantity, limit=QUANTITY_MAX)
    require(quantity % denomination == 0, "DENOMINATION", leg=leg, value=quantity, limit=denomination)


def check_limit(limit: int) -> None:
    require(1 <= limit <= PAGE_MAX, "LIMIT_RANGE", value=limit, limit=PAGE_MAX)


def check_reason(reason: str) -> None:
    require(0 < len(reason) <= TEXT_MAX, "REASON_MISSING", value=len(reason), limit=TEXT_MAX)


def check_reference(reference: str) -> None:
    require(0 < len(reference) <= TEXT_MAX, "REFERENCE_INVALID", value=len(reference), limit=TEXT_MAX)


def owner_of(account: str) -> str:
    cut = account.find("/")
    if cut < 0:
        return account
    return account[:cut]


def check_account(account: str) -> None:
    member = owner_of(account)
    require(members.exists(member=member), "ACCOUNT_UNKNOWN", account=account, member=member)
    if member != account:
        part = account[len(member) + 1 :]
        good = 0 < len(part) <= 40 and is_made_of(part, INTERNAL_ALPHABET)
        require(good, "ACCOUNT_INVALID", account=account, limit="member, or member/sub-account in a-z 0-9 -")


def check_definition(instrument: Instrument) -> None:
    check_id(instrument.id)
    if instrument.issuer_lei != "":
        require(is_lei(instrument.issuer_lei), "LEI_INVALID", value=instrument.issuer_lei, limit="ISO 17442")
    known = instrument.kind.find(" ") < 0 and KINDS.find(" " + instrument.kind + " ") >= 0
    require(known, "INSTRUMENT_INVALID", field="kind", value=instrument.kind, limit=KINDS)
    code = instrument.currency
    good = len(code) == 3 and is_made_of(code, ALPHABET[10:])
    require(good, "INSTRUMENT_INVALID", field="currency", value=code, limit="three capital letters")
    check_number("decimals", instrument.decimals, 0, DECIMALS_MAX)
    check_number("denomination", instrument.denomination, 1, QUANTITY_MAX)
    if instrument.maturity != 0:
        check_number("maturity", instrument.maturity, 19000101, 99991231)
        check_number("maturity", instrument.maturity // 100 % 100, 1, 12)
        check_number("maturity", instrument.maturity % 100, 1, 31)
    for text in [instrument.name, instrument.asset_class]:
        named = 0 < len(text) <= TEXT_MAX
        require(named, "INSTRUMENT_INVALID", field="name or asset_class", value=text, limit="1 to 140 characters")


def check_number(field: str, value: int, least: int, most: int) -> None:
    require(least <= value <= most, "INSTRUMENT_INVALID", field=field, value=str(value), limit=str(most))


def check_id(id: str) -> None:
    size = len(id)
    if size > 0 and ALPHABET.find(id[:1]) >= 10:
        require(is_isin(id), "ISIN_INVALID", value=id, limit="ISO 6166 with its check digit")
    else:
        good = 3 <= size <= 40 and is_made_of(id, INTERNAL_ALPHABET)
        require(good, "INSTRUMENT_INVALID", field="id", value=id, limit="an ISIN, or 3 to 40 of a-z 0-9 -")


def is_money(kind: str) -> bool:
    return kind == "deposit_token" or kind == "stablecoin"


def is_made_of(text: str, alphabet: str) -> bool:
    for letter in text:
        if alphabet.find(letter) < 0:
            return False
    return True


@view
def is_isin(id: str) -> bool:
    """Check the form and the check digit of ISO 6166: letters become two digits, then Luhn."""
    if len(id) != 12 or not is_made_of(id, ALPHABET):
        return False
    if ALPHABET.find(id[0:1]) < 10 or ALPHABET.find(id[1:2]) < 10 or ALPHABET.find(id[11:]) >= 10:
        return False
    digits = ""
    for letter in id:
        digits += str(ALPHABET.find(letter))
    total = 0
    size = len(digits)
    for place in range(size):
        digit = int(digits[size - 1 - place : size - place])
        if place % 2 == 1:
            digit *= 2
        total += digit // 10 + digit % 10
    return total % 10 == 0


@view
def is_lei(lei: str) -> bool:
    """Check the form and the check digits of ISO 17442: letters become two digits, then modulo 97."""
    if len(lei) != 20 or not is_made_of(lei, ALPHABET):
        return False
    remainder = 0
    for letter in lei:
        digit = ALPHABET.find(letter)
        if digit >= 10:
            remainder = (remainder * 100 + digit) % 97
        else:
            remainder = (remainder * 10 + digit) % 97
    return remainder == 1
