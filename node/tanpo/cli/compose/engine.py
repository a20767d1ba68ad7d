"""The container engine, by the `docker` command and whichever Compose is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import LedgerError, Reason, Unavailable, UsageError

COMPOSE_OLDEST: Final = (1, 28)
"""The first docker-compose that knows profiles and files without a version."""
_COMMAND_SECONDS: Final = 180.0
"""How long a command of the engine may take; starting four nodes takes a few seconds."""
_INSTALL: Final = (
    "install Docker (on Debian: apt-get install docker.io docker-compose), or leave out --compose"
)
_LINE_MAX: Final = 300
_GONE: Final = re.compile(
    "(Cannot|Couldn't) connect to (the )?Docker daemon|error during connect"
    "|Connection aborted|error while fetching server API version",
    re.IGNORECASE,
)
"""How the docker command and either Compose say that the engine is not there, or no more."""
_NOISE: Final = re.compile(
    r"^(time=|level=|\s*(Network|Container|Volume|Creating|Starting|Recreating|Stopping|Removing)\b"
    r"|(ERROR: )?Encountered errors while)"
)
_UNFETCHED: Final = ("pull access denied", "no such host", "manifest unknown", "Head ", 'Get "https://')
"""What engines say where an image is not there and its registry has none, or is not reached."""
_PULLED: Final = re.compile(r"^Pulling \S+ \((\S+)\)", re.MULTILINE)
"""Where docker-compose names the image; what it says after that names the registry alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A compose file with its settings, under a name of its own."""

    name: str
    file: Path
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine that answered when it was found."""

    docker: str
    compose: tuple[str, ...]

    @classmethod
    def find(cls) -> Engine:
        """Return the engine of this machine.

        Raises:
            UsageError: there is no docker command or no Compose, or it is too old.
            Unavailable: the engine does not answer.
        """
        docker = shutil.which("docker")
        if docker is None:
            raise _missing("there is no docker command", "docker", "a docker command", _INSTALL)
        asked = _call([docker, "version", "--format", "{{.Server.Version}}"], {})
        if asked.returncode != 0:
            raise _unanswered(_explain(asked.stderr))
        return cls(docker=docker, compose=_find_compose(docker))

    def run_docker(self, *arguments: str) -> str:
        """Run a docker command and return what it prints. Raises a `LedgerError` if it fails."""
        return _check(_call([self.docker, *arguments], {}), arguments)

    def run_compose(
        self, project: Project, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> str:
        """Run a compose command on a project; `environment` overrides its settings for this once."""
        command = [*self.compose, "--project-name", project.name, "--file", str(project.file), *arguments]
        # The settings are said, not left to .env: a variable of the shell would have precedence over that.
        return _check(_call(command, {**project.settings, **(environment or {})}), arguments)

    def read_log(self, container: str, lines: int) -> str:
        """Return the last lines that a container wrote."""
        done = _call([self.docker, "logs", "--tail", str(lines), container], {})
        return done.stdout + done.stderr if done.returncode == 0 else ""

    def follow_log(self, container: str, lines: int) -> Iterator[str]:
        """Yield the last lines that a container wrote, and what it adds until the caller stops asking."""
        command = [self.docker, "logs", "--follow", "--tail", str(lines), container]
        with subprocess.Popen(  # noqa: S603 - docker, with arguments from this package
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as following:
            try:
                yield from (line.rstrip("\n") for line in following.stdout or ())
            finally:
                following.terminate()

    def has_image(self, image: str) -> bool:
        """Return whether the engine has an image by this name."""
        return _call([self.docker, "image", "inspect", image], {}).returncode == 0

    def list_containers(
        self, project: str, service: str | None = None, *, is_running: bool = False
    ) -> list[str]:
        """Return the ids of a project's containers, of one service or of all."""
        filters = _select(project)
        if service is not None:
            filters.append(f"label=com.docker.compose.service={service}")
        if is_running:
            filters.append("status=running")
        named = [word for one in filters for word in ("--filter", one)]
        return self.run_docker("ps", "--all", "--quiet", *named).split()

    def list_volumes(self, project: str) -> list[str]:
        """Return the names of a project's volumes."""
        named = f"label=com.docker.compose.project={project}"
        return self.run_docker("volume", "ls", "--quiet", "--filter", named).split()

    def find_doubles(self, project: str) -> list[str]:
        """Return the ids of containers in whose place another one is: none of them runs.

        Compose leaves the old one when it is killed, or its engine ends, while it replaces a container. Then
        it starts both, and they want the same ports.
        """
        named = [word for one in _select(project) for word in ("--filter", one)]
        form = '{{.ID}} {{.Label "com.docker.compose.service"}} {{.Status}}'
        seen: dict[str, list[tuple[str, bool]]] = {}
        # The newest comes first.
        for line in self.run_docker("ps", "--all", "--format", form, *named).splitlines():
            container, service, status = line.split(" ", 2)
            seen.setdefault(service, []).append((container, status.startswith("Up")))
        doubles = []
        for containers in seen.values():
            kept = next((one for one, is_up in containers if is_up), containers[0][0])
            doubles += [one for one, is_up in containers if one != kept and not is_up]
        return doubles


def _select(project: str) -> list[str]:
    """Return the filters for the containers of a project's services."""
    return [f"label=com.docker.compose.project={project}", "label=com.docker.compose.oneoff=False"]


def _find_compose(docker: str) -> tuple[str, ...]:
    if _call([docker, "compose", "version"], {}).returncode == 0:
        return (docker, "compose")
    alone = shutil.which("docker-compose")
    remedy = "install the docker-compose-plugin or, on Debian, apt-get install docker-compose"
    if alone is None:
        raise _missing("there is no Docker Compose", "docker compose", "Compose 2, or docker-compose", remedy)
    found = _call([alone, "version", "--short"], {}).stdout.strip()
    numbers = re.findall(r"\d+", found)[:2]
    if tuple(map(int, numbers)) < COMPOSE_OLDEST:
        oldest = ".".join(map(str, COMPOSE_OLDEST))
        raise _missing("docker-compose is too old", found or "no version", f"{oldest} or newer", remedy)
    return (alone,)


def _call(command: Sequence[str], settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")}
    try:
        return subprocess.run(  # noqa: S603 - docker, with arguments from this package
            command,
            env={**inherited, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(
            Reason.DEADLINE,
            "the container engine does not finish",
            value=" ".join(command),
            limit=f"{_COMMAND_SECONDS:.0f} s",
            remedy="see what keeps it: docker ps, and the engine's own log",
        ) from None


def _check(done: subprocess.CompletedProcess[str], arguments: Sequence[str]) -> str:
    if done.returncode == 0:
        return done.stdout
    raise _classify(_explain(done.stderr or done.stdout), done.stderr, " ".join(arguments))


def _classify(line: str, text: str, command: str) -> LedgerError:
    gone = [one.strip() for one in text.splitlines() if _GONE.search(one)]
    if gone:
        return _unanswered(gone[0][:_LINE_MAX])
    if "already allocated" in text or "address already in use" in text:
        return UsageError(
            Reason.PORT_IN_USE,
            f"a port is in use: {line}",
            value=command,
            limit="free ports",
            remedy="stop what listens there (`ss -ltnp` names it); if nothing does, the engine remembers one "
            "that is no more, as after it was killed: restart it; or make another network with --dir and "
            "--base-port",
        )
    if any(sign in text for sign in _UNFETCHED):
        named = _PULLED.findall(text)
        return UsageError(
            Reason.NOT_FOUND,
            f"an image is missing and cannot be fetched: {line}",
            value=named[-1] if named else command,
            limit="images that the engine has or can fetch",
            remedy="load it (docker load), or name one that the engine has in .env in the network's folder "
            "(TANPO_PROMETHEUS_IMAGE, TANPO_GRAFANA_IMAGE); deploy/build-image.sh builds the node's",
        )
    if "no space left" in text:
        return UsageError(
            Reason.DISK_FULL,
            f"the engine's disk is full: {line}",
            value=command,
            limit="room for images and volumes",
            remedy="make room: docker system df says what takes it",
        )
    return Unavailable(
        Reason.UNREACHABLE,
        f"the container engine refused: {line}",
        value=command,
        limit="a command that the engine carries out",
        remedy="see the engine's own log",
    )


def _unanswered(line: str) -> Unavailable:
    return Unavailable(
        Reason.UNREACHABLE,
        f"the container engine does not answer: {line}",
        value=os.environ.get("DOCKER_HOST", "the default socket"),
        limit="a running engine that you may use",
        remedy="start it (as root: systemctl start docker) or join the group docker, and repeat this; "
        "containers end with their engine, and `tanpo net up` starts them again. A new network does without "
        "if you leave out --compose",
    )


def _explain(text: str) -> str:
    """Return the line of an engine's output that says what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _NOISE.match(line)]
    own = [line for line in lines if line.startswith("tanpo: ")]
    telling = own or [line for line in lines if "rror" in line or "annot" in line or "denied" in line]
    return (telling or lines or ["it says nothing"])[-1][:_LINE_MAX]


def _missing(what: str, value: str, limit: str, remedy: str) -> UsageError:
    return UsageError(Reason.CONFIGURATION, what, value=value, limit=limit, remedy=remedy)
