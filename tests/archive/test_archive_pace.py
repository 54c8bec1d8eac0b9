"""How fast an archive is asked, and that it is let alone when it says so."""

from __future__ import annotations

import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from archive_material import bare_server, read_request

from hwosim_assets.archive.client import ArchiveClient
from hwosim_assets.archive.pace import Pace, seconds_asked


def test_requests_of_all_threads_take_turns() -> None:
    """Time on a busy machine only gets longer, so the least it may take is what is tested."""
    pace, began = Pace(per_second=50), time.monotonic()
    threads = [threading.Thread(target=lambda: [pace.wait() for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began >= 19 / 50


def test_no_limit_means_no_turn_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: pytest.fail("waited"))
    pace = Pace()
    for _ in range(100):
        pace.wait()


@pytest.mark.parametrize(("said", "seconds"), [("3", 3.0), (" 10 ", 10.0), ("", 0.0), ("soon", 0.0), ("-5", 0.0)])
def test_retry_after_in_seconds(said: str, seconds: float) -> None:
    assert seconds_asked(said) == seconds


def test_retry_after_as_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < seconds_asked(later) <= 100
    assert seconds_asked("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


def test_too_many_requests_hold_back_every_request_of_the_client() -> None:
    times: list[float] = []

    def talk(connection: socket.socket, number: int) -> None:
        read_request(connection)
        times.append(time.monotonic())
        body = b'{"01979": {"fingerprint": "f"}}'
        if number == 0:
            connection.sendall(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with bare_server(talk) as (url, _), ArchiveClient(url, timeout=10) as client:
        first = threading.Thread(target=client.programs)
        first.start()
        while not times:
            time.sleep(0.001)
        time.sleep(0.1)
        client.programs()
        first.join()
    assert min(times[1:]) - times[0] >= 1


def test_an_archive_elsewhere_is_asked_politely_unless_told_otherwise() -> None:
    for url, given, gap in (
        ("https://mast.stsci.edu", None, 0.1),
        ("https://mast.stsci.edu", 4.0, 0.25),
        ("https://mast.stsci.edu", 0.0, 0.0),
        ("http://127.0.0.1:1", None, 0.0),
        ("http://localhost:1", 20.0, 0.05),
    ):
        with ArchiveClient(url, per_second=given) as client:
            assert client._transport._pace._gap == gap
