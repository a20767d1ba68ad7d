"""Profile files: a client's configuration as TOML, written by `tanpo net up` or by hand.

    version = 1
    addresses = ["127.0.0.1:18001", "127.0.0.1:18003"]   # own node first, then those to fall back to
    genesis = "genesis.json"
    member = "dealer-a"                                  # optional: the certificate names it
    keys = ["dealer-a.key"]                              # optional: PKCS#8 PEM, mode 0600
    deadline_s = 10.0                                    # optional
    pin = "3:5f0c..."                                    # optional: the epoch from which proofs are checked

    [tls]
    certificate = "client.pem"
    key = "client.key"
    authorities = "authorities.pem"                      # the CAs of the nodes' members
    target_name = ""                                     # optional: name expected in nodes' certificates

Paths are relative to the file. What the format does not know is refused, so that a misspelt key is noticed.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from tanpo.client.config import DEADLINE_S, ClientConfig
from tanpo.client.identity import Identity
from tanpo.client.keyfile import FileSigner
from tanpo.ledger.errors import Reason, UsageError

PROFILE_VERSION: Final = 1

_TOP: Final = frozenset({"version", "addresses", "genesis", "member", "keys", "deadline_s", "pin", "tls"})
_TLS: Final = frozenset({"certificate", "key", "authorities", "target_name"})

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The content of a profile file. Paths are as written there."""

    addresses: tuple[str, ...]
    genesis: str
    certificate: str
    key: str
    authorities: str
    target_name: str = ""
    member: str = ""
    keys: tuple[str, ...] = ()
    deadline_s: float = DEADLINE_S
    pin: str = ""


def render_profile(profile: Profile) -> str:
    """Return the text of a profile file; `parse_profile` is its inverse."""
    lines = [
        f"version = {PROFILE_VERSION}",
        f"addresses = {_quote_all(profile.addresses)}",
        f"genesis = {_quote(profile.genesis)}",
        f"member = {_quote(profile.member)}",
        f"keys = {_quote_all(profile.keys)}",
        f"deadline_s = {float(profile.deadline_s)}",
        *([f"pin = {_quote(profile.pin)}"] if profile.pin else []),
        "",
        "[tls]",
        f"certificate = {_quote(profile.certificate)}",
        f"key = {_quote(profile.key)}",
        f"authorities = {_quote(profile.authorities)}",
        f"target_name = {_quote(profile.target_name)}",
    ]
    return "\n".join(lines) + "\n"


def parse_profile(text: str, source: str = "profile") -> Profile:
    """Return the profile that TOML text spells. Raises `UsageError` naming `source` and the field."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(source, f"is no TOML: {error}") from None
    tls = document.get("tls")
    if not isinstance(tls, dict):
        raise _wrong(source, "has no section [tls]")
    for unknown in sorted((document.keys() - _TOP) | (tls.keys() - _TLS)):
        raise _wrong(source, f"has an unknown key {unknown!r}", unknown)
    if document.get("version") != PROFILE_VERSION:
        raise _wrong(source, f"has a version other than {PROFILE_VERSION}", document.get("version"))
    return Profile(
        addresses=_texts(source, document, "addresses"),
        genesis=_get(source, document, "genesis", str),
        certificate=_get(source, tls, "certificate", str),
        key=_get(source, tls, "key", str),
        authorities=_get(source, tls, "authorities", str),
        target_name=_get(source, tls, "target_name", str, ""),
        member=_get(source, document, "member", str, ""),
        keys=_texts(source, document, "keys", ()),
        deadline_s=float(_get(source, document, "deadline_s", (int, float), DEADLINE_S)),
        pin=_get(source, document, "pin", str, ""),
    )


def load_profile(path: Path | str) -> ClientConfig:
    """Return the configuration in a profile file, with the files it names loaded.

    Raises:
        UsageError: the profile or a file it names is unusable; the message names the file.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(str(file), f"cannot be read: {error}") from None
    profile = parse_profile(text, str(file))
    folder = file.parent
    return ClientConfig.create(
        profile.addresses,
        identity=Identity.load(
            folder / profile.certificate,
            folder / profile.key,
            folder / profile.authorities,
            target_name=profile.target_name,
        ),
        genesis=folder / profile.genesis,
        signers=[FileSigner.load(folder / key) for key in profile.keys],
        member=profile.member,
        deadline_s=profile.deadline_s,
        pin=profile.pin or None,
    )


def _get(
    source: str,
    table: Mapping[str, Any],
    name: str,
    kind: type[_T] | tuple[type[_T], ...],
    default: _T | None = None,
) -> _T:
    value = table.get(name, default)
    if value is None:
        raise _wrong(source, f"lacks the key {name!r}")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _wrong(source, f"has a wrong type at {name!r}", value)
    return value


def _texts(
    source: str, table: Mapping[str, Any], name: str, default: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    value = table.get(name, default)
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise _wrong(source, f"must have a list of texts at {name!r}", value)
    return tuple(value)


def _quote(text: str) -> str:
    # A JSON string is a TOML basic string, with the same quotes and escapes, but for one character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _quote_all(texts: tuple[str, ...]) -> str:
    return "[" + ", ".join(map(_quote, texts)) + "]"


def _wrong(source: str, why: str, value: object = "") -> UsageError:
    return UsageError(
        Reason.CONFIGURATION,
        f"profile {source} {why}",
        value=value,
        remedy="correct it, or write it anew with `tanpo net up`",
    )
