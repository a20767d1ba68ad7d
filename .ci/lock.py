"""Write the lock file: this project's requirements, all extras, at the versions installed here."""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-ci.lock"
HEADING = (
    "# Exact versions for development and CI, written by `make lock`. Users of the package need none of it.\n"
)


def collect_versions(requirements: list[Requirement]) -> dict[str, str]:
    """Return the installed version of everything that `requirements` need, themselves included."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = _expand(requirements, extra="")
    while todo:
        name, extra = todo.pop()
        if (name, extra) not in seen:
            seen.add((name, extra))
            installed = distribution(name)
            versions[name] = installed.version
            todo += _expand([Requirement(line) for line in installed.requires or []], extra)
    return versions


def read_requirements() -> list[Requirement]:
    """Return what the project file asks for, all extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(line) for group in groups for line in group]
    return [requirement for requirement in requirements if requirement.name != project["name"]]


def main() -> None:
    """Write the lock file of this project."""
    versions = collect_versions(read_requirements())
    LOCK.write_text(HEADING + "".join(f"{name}=={version}\n" for name, version in sorted(versions.items())))


def _expand(requirements: list[Requirement], extra: str) -> list[tuple[str, str]]:
    """Return the (name, extra) pairs of the requirements that hold here for `extra`."""
    return [
        (canonicalize_name(requirement.name), wanted)
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        for wanted in ("", *requirement.extras)
    ]


if __name__ == "__main__":
    main()
