"""Getting what we lack from peers: single blocks that certificates name, or ranges of committed blocks.

Only verified certificates start a request, and only requested answers are looked at (F1).
"""

from __future__ import annotations

import itertools
from typing import Final

from tanpo.consensus.certificates import accept_certificate, accept_commit_proof, check_commit_proof
from tanpo.consensus.chain import LAG_MAX, Missing
from tanpo.consensus.effects import ServeCommitted
from tanpo.consensus.messages import BlockAnswer, Committed, GetBlock, GetCommitted
from tanpo.consensus.state import Batch, Core, Request, compute_reach, halt, send
from tanpo.ledger.block import Header, compute_block_hash
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.types import BlockHash, Height, ValidatorIndex

FETCHES_MAX: Final = 4
"""Most single blocks asked for at once."""


def on_later_epoch(core: Core) -> None:
    """Ask for the rest of our epoch: somebody claims to be in a later one (E6). The answer is proven."""
    if core.sender is not None:
        core.catch_up.later_epochs = _find_claims(core) | {core.sender: core.clock.now_ms}


def is_lagging(core: Core) -> bool:
    """Whether a certificate shows, or a peer claims, that we are far behind: enough to ask."""
    return is_known_to_lag(core) or (bool(_find_claims(core)) and not core.chain.is_ended)


def is_known_to_lag(core: Core) -> bool:
    """Whether we are far behind by a certificate, or by more validators' claims than there are liars.

    One liar claims a later epoch all day, and guests are as many as a member likes: a node must not call
    itself behind, and unready, for their word.
    """
    far_height = core.chain.tip.height + LAG_MAX
    is_far = any(missing.height > far_height for missing in core.catch_up.wanted.values())
    claims = sum(sender < core.config.validator_count for sender in _find_claims(core))
    return is_far or (claims > core.faulty_max and not core.chain.is_ended)


def on_get_block(core: Core, sender: ValidatorIndex, request: GetBlock) -> None:
    """Answer with the block, or with committed blocks when it lies among those."""
    held = core.chain.find(request.block_hash)
    if held is not None:
        send(core, sender, BlockAnswer(block=held.block))
    elif request.height <= core.chain.tip.height and request.committed_height < core.chain.tip.height:
        core.effects.append(ServeCommitted(to=sender, from_height=Height(request.committed_height + 1)))


def on_get_committed(core: Core, sender: ValidatorIndex, request: GetCommitted) -> None:
    """Have the driver answer from disk."""
    if 1 <= request.from_height <= core.chain.tip.height:
        core.effects.append(ServeCommitted(to=sender, from_height=request.from_height))


def on_block_answer(core: Core, answer: BlockAnswer) -> None:
    """Take a block we asked for; its hash says that it is the right one."""
    block = answer.block
    if core.catch_up.fetches.pop(block.block_hash, None) is not None:
        core.chain.add(block)


def on_committed(core: Core, committed: Committed) -> None:
    """Take committed blocks that lead from our tip to a proven block (C3)."""
    catch_up, tip = core.catch_up, core.chain.tip
    if committed.proof.certificate.epoch != core.config.epoch:
        return  # Of use once we are in that epoch: then it is asked for again.
    if catch_up.batch is not None or (catch_up.committed is None and not catch_up.fetches):
        return
    headers = [block.header for block in committed.blocks] + list(committed.headers)
    _check_links(committed, headers)
    blocks = [block for block in committed.blocks if block.header.height > tip.height]
    if not blocks or blocks[0].header.height != tip.height + 1:
        return
    check_commit_proof(core, committed.proof)
    if blocks[0].header.parent_hash != tip.block_hash:
        halt(core, f"conflicting commit at height {tip.height}: too many validators are faulty")
        return
    catch_up.committed = None
    catch_up.batch = Batch(blocks=blocks, proof=committed.proof)
    accept_certificate(core, committed.proof.certificate)
    accept_commit_proof(core, committed.proof)


def advance(core: Core) -> None:
    """Ask for what the current event found missing; ask the next peer when an answer is overdue."""
    catch_up, tip_height = core.catch_up, core.chain.tip.height
    if catch_up.batch is not None:
        catch_up.fetches.clear()
        return
    reach = max(tip_height + LAG_MAX, compute_reach(core))
    near = [m for m in catch_up.wanted.values() if m.height <= reach]
    # An observer is told nothing: it asks (F2).
    if is_lagging(core) or (core.config.validator is None and not core.chain.is_ended):
        _ask_committed(core)
    else:
        catch_up.committed = None
    wanted = {missing.block_hash: missing for missing in near[:FETCHES_MAX]}
    catch_up.fetches = {h: request for h, request in catch_up.fetches.items() if h in wanted}
    for missing in wanted.values():
        _ask_block(core, missing)


def _find_claims(core: Core) -> dict[ValidatorIndex, int]:
    """Return who claimed of late to be in a later epoch, and when."""
    if not core.catch_up.later_epochs:
        return {}
    oldest_ms = core.clock.now_ms - core.config.timing.base_timeout_ms
    return {sender: at_ms for sender, at_ms in core.catch_up.later_epochs.items() if at_ms >= oldest_ms}


def _ask_committed(core: Core) -> None:
    request, from_height = core.catch_up.committed, Height(core.chain.tip.height + 1)
    if request is not None and request.height == from_height and not _is_overdue(core, request):
        return
    core.catch_up.committed = request = _next_request(core, request, from_height)
    send(core, request.peer, GetCommitted(from_height=from_height))


def _ask_block(core: Core, missing: Missing) -> None:
    request = core.catch_up.fetches.get(missing.block_hash)
    if request is not None and not _is_overdue(core, request):
        return
    request = _next_request(core, request, missing.height)
    core.catch_up.fetches[missing.block_hash] = request
    message = GetBlock(
        height=missing.height,
        block_hash=missing.block_hash,
        committed_height=core.chain.tip.height,
    )
    send(core, request.peer, message)


def _is_overdue(core: Core, request: Request) -> bool:
    return core.clock.now_ms - request.asked_ms >= core.config.timing.heartbeat_ms


def _next_request(core: Core, last: Request | None, height: Height) -> Request:
    """Ask whoever told us first, then the others in turn."""
    count = core.config.validator_count
    own = core.config.validator
    if last is None:
        peer = core.sender if core.sender is not None else ValidatorIndex(0 if own is None else own + 1)
    else:
        peer = ValidatorIndex(last.peer + 1)
    peer = ValidatorIndex(peer % count)
    if peer == own:
        peer = ValidatorIndex((peer + 1) % count)
    return Request(height=height, peer=peer, asked_ms=core.clock.now_ms)


def _check_links(committed: Committed, headers: list[Header]) -> None:
    """Raise `PeerFault` unless each block is the parent of the next, up to the block of the proof."""
    hashes: list[BlockHash] = [block.block_hash for block in committed.blocks]
    hashes += [compute_block_hash(header) for header in committed.headers]
    for (below, header), block_hash in zip(itertools.pairwise(headers), hashes, strict=False):
        if header.parent_hash != block_hash or header.height != below.height + 1:
            raise PeerFault(Reason.PROOF_INVALID, "committed blocks do not follow each other")
    if not hashes or hashes[-1] != committed.proof.block_hash or headers[-1].height != committed.proof.height:
        raise PeerFault(Reason.PROOF_INVALID, "committed blocks do not lead to the block of their proof")
