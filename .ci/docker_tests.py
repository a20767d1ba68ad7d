"""Build the image and run tests/docker on a real engine, which is started where none runs and it may be.

Where there is no engine to be had that is said, loudly, and nothing else is held up by it. What is started
here is stopped here. The base of the image and the layers of its builder stay, so that only what has
changed is made again; layers that nothing needs any more go after a day.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "tanpo:test"
ENGINE_START_S = 60
ENGINE_STOP_S = 30
BUILD_S = 900
SESSION_S = 1800


def answers() -> bool:
    """Return whether an engine answers to `docker`."""
    return shutil.which("docker") is not None and run("docker", "version", seconds=ENGINE_START_S) == ""


def has_compose() -> bool:
    """Return whether there is a Compose of either kind."""
    return shutil.which("docker-compose") is not None or (
        shutil.which("docker") is not None
        and run("docker", "compose", "version", seconds=ENGINE_START_S) == ""
    )


def run(*command: str, seconds: float) -> str:
    """Run a command quietly; return "" when it succeeds, and else the end of what it said."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not finish in {seconds:.0f} s"
    return "" if done.returncode == 0 else done.stdout[-2000:] or f"exit code {done.returncode}"


@contextlib.contextmanager
def engine() -> Iterator[str]:
    """Have an engine while the context lasts; give "" or the reason why there is none."""
    if not has_compose():
        yield "there is no Docker Compose; on Debian: apt-get install docker-compose"
        return
    if answers():
        yield ""
        return
    if os.getuid() != 0 or shutil.which("dockerd") is None:
        yield "no engine answers, and none may be started: this is not root, or dockerd is not installed"
        return
    with tempfile.TemporaryDirectory(prefix="tanpo-engine-") as scratch:
        log = Path(scratch) / "dockerd.log"
        with log.open("wb") as stream:
            # A group of its own: it must outlive a Ctrl-C until the tests have removed what they made.
            started = subprocess.Popen(
                ["dockerd", "--pidfile", f"{scratch}/pid", "--exec-root", f"{scratch}/run"],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + ENGINE_START_S
            while not answers() and started.poll() is None and time.monotonic() < deadline:
                time.sleep(0.5)
            why = "" if answers() else f"dockerd does not start:\n{log.read_text(errors='replace')[-1500:]}"
            yield why
        finally:
            started.send_signal(signal.SIGTERM)
            try:
                started.wait(ENGINE_STOP_S)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


def build() -> str:
    """Build the image that is tested; return "" or what went wrong."""
    return run("sh", "deploy/build-image.sh", IMAGE, seconds=BUILD_S)


def run_tests() -> int:
    """Run the tests, remove layers that are of no use any more, and return pytest's exit code."""
    command = [sys.executable, "-m", "pytest", "-n", "0", f"--session-timeout={SESSION_S}", "tests/docker"]
    environment = os.environ | {"TANPO_TEST_IMAGE": IMAGE}
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    filters = ("--filter", "label=org.tanpo.builder", "--filter", "until=24h")
    run("docker", "image", "prune", "--force", *filters, seconds=ENGINE_START_S)
    return code


def main() -> None:
    """Run the tests if they can be, and exit with 1 if one failed or the image cannot be built."""
    with engine() as why:
        if why:
            banner = "!" * 100
            print(f"{banner}\nTHE DOCKER TESTS DID NOT RUN: {why}\n{banner}", file=sys.stderr, flush=True)
            return
        began = time.monotonic()
        failure = build()
        print(f"{'FAILED' if failure else 'ok':6} image ({time.monotonic() - began:.1f} s)", flush=True)
        code = 1 if failure else run_tests()
    sys.exit(failure or code)


if __name__ == "__main__":
    main()
