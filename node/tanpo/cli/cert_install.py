"""Putting a certificate that a CA issued in the place of a node's own, once it is known that it fits.

A node looks at its files at a start and when it is told to (`tanpo cert rotate`), so that nothing changes
for one that runs. What was there stays beside, with `.before` after its name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tanpo.cli.founding.creating import PUBLIC_MODE, SECRET_MODE, create_file

if TYPE_CHECKING:
    from tanpo.node.config import NodeConfig

BEFORE_SUFFIX: Final = ".before"
_SCRATCH_SUFFIX: Final = ".installing"


def install_files(
    config: NodeConfig, certificate: Path, key: Path, ca: Path | None = None
) -> tuple[Path, Path]:
    """Put a certificate and its key where the configuration says that they are; return these paths.

    `ca` takes the place of the member's CA, for a certificate that another one issued.

    Raises:
        UsageError: a start would refuse them, for the reasons that the message tells; nothing has changed.
    """
    _check(config, certificate, key, ca)
    pairs = [(key, config.tls.key, SECRET_MODE), (certificate, config.tls.certificate, PUBLIC_MODE)]
    if ca is not None:
        pairs.append((ca, config.tls.ca, PUBLIC_MODE))
    # All bytes are on the disk before anything is renamed; then each name has the old file or the new one.
    for source, place, mode in pairs:
        _copy(source, place.with_name(place.name + _SCRATCH_SUFFIX), place, mode)
        if place.exists():
            _copy(place, place.with_name(place.name + BEFORE_SUFFIX), place, mode)
    for _, place, _ in pairs:
        place.with_name(place.name + _SCRATCH_SUFFIX).replace(place)
    return config.tls.certificate, config.tls.key


def _copy(source: Path, target: Path, owned_like: Path, mode: int) -> None:
    """Write a copy for whoever owns another file: root may install for the node's own user."""
    target.unlink(missing_ok=True)
    create_file(target, source.read_bytes(), mode)
    if os.geteuid() == 0 and owned_like.exists():
        status = owned_like.stat()
        os.chown(target, status.st_uid, status.st_gid)


def _check(config: NodeConfig, certificate: Path, key: Path, ca: Path | None) -> None:
    from tanpo.node.credentials import check_authority, check_certificate
    from tanpo.node.dialling import load_genesis

    new: dict[str, Path] = {"certificate": certificate, "key": key}
    if ca is not None:
        new["ca"] = ca
    wanted = config.model_copy(update={"tls": config.tls.model_copy(update=new)})
    found = list(check_certificate(wanted))
    if ca is not None:
        found += check_authority(wanted, load_genesis(config.genesis))
    faults = [one.error for one in found if one.is_fault]
    if faults:
        told = "; ".join(error.message for error in faults)
        raise faults[0].retell(f"the certificate is not installed, the one before stays: {told}")
