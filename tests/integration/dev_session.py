"""`hwosim dev` as a person has it: a process, a fresh state folder, a fresh home, a folder to drop files into."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
CHECKOUT = Path(__file__).parents[2]
#: What the tests wait for takes about a minute; a machine may be slow, so this only ends what hangs.
PATIENCE_S = 900.0
#: The files that lie in the archive when the session begins: two programs.
FIRST = (
    "jw97001001001_02101_00001_nrcb1_cal.fits",
    "jw97001-o001_t001_nircam_clear-f200w-sub64p_i2d.fits",
    "jw97003001001_02101_00001_mirimage_cal.fits",
)
#: From <sys/prctl.h>.
PR_SET_PDEATHSIG = 1


def command(name: str) -> str:
    """Return a command of the environment that runs the tests."""
    return str(Path(sys.executable).parent / name)


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment with nothing of the user's: a fresh HOME and state folder, no proxy, no setting."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    state = home / "state"
    state.mkdir(parents=True, exist_ok=True)
    return {**kept, "HOME": str(home), "DAGSTER_HOME": str(state), "PYTHONUNBUFFERED": "1", **more}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: str, look: Callable[[], T | None], patience: float = PATIENCE_S, every: float = 0.5) -> T:
    """Return the first thing that a look finds."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(every)
    raise AssertionError(f"waited {patience:g} s for {what}")


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the tests are killed: no fixture cleans up then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class DevSession:
    """A running `hwosim dev`."""

    def __init__(self, folder: Path) -> None:
        self.archive, self.scenarios = folder / "archive", folder / "scenarios"
        for made in (self.archive, self.scenarios):
            made.mkdir(parents=True)
        self.port, self.log = free_port(), folder / "dev.log"
        self.url = f"http://127.0.0.1:{self.port}"
        self.report_url = f"http://127.0.0.1:{free_port()}"
        self.environment = clean_environment(
            folder / "home", HWOSIM_REPORT_URL=self.report_url, HWOSIM_SCENARIO_PATH=str(self.scenarios)
        )
        self.state = Path(self.environment["DAGSTER_HOME"])
        self.process: subprocess.Popen[bytes] | None = None

    def drop(self, sample: Path, name: str) -> Path:
        """Put a file of the sample into the archive's folder as a careful person does: under another name first."""
        placed = self.archive / name
        part = placed.with_suffix(".part")
        shutil.copyfile(next(sample.rglob(name)), part)
        return part.rename(placed)

    def start(self) -> None:
        arguments = [command("hwosim"), "dev", "--port", str(self.port), "--archive", str(self.archive)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                arguments,
                stderr=log,
                stdout=log,
                env=self.environment,
                cwd=self.state,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        until("`hwosim dev` to say ready", lambda: self._said("ready"))
        # As it tells a person to do in another terminal.
        (told,) = [line for line in self.lines() if "export " in line]
        name, url = told.split("export ")[1].split("=")
        self.environment[name] = url

    def _said(self, word: str) -> str | None:
        assert self.process is not None
        assert self.process.poll() is None, f"hwosim dev left:\n{self.log.read_text()}"
        return next((line for line in self.lines() if line.startswith(word)), None)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> float:
        """End it, and return the seconds that took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(how)
        self.process.wait(60)
        return time.monotonic() - began

    def kill(self) -> None:
        """Leave nothing behind, whatever a test did."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def processes(self) -> list[str]:
        """Return the command lines of the processes that have this session's state folder in their environment."""
        mark = f"{self.state}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                # The broker has none of our environment, but our folder as its own.
                if mark in (entry / "environ").read_bytes() or str(self.state) in str((entry / "cwd").readlink()):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:  # it has ended meanwhile
                continue
        return found

    def hwosim(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another `hwosim` beside it."""
        return subprocess.run(
            [command("hwosim"), *arguments],
            env=self.environment,
            cwd=self.state,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def graphql(self, query: str, **variables: Any) -> Any:
        """Ask Dagster what its UI asks."""
        reply = httpx.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60, trust_env=False
        ).json()
        assert "errors" not in reply, reply["errors"]
        return reply["data"]

    def publications(self) -> list[dict[str, Any]]:
        """Return the rows of the table of publications."""
        from hwosim_assets.lake.tables import Tables
        from hwosim_streaming.publication import PUBLICATIONS

        rows: list[dict[str, Any]] = Tables.from_settings(self.settings()).scan(PUBLICATIONS).to_pylist()
        return rows

    def delivered(self, name: str, scenario: str) -> list[dict[str, Any]]:
        """Return the rows of a perturbed product."""
        from hwosim_assets.lake.tables import Tables
        from hwosim_assets.perturb.dataset import PERTURBED

        found = Tables.from_settings(self.settings()).scan(PERTURBED, {"scenario": scenario, "product_name": name})
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows

    def products_of(self, publication: dict[str, Any]) -> set[str]:
        """Return the names of the products that a publication put on the topic."""
        import io

        import pyarrow.parquet as pq

        from hwosim_assets.lake.store import Lake

        plan = Lake.from_settings(self.settings()).read(publication["plan_key"])
        return set(pq.read_table(io.BytesIO(plan), columns=["product_name"])["product_name"].to_pylist())

    def settings(self) -> Any:
        from hwosim_assets.settings import Settings

        return Settings(home=self.state, report_url=self.report_url)

    def verified(self, name: str, scenarios: set[str]) -> bool:
        """Tell whether a product is on the topic, verified, under every one of these scenarios."""
        there = {row["scenario"] for row in self.publications() if row["verified"] and name in self.products_of(row)}
        return scenarios <= there

    def unsettled_runs(self) -> int:
        """Return how many runs are queued or under way."""
        counted = self.graphql(
            "{ runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]})"
            " { ... on Runs { count } } }"
        )
        return int(counted["runsOrError"]["count"])
