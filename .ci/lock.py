"""Write the lock file: this project's requirements, all extras, at the versions installed here."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-ci.lock"
HEADING = "# Exact versions for development and CI. Written by `make lock`; not used by the published package.\n"


def collect_versions(project: str, extras: tuple[str, ...]) -> dict[str, str]:
    """Return the installed version of everything that `project` with `extras` needs, itself left out."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(canonicalize_name(project), extra) for extra in ("", *extras)]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        installed = distribution(name)
        versions[canonicalize_name(name)] = installed.version
        for line in installed.requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                todo += [(canonicalize_name(requirement.name), e) for e in ("", *requirement.extras)]
    del versions[canonicalize_name(project)]
    return versions


def main() -> None:
    """Write the lock file of this project."""
    versions = collect_versions("tanpo", ("node", "dev"))
    LOCK.write_text(HEADING + "".join(f"{name}=={version}\n" for name, version in sorted(versions.items())))


if __name__ == "__main__":
    main()
