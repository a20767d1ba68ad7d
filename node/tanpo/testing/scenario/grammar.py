"""What each command of a scenario may say. `tests/scenario/README.md` tells what it does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

MANY: Final = 64
"""Most words of one command."""

GROUPS: Final = ("expect", "forge", "resume", "stall")
"""First words whose second word is part of the command's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a command is written. Options not required may be left out."""

    usage: str
    words_min: int = 0
    words_max: int = 0
    required: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


_LETTERS: Final = ("from", "to", "term", "block")

_CAST: Final = {
    "validators": Form(usage="validators NAME NAME ...", words_min=1, words_max=MANY),
    "byzantine": Form(usage="byzantine NAME ...", words_min=1, words_max=MANY),
    "twin": Form(usage="twin NAME as=NAME", words_min=1, words_max=1, required=("as",)),
    "observer": Form(usage="observer NAME ...", words_min=1, words_max=MANY),
    "submit": Form(usage="submit TX ... [to=NAMES]", words_min=1, words_max=MANY, options=("to",)),
}

_NETWORK: Final = {
    "deliver": Form(
        usage="deliver KIND ... [from= to= term= block=] [newest-first]",
        words_min=1,
        words_max=MANY,
        options=_LETTERS,
    ),
    "drop": Form(
        usage="drop KIND ... [from= to= term= block=]", words_min=1, words_max=MANY, options=_LETTERS
    ),
    "duplicate": Form(
        usage="duplicate KIND ... [from= to= term= block=]", words_min=1, words_max=MANY, options=_LETTERS
    ),
    "replay": Form(
        usage="replay KIND ... [from= to= term= block=]", words_min=1, words_max=MANY, options=_LETTERS
    ),
    "hold": Form(
        usage="hold KIND ... [from= to= term= block=]", words_min=1, words_max=MANY, options=_LETTERS
    ),
    "release": Form(usage="release"),
    "cut": Form(usage="cut from=NAMES to=NAMES", required=("from", "to")),
    "part": Form(usage="part NAME ... | NAME ...", words_min=3, words_max=MANY),
    "isolate": Form(usage="isolate NAME ...", words_min=1, words_max=MANY),
    "heal": Form(usage="heal"),
}

_TIME: Final = {
    "run": Form(usage="run [DURATION] [closely]", words_max=2),
    "wait": Form(usage="wait DURATION [only=NAMES]", words_min=1, words_max=1, options=("only",)),
    "clock": Form(usage="clock NAME +DURATION", words_min=2, words_max=2),
}

_MACHINES: Final = {
    "crash": Form(usage="crash NAME ... [synced]", words_min=1, words_max=MANY),
    "restart": Form(usage="restart NAME ... [rejoining]", words_min=1, words_max=MANY),
    "drain": Form(usage="drain NAME ...", words_min=1, words_max=MANY),
    "stall disk": Form(usage="stall disk NAME ...", words_min=1, words_max=MANY),
    "stall execution": Form(usage="stall execution NAME ...", words_min=1, words_max=MANY),
    "resume disk": Form(usage="resume disk NAME ...", words_min=1, words_max=MANY),
    "resume execution": Form(usage="resume execution NAME ...", words_min=1, words_max=MANY),
    "diverge": Form(usage="diverge NAME ...", words_min=1, words_max=MANY),
    "backup": Form(usage="backup NAME", words_min=1, words_max=1),
    "restore": Form(usage="restore NAME", words_min=1, words_max=1),
    "wipe": Form(usage="wipe NAME", words_min=1, words_max=1),
    "corrupt": Form(usage="corrupt NAME", words_min=1, words_max=1),
}

_FORGERIES: Final = {
    "forge proposal": Form(
        usage="forge proposal BLOCK by= on= [term= certificate= opening= tx= time= root= height= next=] to=",
        words_min=1,
        words_max=1,
        required=("by", "on", "to"),
        options=("term", "certificate", "opening", "tx", "time", "root", "height", "next"),
    ),
    "forge repeat": Form(
        usage="forge repeat BLOCK by= term= to= [certificate= opening=]",
        words_min=1,
        words_max=1,
        required=("by", "term", "to"),
        options=("certificate", "opening"),
    ),
    "forge vote": Form(
        usage="forge vote BLOCK by= to= [kind=prepare|commit in-name-of=NAME signature=good|bad]",
        words_min=1,
        words_max=1,
        required=("by", "to"),
        options=("kind", "in-name-of", "signature"),
    ),
    "forge timeout": Form(
        usage="forge timeout by= term= lock= to= [opening=]",
        required=("by", "term", "lock", "to"),
        options=("opening",),
    ),
    "forge certificate": Form(
        usage="forge certificate NAME for=BLOCK signers=NAME,NAME?,... [kind=prepare|commit]",
        words_min=1,
        words_max=1,
        required=("for", "signers"),
        options=("kind",),
    ),
    "forge opening": Form(
        usage="forge opening NAME term= signers=NAMES [pretending=BLOCK showing=BLOCK]",
        words_min=1,
        words_max=1,
        required=("term", "signers"),
        options=("pretending", "showing"),
    ),
    "forge nudge": Form(usage="forge nudge by= certificate= to=", required=("by", "certificate", "to")),
    "forge heartbeat": Form(
        usage="forge heartbeat by= to= [term= certificate= proof= opening=]",
        required=("by", "to"),
        options=("term", "certificate", "proof", "opening"),
    ),
    "forge suspect": Form(usage="forge suspect by= term= to=", required=("by", "term", "to")),
    "forge step-down": Form(usage="forge step-down by= term= to=", required=("by", "term", "to")),
    "forge term-certificate": Form(
        usage="forge term-certificate by= opening= to=", required=("by", "opening", "to")
    ),
    "forge block": Form(usage="forge block BLOCK by= to=", words_min=1, words_max=1, required=("by", "to")),
    "forge committed": Form(
        usage="forge committed BLOCK ... by= certificate= to= [child=BLOCK]",
        words_min=1,
        words_max=MANY,
        required=("by", "certificate", "to"),
        options=("child",),
    ),
}

_QUESTIONS: Final = {
    "show": Form(usage="show NAME ...", words_min=1, words_max=MANY),
    "why": Form(usage="why NAME ...", words_min=1, words_max=MANY),
    "waiting": Form(usage="waiting [from= to= term= block=]", options=_LETTERS),
}

_CLAIMS: Final = {
    "expect committed": Form(
        usage="expect committed BLOCK|TX ... [by=NAMES]", words_min=1, words_max=MANY, options=("by",)
    ),
    "expect uncommitted": Form(usage="expect uncommitted BLOCK|TX ...", words_min=1, words_max=MANY),
    "expect voted": Form(
        usage="expect voted BLOCK by=NAMES [kind=prepare|commit term=]",
        words_min=1,
        words_max=1,
        required=("by",),
        options=("kind", "term"),
    ),
    "expect unvoted": Form(
        usage="expect unvoted BLOCK [by=NAMES kind=prepare|commit term=]",
        words_min=1,
        words_max=1,
        options=("by", "kind", "term"),
    ),
    "expect lock": Form(usage="expect lock BLOCK [by=NAMES]", words_min=1, words_max=1, options=("by",)),
    "expect term": Form(usage="expect term NUMBER [by=NAMES]", words_min=1, words_max=1, options=("by",)),
    "expect height": Form(usage="expect height NUMBER [by=NAMES]", words_min=1, words_max=1, options=("by",)),
    "expect epoch": Form(usage="expect epoch NUMBER [by=NAMES]", words_min=1, words_max=1, options=("by",)),
    "expect evidence": Form(
        usage="expect evidence NAME [by=NAMES]", words_min=1, words_max=1, options=("by",)
    ),
    "expect refused": Form(
        usage='expect refused "TEXT" by=NAMES', words_min=1, words_max=1, required=("by",)
    ),
    "expect stalled": Form(
        usage='expect stalled "TEXT" by=NAMES', words_min=1, words_max=1, required=("by",)
    ),
    "expect moving": Form(usage="expect moving NAME ...", words_min=1, words_max=MANY),
    "expect halted": Form(usage="expect halted NAME ...", words_min=1, words_max=MANY),
    "expect mute": Form(usage="expect mute NAME ...", words_min=1, words_max=MANY),
    "expect down": Form(usage="expect down NAME ...", words_min=1, words_max=MANY),
}

COMMANDS: Final[dict[str, Form]] = {
    **_CAST,
    **_NETWORK,
    **_TIME,
    **_MACHINES,
    **{name: replace(form, options=(*form.options, "epoch")) for name, form in _FORGERIES.items()},
    **_QUESTIONS,
    **_CLAIMS,
}
"""Every command by its name."""
