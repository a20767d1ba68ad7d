"""Collateral: credit support agreements, margin, and what is pledged under them.

Under an agreement each party may owe collateral to the other. With E the secured party's exposure, IA the
independent amounts, TH the pledgor's threshold, all in the smallest unit of the base currency:

    required  = max(0, E + IA(pledgor) - IA(secured) - TH(pledgor)), zero if the threshold is infinite
    value     = quantity * price * exchange rate * (1 - haircut - haircut for currency mismatch - additional haircut)
    posted    = sum of values + undelivered earlier deliveries - undelivered earlier returns - disputed
    delivery  = max(0, required - posted)      return = max(0, posted - required)

Haircuts add. A delivery or return is due if it reaches the minimum transfer amount of the party that makes it,
compared before rounding; then a delivery is rounded up and a return down to the agreement's multiple (I15). Nothing
else is rounded: values are kept in units of 1 / EXACT.

A price is an integer in units of 1 / SCALE: smallest units of currency for one smallest unit of the instrument. An
exchange rate is the price of the subject "EUR/USD": smallest units of the second for one smallest unit of the first.
What is used is the median of the fresh prices. Deposit tokens are worth their face.

An item that is not eligible, or no longer, counts as zero (I12). Concentration limits are on value after haircut, the
boundary is allowed, and what exceeds a limit counts as zero (I13); a share is of the requirement or of all that is
posted, whichever is more. A release or return leaves at least what is required (I11). A substitution never lowers the
value posted (I10).

Refusals: UNAUTHORISED ROLE_MISSING AGREEMENT_EXISTS AGREEMENT_UNKNOWN AGREEMENT_INVALID NOT_A_PARTY AMOUNT_RANGE
PRICE_RANGE PRICE_COUNT SOURCES_FULL PRICE_MISSING INELIGIBLE CONCENTRATION QUANTITY_RANGE NOT_POSTED POSTED_FULL
ITEM_COUNT UNDERCOLLATERALISED RETURN_EXCEEDED COVERAGE_GAP LIMIT_RANGE, and those of the register
"""

BPS = 10_000
SCALE = 1_000_000_000_000
EXACT = SCALE * SCALE * BPS
AMOUNT_MAX = 1_000_000_000_000_000_000_000_000
PRICE_MAX = 1_000_000_000_000_000_000_000
PRICES_MAX = 64
SOURCES_MAX = 16
LINES_MAX = 32
LIMITS_MAX = 8
POSTED_MAX = 32
ITEMS_MAX = 8
YEARS_MAX = 100
TEXT_MAX = 140
PAGE_MAX = 100
DAY_MS = 86_400_000
YEAR = 10_000
RATINGS = " AAA AA+ AA AA- A+ A A- BBB+ BBB BBB- BB+ BB BB- B+ B B- CCC+ CCC CCC- CC C D "
UNRATED = 1_000
SCOPES = " instrument issuer asset_class currency country "

members: Contract["members"]
register: Contract["instruments"]


@record
class Party:
    """One side of an agreement. With `infinite_threshold` it owes no collateral whatever the exposure."""

    member: str
    account: str
    lei: str
    threshold: int
    infinite_threshold: bool
    minimum_transfer: int
    independent_amount: int


@record
class Line:
    """One line of the eligible schedule; the first that fits an instrument decides its haircut.

    Empty text fits everything. Remaining maturity is over `years_over` and up to `years_up_to` years, 0 for no bound.
    """

    asset_class: str
    currency: str
    country: str
    rating_worst: str
    years_over: int
    years_up_to: int
    haircut_bps: int
    additional_bps: int


@record
class Limit:
    """A concentration limit for each group of a scope, or only for the group `key`, counting items of one asset class
    or, if that is empty, of all; 0 for no amount or no share."""

    scope: str
    key: str
    asset_class: str
    amount: int
    share_bps: int


@record
class Agreement:
    """A credit support agreement. The parties sign it together."""

    id: str
    first: Party
    second: Party
    agent: str
    governing_law: str
    document: str
    base_currency: str
    delivery_multiple: int
    return_multiple: int
    fx_haircut_bps: int
    substitution_needs_consent: bool
    price_age_max_ms: int
    price_sources_min: int
    lines: list[Line]
    limits: list[Limit]


@record
class Item:
    """A quantity of an instrument."""

    instrument: str
    quantity: int


@record
class Side:
    """What one party has pledged under an agreement, and what is still to be delivered or returned."""

    items: list[Item]
    exposure: int
    called_at: int
    due_delivery: int
    due_return: int


@record
class Margin:
    """The result of a margin calculation, in the smallest unit of the base currency; `posted` is rounded down."""

    required: int
    posted: int
    delivery: int
    return_amount: int


@record
class Appraisal:
    """The worth of an item in units of 1 / EXACT, or the rule that makes it ineligible, its value and the limit."""

    instrument: str
    issuer: str
    asset_class: str
    currency: str
    country: str
    worth: int
    rule: str
    value: str
    limit: str


@record
class Valued:
    """An item as a person reads it: value after haircut, what of it counts, and the rule it breaks, if any."""

    instrument: str
    quantity: int
    value: int
    counted: int
    rule: str


@record
class Price:
    """A price to publish."""

    subject: str
    value: int


@record
class Quote:
    """A published price of one source."""

    source: str
    value: int
    time: int


agreements: Map[str, Agreement]
agreements_of: Index[str, str]
sides: Map[tuple[str, str], Side]
quotes: Map[str, list[Quote]]


# -- what anyone may ask --------------------------------------------------------------------------------------


@view
def get_agreement(agreement: str) -> Agreement:
    """Return the terms of an agreement."""
    return terms_of(agreement)


@view
def list_agreements(party: str, after: str, limit: int) -> list[str]:
    """Return the ids of a member's agreements, those after `after` in ascending order."""
    require(1 <= limit <= PAGE_MAX, "LIMIT_RANGE", value=limit, limit=PAGE_MAX)
    return agreements_of.page(party, after, limit)


@view
def get_side(agreement: str, pledgor: str) -> Side:
    """Return what the party has pledged, and the state of its margin call."""
    giver = party_of(terms_of(agreement), pledgor)
    return side_of(agreement, giver.member)


@view
def posted(agreement: str, pledgor: str) -> list[Valued]:
    """Return every pledged item with its value now."""
    terms = terms_of(agreement)
    side = side_of(agreement, pledgor)
    appraisals = appraise_all(terms, pledgor, side.items)
    counted = count(terms, appraisals, required_of(terms, pledgor, side.exposure))
    result: list[Valued] = []
    for place in range(len(appraisals)):
        one = appraisals[place]
        quantity = side.items[place].quantity
        result.append(
            Valued(
                instrument=one.instrument,
                quantity=quantity,
                value=one.worth // EXACT,
                counted=counted[place] // EXACT,
                rule=one.rule,
            )
        )
    return result


@view
def margin(
    agreement: str, pledgor: str, exposure: int, undelivered: int, unreturned: int, disputed: int
) -> Margin:
    """Return what a call for this exposure would come to, with what is under way and disputed as given."""
    for amount in [exposure, undelivered, unreturned, disputed]:
        check_amount(amount)
    terms = terms_of(agreement)
    side = side_of(agreement, pledgor)
    worth = worth_of(terms, pledgor, side.items, exposure)
    return margin_for(terms, pledgor, exposure, worth + (undelivered - unreturned - disputed) * EXACT)


@view
def appraise(agreement: str, pledgor: str, instrument: str, quantity: int) -> Appraisal:
    """Return what an item would be worth as collateral, or why it is not eligible."""
    require(0 < quantity <= AMOUNT_MAX, "QUANTITY_RANGE", value=quantity, limit=AMOUNT_MAX)
    return appraise_item(terms_of(agreement), pledgor, instrument, quantity)


@view
def price(subject: str, age_max_ms: int, sources_min: int) -> int:
    """Return the median of the prices not older than `age_max_ms`, in units of 1 / SCALE."""
    return median_price(subject, age_max_ms, sources_min)


@view
def rounded(value: int, multiple: int, direction: str) -> int:
    """Round a value to a multiple: "UP" away from zero, "DOWN" towards zero."""
    require(multiple > 0, "AMOUNT_RANGE", value=multiple, limit=AMOUNT_MAX)
    require(direction == "UP" or direction == "DOWN", "AGREEMENT_INVALID", field="direction", value=direction)
    size = round_to(abs(value), multiple, direction == "UP")
    return size if value >= 0 else -size


# -- agreements and prices ------------------------------------------------------------------------------------


@entry
def agree(agreement: Agreement) -> None:
    """Conclude an agreement. Signed by both parties."""
    check_direct()
    for member in [agreement.first.member, agreement.second.member]:
        require(member in ctx.signers, "UNAUTHORISED", needed="both parties", member=member)
    require(agreement.id not in agreements, "AGREEMENT_EXISTS", agreement=agreement.id)
    check_agreement(agreement)
    agreements[agreement.id] = agreement
    agreements_of.add(agreement.first.member, agreement.id)
    agreements_of.add(agreement.second.member, agreement.id)
    emit("Agreed", agreement=agreement.id, first=agreement.first.member, second=agreement.second.member)


@entry
def publish(source: str, prices: list[Price]) -> None:
    """Publish prices, each in place of the source's last one. Signed by a member that is a price source."""
    check_direct()
    require(source in ctx.signers, "UNAUTHORISED", needed="price_source", member=source)
    require(
        members.has_role(member=source, role="price_source"), "ROLE_MISSING", member=source, role="price_source"
    )
    require(1 <= len(prices) <= PRICES_MAX, "PRICE_COUNT", value=len(prices), limit=PRICES_MAX)
    for one in prices:
        require(0 < one.value <= PRICE_MAX, "PRICE_RANGE", subject=one.subject, value=one.value, limit=PRICE_MAX)
        require(0 < len(one.subject) <= TEXT_MAX, "PRICE_RANGE", subject=one.subject, value=one.value, limit=TEXT_MAX)
        nothing: list[Quote] = []
        kept = [quote for quote in quotes.get(one.subject, nothing) if quote.source != source]
        require(len(kept) < SOURCES_MAX, "SOURCES_FULL", subject=one.subject, limit=SOURCES_MAX)
        kept.append(Quote(source=source, value=one.value, time=ctx.time))
        quotes[one.subject] = kept
        emit("PricePublished", source=source, subject=one.subject, value=one.value)


# -- margin ---------------------------------------------------------------------------------------------------


@entry
def margin_call(agreement: str, pledgor: str, exposure: int) -> Margin:
    """Call for margin, or find what is to be returned. Signed by the secured party or the agent.

    What earlier calls made due and is still under way counts as if it had arrived.
    """
    check_direct()
    check_amount(exposure)
    terms = terms_of(agreement)
    check_consent(terms, secured_of(terms, pledgor).member)
    side = side_of(agreement, pledgor)
    worth = worth_of(terms, pledgor, side.items, exposure)
    result = margin_for(terms, pledgor, exposure, worth + (side.due_delivery - side.due_return) * EXACT)
    # A new claim is first set off against what is still to flow the other way.
    offset = min(side.due_return, result.delivery)
    side.due_return -= offset
    side.due_delivery += result.delivery - offset
    offset = min(side.due_delivery, result.return_amount)
    side.due_delivery -= offset
    side.due_return += result.return_amount - offset
    side.exposure = exposure
    side.called_at = ctx.time
    sides[(agreement, pledgor)] = side
    emit(
        "MarginCalled",
        agreement=agreement,
        pledgor=pledgor,
        exposure=exposure,
        required=result.required,
        posted=result.posted,
        delivery=result.delivery,
        return_amount=result.return_amount,
    )
    return result


@entry
def pledge(agreement: str, pledgor: str, instrument: str, quantity: int) -> None:
    """Pledge units that the agreement accepts. Signed by the pledgor."""
    check_direct()
    terms = terms_of(agreement)
    side = side_of(agreement, pledgor)
    before = worth_of(terms, pledgor, side.items, side.exposure)
    side.items = give(terms, pledgor, side.items, instrument, quantity)
    appraisals = appraise_all(terms, pledgor, side.items)
    required = required_of(terms, pledgor, side.exposure)
    check_limits(terms, appraisals, required, instrument)
    after = total_of(count(terms, appraisals, required))
    side.due_delivery = still_due(side.due_delivery, after - before)
    sides[(agreement, pledgor)] = side
    emit("CollateralPledged", agreement=agreement, pledgor=pledgor, instrument=instrument, quantity=quantity)


@entry
def release(agreement: str, pledgor: str, instrument: str, quantity: int) -> None:
    """Give collateral back with the secured party's consent. Signed by the secured party or the agent."""
    check_direct()
    terms = terms_of(agreement)
    check_consent(terms, secured_of(terms, pledgor).member)
    dropped = take_back(terms, agreement, pledgor, instrument, quantity)
    side = side_of(agreement, pledgor)
    side.due_return = still_due(side.due_return, dropped)
    sides[(agreement, pledgor)] = side
    emit("CollateralReleased", agreement=agreement, pledgor=pledgor, instrument=instrument, quantity=quantity)


@entry
def return_excess(agreement: str, pledgor: str, instrument: str, quantity: int) -> None:
    """Give back what the last calls made due for return. Signed by either party or the agent: the call agreed to it."""
    check_direct()
    terms = terms_of(agreement)
    asked = party_of(terms, pledgor).member in ctx.signers
    if not asked:
        check_consent(terms, secured_of(terms, pledgor).member)
    dropped = take_back(terms, agreement, pledgor, instrument, quantity)
    side = side_of(agreement, pledgor)
    require(
        dropped <= side.due_return * EXACT,
        "RETURN_EXCEEDED",
        agreement=agreement,
        instrument=instrument,
        value=div_round(dropped, EXACT, "UP"),
        limit=side.due_return,
    )
    side.due_return = still_due(side.due_return, dropped)
    sides[(agreement, pledgor)] = side
    emit("CollateralReturned", agreement=agreement, pledgor=pledgor, instrument=instrument, quantity=quantity)


@entry
def substitute(agreement: str, pledgor: str, incoming: list[Item], outgoing: list[Item]) -> None:
    """Pledge new items and free old ones at once. Signed by the pledgor, and by the secured party or the agent if
    the agreement asks for consent."""
    check_direct()
    for size in [len(incoming), len(outgoing)]:
        require(1 <= size <= ITEMS_MAX, "ITEM_COUNT", value=size, limit=ITEMS_MAX)
    terms = terms_of(agreement)
    giver = party_of(terms, pledgor)
    require(giver.member in ctx.signers, "UNAUTHORISED", needed="pledgor", member=pledgor)
    if terms.substitution_needs_consent:
        check_consent(terms, secured_of(terms, pledgor).member)
    side = side_of(agreement, pledgor)
    before = worth_of(terms, pledgor, side.items, side.exposure)
    for one in incoming:
        side.items = give(terms, pledgor, side.items, one.instrument, one.quantity)
    for one in outgoing:
        side.items = give_back(terms, pledgor, side.items, one.instrument, one.quantity)
    appraisals = appraise_all(terms, pledgor, side.items)
    required = required_of(terms, pledgor, side.exposure)
    for one in incoming:
        check_limits(terms, appraisals, required, one.instrument)
    after = total_of(count(terms, appraisals, required))
    require(
        after >= before,
        "COVERAGE_GAP",
        agreement=agreement,
        value=after // EXACT,
        limit=div_round(before, EXACT, "UP"),
    )
    side.due_delivery = still_due(side.due_delivery, after - before)
    sides[(agreement, pledgor)] = side
    emit(
        "CollateralSubstituted",
        agreement=agreement,
        pledgor=pledgor,
        incoming=len(incoming),
        outgoing=len(outgoing),
        posted=after // EXACT,
    )


# -- moving collateral ----------------------------------------------------------------------------------------


def give(terms: Agreement, pledgor: str, items: list[Item], instrument: str, quantity: int) -> list[Item]:
    """Pledge units on the register if the agreement accepts them, and return the items with them added."""
    giver = party_of(terms, pledgor)
    require(giver.member in ctx.signers, "UNAUTHORISED", needed="pledgor", member=pledgor)
    require(0 < quantity <= AMOUNT_MAX, "QUANTITY_RANGE", value=quantity, limit=AMOUNT_MAX)
    verdict = appraise_item(terms, pledgor, instrument, quantity)
    require(
        verdict.rule == "",
        "INELIGIBLE",
        instrument=instrument,
        rule=verdict.rule,
        value=verdict.value,
        limit=verdict.limit,
    )
    taker = secured_of(terms, pledgor)
    register.pledge(giver=giver.account, taker=taker.account, instrument=instrument, quantity=quantity)
    result: list[Item] = []
    found = False
    for one in items:
        if one.instrument == instrument:
            result.append(Item(instrument=instrument, quantity=one.quantity + quantity))
            found = True
        else:
            result.append(one)
    if not found:
        require(len(items) < POSTED_MAX, "POSTED_FULL", agreement=terms.id, limit=POSTED_MAX)
        result.append(Item(instrument=instrument, quantity=quantity))
    return result


def give_back(terms: Agreement, pledgor: str, items: list[Item], instrument: str, quantity: int) -> list[Item]:
    """Release units on the register, and return the items without them."""
    result: list[Item] = []
    held = 0
    for one in items:
        if one.instrument == instrument:
            held = one.quantity
            if one.quantity > quantity:
                result.append(Item(instrument=instrument, quantity=one.quantity - quantity))
        else:
            result.append(one)
    enough = 0 < quantity <= held
    require(enough, "NOT_POSTED", agreement=terms.id, instrument=instrument, needed=quantity, available=held)
    giver = party_of(terms, pledgor)
    taker = secured_of(terms, pledgor)
    register.release(giver=giver.account, taker=taker.account, instrument=instrument, quantity=quantity)
    return result


def take_back(terms: Agreement, agreement: str, pledgor: str, instrument: str, quantity: int) -> int:
    """Release units if what stays is enough, and return by how much the value posted has dropped."""
    side = side_of(agreement, pledgor)
    before = worth_of(terms, pledgor, side.items, side.exposure)
    side.items = give_back(terms, pledgor, side.items, instrument, quantity)
    after = worth_of(terms, pledgor, side.items, side.exposure)
    required = required_of(terms, pledgor, side.exposure)
    require(
        after >= required * EXACT,
        "UNDERCOLLATERALISED",
        agreement=agreement,
        instrument=instrument,
        value=after // EXACT,
        limit=required,
    )
    sides[(agreement, pledgor)] = side
    return max(0, before - after)


# -- margin arithmetic ----------------------------------------------------------------------------------------


def required_of(terms: Agreement, pledgor: str, exposure: int) -> int:
    giver = party_of(terms, pledgor)
    if giver.infinite_threshold:
        return 0
    secured = secured_of(terms, pledgor)
    return max(0, exposure + giver.independent_amount - secured.independent_amount - giver.threshold)


def margin_for(terms: Agreement, pledgor: str, exposure: int, adjusted: int) -> Margin:
    """Return delivery and return amount for posted collateral of `adjusted` / EXACT."""
    required = required_of(terms, pledgor, exposure)
    gap = required * EXACT - adjusted
    delivery = 0
    back = 0
    if gap > 0 and gap >= party_of(terms, pledgor).minimum_transfer * EXACT:
        delivery = round_to(gap, terms.delivery_multiple * EXACT, True) // EXACT
    if gap < 0 and -gap >= secured_of(terms, pledgor).minimum_transfer * EXACT:
        back = round_to(-gap, terms.return_multiple * EXACT, False) // EXACT
    return Margin(required=required, posted=adjusted // EXACT, delivery=delivery, return_amount=back)


def still_due(due: int, moved: int) -> int:
    # Rounded up: a remainder below the smallest unit must not count as under way for ever.
    return max(0, due - div_round(max(0, moved), EXACT, "UP"))


def round_to(size: int, multiple: int, up: bool) -> int:
    if up:
        return div_round(size, multiple, "UP") * multiple
    return div_round(size, multiple, "DOWN") * multiple


def worth_of(terms: Agreement, pledgor: str, items: list[Item], exposure: int) -> int:
    """Return what the items count for, in units of 1 / EXACT."""
    return total_of(count(terms, appraise_all(terms, pledgor, items), required_of(terms, pledgor, exposure)))


def total_of(counted: list[int]) -> int:
    total = 0
    for worth in counted:
        total += worth
    return total


def count(terms: Agreement, appraisals: list[Appraisal], required: int) -> list[int]:
    """Return what each item counts for: its worth, less what exceeds a concentration limit."""
    counted = [one.worth for one in appraisals]
    basis = basis_of(appraisals, required)
    for limit in terms.limits:
        most = most_of(limit, basis)
        used: dict[str, int] = {}
        for place in range(len(appraisals)):
            if is_limited(limit, appraisals[place]):
                group = group_of(limit, appraisals[place])
                room = most - used.get(group, 0)
                counted[place] = min(counted[place], room)
                used[group] = used.get(group, 0) + counted[place]
    return counted


def check_limits(terms: Agreement, appraisals: list[Appraisal], required: int, instrument: str) -> None:
    """Refuse what was just posted if a group it belongs to is now above a limit."""
    basis = basis_of(appraisals, required)
    for limit in terms.limits:
        group = ""
        concerned = False
        for one in appraisals:
            if one.instrument == instrument:
                group = group_of(limit, one)
                concerned = is_limited(limit, one)
        total = 0
        for one in appraisals:
            if concerned and is_limited(limit, one) and group_of(limit, one) == group:
                total += one.worth
        most = most_of(limit, basis)
        require(
            total <= most,
            "CONCENTRATION",
            instrument=instrument,
            rule=limit.scope,
            group=group,
            value=div_round(total, EXACT, "UP"),
            limit=most // EXACT,
        )


def basis_of(appraisals: list[Appraisal], required: int) -> int:
    total = 0
    for one in appraisals:
        total += one.worth
    return max(total, required * EXACT)


def most_of(limit: Limit, basis: int) -> int:
    share = mul_div(basis, limit.share_bps, BPS, "DOWN")
    if limit.amount == 0:
        return share
    if limit.share_bps == 0:
        return limit.amount * EXACT
    return min(share, limit.amount * EXACT)


def is_limited(limit: Limit, one: Appraisal) -> bool:
    if limit.asset_class != "" and limit.asset_class != one.asset_class:
        return False
    return limit.key == "" or limit.key == group_of(limit, one)


def group_of(limit: Limit, one: Appraisal) -> str:
    if limit.scope == "instrument":
        return one.instrument
    if limit.scope == "issuer":
        return one.issuer
    if limit.scope == "asset_class":
        return one.asset_class
    if limit.scope == "currency":
        return one.currency
    return one.country


# -- eligibility and value ------------------------------------------------------------------------------------


def appraise_all(terms: Agreement, pledgor: str, items: list[Item]) -> list[Appraisal]:
    return [appraise_item(terms, pledgor, one.instrument, one.quantity) for one in items]


def appraise_item(terms: Agreement, pledgor: str, instrument: str, quantity: int) -> Appraisal:
    what = register.get_instrument(instrument=instrument)
    issuer = what.issuer_lei
    if issuer == "":
        issuer = what.id
    result = Appraisal(
        instrument=instrument,
        issuer=issuer,
        asset_class=what.asset_class,
        currency=what.currency,
        country=what.country,
        worth=0,
        rule="",
        value="",
        limit="",
    )
    day = today()
    if register.is_frozen(instrument=instrument):
        result.rule = "status"
        result.value = "frozen"
        result.limit = "active"
        return result
    giver = party_of(terms, pledgor)
    if giver.lei != "" and giver.lei == what.issuer_lei:
        result.rule = "own_issue"
        result.value = what.issuer_lei
        result.limit = "issued by another than the pledgor"
        return result
    best = terms.lines[0]
    best_stage = 0
    for line in terms.lines:
        stage = passed(line, what, day)
        if stage == 5:
            result.worth = worth_after(terms, line, what, quantity)
            return result
        if stage > best_stage:
            best = line
            best_stage = stage
    return explain(result, best, best_stage, what)


def passed(line: Line, what: register.Instrument, day: int) -> int:
    """Return how many of the five conditions of a line the instrument passes before one fails."""
    if line.asset_class != "" and line.asset_class != what.asset_class:
        return 0
    if line.currency != "" and line.currency != what.currency:
        return 1
    if line.country != "" and line.country != what.country:
        return 2
    if line.rating_worst != "" and rank_of(what.rating) > rank_of(line.rating_worst):
        return 3
    if not is_within(line, what.maturity, day):
        return 4
    return 5


def is_within(line: Line, maturity: int, day: int) -> bool:
    # Dates are numbers yyyymmdd, so a year more is 10,000 more; the lower bound is outside, the upper inside.
    if maturity == 0:
        return line.years_over == 0 and line.years_up_to == 0
    if maturity <= day + line.years_over * YEAR:
        return False
    return line.years_up_to == 0 or maturity <= day + line.years_up_to * YEAR


def explain(result: Appraisal, line: Line, stage: int, what: register.Instrument) -> Appraisal:
    """Name the rule that the instrument fails in the line it comes closest to."""
    if stage == 0:
        result.rule = "asset_class"
        result.value = what.asset_class
        result.limit = "an asset class of the schedule"
    elif stage == 1:
        result.rule = "currency"
        result.value = what.currency
        result.limit = line.currency
    elif stage == 2:
        result.rule = "country"
        result.value = what.country
        result.limit = line.country
    elif stage == 3:
        result.rule = "rating"
        result.value = what.rating if what.rating != "" else "unrated"
        result.limit = line.rating_worst + " or better"
    else:
        over = line.years_over
        up_to = line.years_up_to
        result.rule = "maturity"
        result.value = str(what.maturity)
        result.limit = f"over {over} years" if up_to == 0 else f"over {over} and up to {up_to} years"
    return result


def worth_after(terms: Agreement, line: Line, what: register.Instrument, quantity: int) -> int:
    """Return the value after haircuts in units of 1 / EXACT."""
    haircut = line.haircut_bps + line.additional_bps
    rate = SCALE
    if what.currency != terms.base_currency:
        haircut += terms.fx_haircut_bps
        pair = what.currency + "/" + terms.base_currency
        rate = median_price(pair, terms.price_age_max_ms, terms.price_sources_min)
    unit = SCALE
    if what.kind != "deposit_token":
        unit = median_price(what.id, terms.price_age_max_ms, terms.price_sources_min)
    return quantity * unit * rate * max(0, BPS - haircut)


def median_price(subject: str, age_max_ms: int, sources_min: int) -> int:
    nothing: list[Quote] = []
    known = quotes.get(subject, nothing)
    fresh = sorted([quote.value for quote in known if ctx.time - quote.time <= age_max_ms])
    size = len(fresh)
    enough = size > 0 and size >= sources_min
    require(enough, "PRICE_MISSING", subject=subject, fresh=size, needed=max(1, sources_min), age_max_ms=age_max_ms)
    middle = size // 2
    if size % 2 == 1:
        return fresh[middle]
    return div_round(fresh[middle - 1] + fresh[middle], 2, "HALF_EVEN")


def rank_of(rating: str) -> int:
    """Return where a rating stands, better ones first; what is not on the scale comes after all others."""
    place = RATINGS.find(" " + rating + " ")
    return place if place >= 0 and rating.find(" ") < 0 and rating != "" else UNRATED


def today() -> int:
    """Return the day of the block as a number yyyymmdd (proleptic Gregorian, UTC)."""
    days = ctx.time // DAY_MS + 719_468
    era = days // 146_097
    day_of_era = days - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400
    if month <= 2:
        year += 1
    return year * YEAR + month * 100 + day


# -- who may, and what is well-formed -------------------------------------------------------------------------


def check_direct() -> None:
    # Signatures reach every contract of a transaction; only the member's own call may spend them here.
    require(not ctx.sender.startswith("contract:"), "UNAUTHORISED", needed="a direct call", caller=ctx.sender)


def check_consent(terms: Agreement, member: str) -> None:
    agreed = member in ctx.signers or (terms.agent != "" and terms.agent in ctx.signers)
    require(agreed, "UNAUTHORISED", needed="secured party or agent", member=member)


def terms_of(agreement: str) -> Agreement:
    require(agreement in agreements, "AGREEMENT_UNKNOWN", agreement=agreement)
    return agreements[agreement]


def party_of(terms: Agreement, member: str) -> Party:
    if terms.first.member == member:
        return terms.first
    require(terms.second.member == member, "NOT_A_PARTY", agreement=terms.id, member=member)
    return terms.second


def secured_of(terms: Agreement, pledgor: str) -> Party:
    if terms.first.member == pledgor:
        return terms.second
    require(terms.second.member == pledgor, "NOT_A_PARTY", agreement=terms.id, member=pledgor)
    return terms.first


def side_of(agreement: str, pledgor: str) -> Side:
    return sides.get((agreement, pledgor), Side(items=[], exposure=0, called_at=0, due_delivery=0, due_return=0))


def check_amount(amount: int) -> None:
    require(-AMOUNT_MAX <= amount <= AMOUNT_MAX, "AMOUNT_RANGE", value=amount, limit=AMOUNT_MAX)


def check_agreement(agreement: Agreement) -> None:
    check_term("id", len(agreement.id), 1, TEXT_MAX)
    check_term("document", len(agreement.document), 0, TEXT_MAX)
    check_term("base_currency", len(agreement.base_currency), 3, 3)
    check_party(agreement.first)
    check_party(agreement.second)
    require(
        agreement.first.member != agreement.second.member,
        "AGREEMENT_INVALID",
        field="second.member",
        value=agreement.second.member,
        limit="another member than the first",
    )
    if agreement.agent != "":
        held = members.has_role(member=agreement.agent, role="collateral_agent")
        require(held, "ROLE_MISSING", member=agreement.agent, role="collateral_agent")
    check_term("delivery_multiple", agreement.delivery_multiple, 1, AMOUNT_MAX)
    check_term("return_multiple", agreement.return_multiple, 1, AMOUNT_MAX)
    check_term("fx_haircut_bps", agreement.fx_haircut_bps, 0, BPS)
    check_term("price_age_max_ms", agreement.price_age_max_ms, 1, 366 * DAY_MS)
    check_term("price_sources_min", agreement.price_sources_min, 1, SOURCES_MAX)
    check_term("lines", len(agreement.lines), 1, LINES_MAX)
    check_term("limits", len(agreement.limits), 0, LIMITS_MAX)
    for line in agreement.lines:
        check_line(line)
    for limit in agreement.limits:
        check_limit(limit)


def check_party(party: Party) -> None:
    require(members.exists(member=party.member), "AGREEMENT_INVALID", field="member", value=party.member)
    owned = party.account == party.member or party.account.startswith(party.member + "/")
    require(owned, "AGREEMENT_INVALID", field="account", value=party.account, limit="an account of " + party.member)
    known = party.lei == "" or register.is_lei(lei=party.lei)
    require(known, "AGREEMENT_INVALID", field="lei", value=party.lei, limit="ISO 17442, or empty")
    check_term("threshold", party.threshold, 0, AMOUNT_MAX)
    check_term("minimum_transfer", party.minimum_transfer, 0, AMOUNT_MAX)
    check_term("independent_amount", party.independent_amount, 0, AMOUNT_MAX)


def check_line(line: Line) -> None:
    check_term("haircut_bps", line.haircut_bps, 0, BPS)
    check_term("additional_bps", line.additional_bps, 0, BPS)
    check_term("years_over", line.years_over, 0, YEARS_MAX)
    check_term("years_up_to", line.years_up_to, 0, YEARS_MAX)
    bounded = line.years_up_to == 0 or line.years_over < line.years_up_to
    require(bounded, "AGREEMENT_INVALID", field="years_up_to", value=line.years_up_to, limit=line.years_over)
    known = line.rating_worst == "" or rank_of(line.rating_worst) < UNRATED
    require(known, "AGREEMENT_INVALID", field="rating_worst", value=line.rating_worst, limit=RATINGS)


def check_limit(limit: Limit) -> None:
    known = limit.scope.find(" ") < 0 and SCOPES.find(" " + limit.scope + " ") >= 0
    require(known, "AGREEMENT_INVALID", field="scope", value=limit.scope, limit=SCOPES)
    check_term("amount", limit.amount, 0, AMOUNT_MAX)
    check_term("share_bps", limit.share_bps, 0, BPS)
    bounded = limit.amount > 0 or limit.share_bps > 0
    require(bounded, "AGREEMENT_INVALID", field="amount", value=0, limit="an amount or a share above zero")


def check_term(field: str, value: int, least: int, most: int) -> None:
    require(least <= value <= most, "AGREEMENT_INVALID", field=field, value=value, limit=most)
