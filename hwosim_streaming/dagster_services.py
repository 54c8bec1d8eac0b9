"""Dagster's web server, daemon and code servers as one child that leaves nothing behind.

Holds: starting ``dagster dev`` in a session of its own, waiting until its pages answer, asking whether
the code locations loaded, ending all of its processes, and settling the runs that went with them.
Keep out what else ``hwosim dev`` starts (``dev``) and what it tells meanwhile (``news``).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from hwosim_assets.errors import HwosimError

if TYPE_CHECKING:
    import dagster as dg

__all__ = ["DagsterServices", "settle_lost_runs"]

#: Seconds until the pages answer; 15 to 30 on two cores.
START_SECONDS = 180.0
#: Seconds for Dagster to end its processes by itself; idle it takes about five.
STOP_SECONDS = 15.0
LOCATIONS = """{ workspaceOrError { __typename ... on Workspace { locationEntries {
  name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
#: Dagster's tag on runs that a code server executes: not on those that a command executes in its own process.
LAUNCHED_TAG = ".dagster/grpc_info"


class DagsterServices:
    """``dagster dev`` on the loopback interface; use as a context manager.

    Parameters
    ----------
    port : int
        TCP port of the pages on 127.0.0.1.
    workspace : sequence of str
        How it is told of the code locations.
    log : pathlib.Path
        File that gets everything Dagster prints, runs included; begun anew.
    environment : mapping of str to str
        Of the child.
    """

    def __init__(self, port: int, workspace: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        self._began = datetime.now(UTC)
        self._told: set[str] = set()
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port), *workspace]
        with log.open("wb") as output:
            # A session of its own: a Ctrl-C reaches us alone, and whatever it starts can be found and ended.
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own arguments
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )

    def __enter__(self) -> DagsterServices:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait_until_answering(self) -> None:
        """Return when the pages answer.

        Raises
        ------
        HwosimError
            If Dagster left, or did not answer in time.
        """
        import httpx

        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            self.check()
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/server_info", timeout=5.0, trust_env=False).status_code == httpx.codes.OK:
                    return
            time.sleep(0.2)
        raise HwosimError(f"Dagster {self.url}", f"did not answer within {START_SECONDS:g} s", f"read {self._log}")

    def locations(self) -> dict[str, str]:
        """Return the code locations, each with the reason why it did not load (empty where it did)."""
        import httpx

        reply = httpx.post(f"{self.url}/graphql", json={"query": LOCATIONS}, timeout=60.0, trust_env=False)
        found = {}
        for entry in reply.json()["data"]["workspaceOrError"]["locationEntries"]:
            loaded = entry["locationOrLoadError"] or {}
            found[entry["name"]] = " ".join(loaded.get("message", "").split())
        return found

    def check(self) -> None:
        """Raise a HwosimError if Dagster left by itself."""
        status = self._process.poll()
        if status is not None:
            raise HwosimError("Dagster", f"ended by itself with status {status}", f"read {self._log}")

    def failed_runs(self, instance: dg.DagsterInstance) -> Iterator[str]:
        """Yield one line for each run that failed since the last call: its job, its program, its page."""
        import dagster as dg

        failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=self._began)
        for run in instance.get_runs(failed):
            if run.run_id not in self._told:
                self._told.add(run.run_id)
                yield f"failed    {run.tags.get('dagster/partition', '')} {run.job_name}: {self.url}/runs/{run.run_id}"

    def close(self) -> None:
        """End Dagster's processes: by its own way first, then whatever is left of its session."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def settle_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Record as cancelled the runs whose processes ended with Dagster's services.

    Dagster itself keeps them as under way for hours: they would hold their places in the queue, and the
    sensors would wait for them. Call it while no services run on this instance.

    Returns
    -------
    list of str
        Their run ids.
    """
    import dagster as dg

    under_way = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    lost = [run for run in instance.get_runs(dg.RunsFilter(statuses=under_way)) if LAUNCHED_TAG in run.tags]
    for run in lost:
        instance.report_run_canceled(run, "Its process ended with Dagster's services.")
    return [run.run_id for run in lost]
