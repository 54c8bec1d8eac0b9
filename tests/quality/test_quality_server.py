import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hwosim_assets.errors import BackendAbsentError
from hwosim_assets.lake.rejections import QUARANTINE, Rejection, rejection_rows
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables
from hwosim_assets.quality.history import Evaluation, record_results
from hwosim_assets.quality.report import write_report
from hwosim_assets.quality.run import RuleResult, SuiteResult
from hwosim_assets.settings import Settings
from hwosim_streaming.lag import Lag
from hwosim_streaming.live import LiveMessage, LiveStream
from hwosim_streaming.report_server import ReportServer

MESSAGE = LiveMessage("hwosim.frames.v1", "NRCA1", "id-1", "<b>jw01093_cal.fits", 1000)


def feed(stop: threading.Event) -> Iterator[LiveMessage]:
    for number in range(30):
        yield LiveMessage(MESSAGE.topic, MESSAGE.key, f"id-{number}", MESSAGE.subject, MESSAGE.size)
    stop.wait()


def absent(stop: threading.Event) -> Iterator[LiveMessage]:
    raise BackendAbsentError("embedded broker", "does not run", "start it")
    yield MESSAGE


@pytest.fixture
def key(state: Path) -> str:
    rule = RuleResult("counts_reconcile", "critical", True, 1, 0, (), "All there.", {"files": 3})
    settings = Settings()
    written = write_report(
        Lake.from_settings(settings),
        Tables.from_settings(settings),
        "catalog/products",
        "01093",
        SuiteResult("products", 3, (rule,)),
    )
    return written.key


@pytest.fixture
def server(key: str) -> Iterator[ReportServer]:
    settings = Settings(report_url="http://127.0.0.1:0")
    with ReportServer.from_settings(settings, feed) as running:
        yield running


def test_programs_lead_to_a_program_and_on_to_a_report(server: ReportServer, key: str) -> None:
    start = httpx.get(server.url)
    assert start.status_code == 200
    assert 'href="/program/01093"' in start.text
    program = httpx.get(f"{server.url}/program/01093")
    assert f'href="/{key}"' in program.text
    report = httpx.get(f"{server.url}/{key}")
    assert report.status_code == 200
    assert report.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in report.headers["content-security-policy"]
    said = httpx.get(f"{server.url}/{key.removesuffix('html')}json")
    assert said.json()["verdict"] == "passed"
    assert httpx.get(f"{server.url}/health").text == "ok\n"


def test_a_report_that_was_written_meanwhile_is_listed(server: ReportServer) -> None:
    assert "02739" not in httpx.get(server.url).text
    rule = RuleResult("counts_reconcile", "critical", False, 1, 1, (), "All there.", {"files": 3})
    lake, tables = Lake.from_settings(Settings()), Tables.from_settings(Settings())
    write_report(lake, tables, "catalog/products", "02739", SuiteResult("products", 3, (rule,)))
    assert "02739" in httpx.get(server.url).text
    assert [row["program"] for row in httpx.get(f"{server.url}/programs.json").json()["programs"]] == ["02739", "01093"]


def test_every_page_is_there_as_json_and_the_list_can_be_narrowed(server: ReportServer, key: str) -> None:
    [program] = httpx.get(f"{server.url}/programs.json").json()["programs"]
    assert (program["program"], program["verdict"], program["findings"]) == ("01093", "passed", [])
    said = httpx.get(f"{server.url}/program/01093.json").json()
    assert [stage["html_key"] for stage in said["stages"]] == [key]
    assert (said["refused"], said["history"]) == ([], [])
    assert httpx.get(f"{server.url}/drift.json").json() == {"series": []}
    assert "0 of 0 numbers" in httpx.get(f"{server.url}/drift").text
    assert "/program/01093" in httpx.get(f"{server.url}/?verdict=passed").text
    assert "/program/01093" not in httpx.get(f"{server.url}/?verdict=failed").text
    for path in ("/?verdict=<b>", "/program/1.json", "/program/123456.json", "/program/9999999999999.json"):
        assert httpx.get(server.url + path).status_code == 404, path


def test_a_file_leads_to_where_it_came_from(server: ReportServer) -> None:
    refused = [Rejection("jw01093_<b>.fits", "raw", "http_404", "The archive does not have it.")]
    rows = rejection_rows("01093", refused)
    Tables.from_settings(Settings()).replace(QUARANTINE, {"program": "01093", "stage": "raw"}, rows)
    page = httpx.get(f"{server.url}/lineage/jw01093_%3Cb%3E.fits")
    assert page.status_code == 200
    assert "The archive does not have it." in page.text
    assert "<b>" not in page.text
    absent = httpx.get(f"{server.url}/lineage/%3Cb%3E.fits")
    assert absent.status_code == 404
    assert "nothing that the lake knows" in absent.text
    assert "<b>" not in absent.text


def test_a_report_is_shown_with_the_runs_since(server: ReportServer, key: str) -> None:
    tables = Tables.from_settings(Settings())
    for run, passed in (("run-a", True), ("run-b", False)):
        rule = RuleResult("counts_reconcile", "critical", passed, 1, int(not passed), (), "All there.", {"files": 3})
        found = SuiteResult("products", 3, (rule,))
        record_results(tables, "catalog/products", "01093", found, Evaluation(run, "v"), key)
    page = httpx.get(f"{server.url}/{key}").text
    assert "Runs: 2" in page
    assert "run-b" in page
    assert "<svg" in page
    assert "files = accounted" in page
    assert "<svg" in httpx.get(f"{server.url}/program/01093").text


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/reports/../raw/x",
        "/reports/%2e%2e/%2e%2e/catalog.db",
        "/reports/catalog/products/jw01093/../../../../../catalog.db",
        "/reports/catalog/..%2f..%2fx/jw01093/" + "a" * 64 + ".html",
        "/raw/jw01093/x.fits",
        "/tables/hwosim/x.parquet",
        "/reports/catalog/products/jw01093/" + "a" * 64 + ".html",
        "/reports/catalog/products/jw01093/" + "a" * 64 + ".html%00",
        "/program/..%2fx",
        "/program/<script>",
        "/program/09999",
    ],
)
def test_nothing_but_reports_can_be_read(server: ReportServer, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.putrequest("GET", path, skip_host=False)  # as it stands: other clients would tidy the path
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 404
    assert "<script>" not in text


def test_it_listens_on_this_machine_and_answers_to_its_names_only(server: ReportServer) -> None:
    assert server._socket.getsockname()[0] == "127.0.0.1"
    assert httpx.get(server.url, headers={"Host": "evil.example"}).status_code == 400
    assert httpx.get(server.url, headers={"Host": f"localhost:{server.port}"}).status_code == 200


def test_a_taken_port_is_named_with_its_mend(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BackendAbsentError, match="HWOSIM_REPORT_URL"):
        ReportServer.from_settings(Settings(report_url=f"http://127.0.0.1:{taken.getsockname()[1]}"), feed)


def test_the_live_page_is_fed_and_escapes_nothing_into_markup(server: ReportServer) -> None:
    page = httpx.get(f"{server.url}/live")
    assert '<script src="/live.js">' in page.text
    script = httpx.get(f"{server.url}/live.js").text
    assert "innerHTML" not in script
    with httpx.stream("GET", f"{server.url}/live/events", timeout=10) as events:
        lines = (json.loads(line.removeprefix("data: ")) for line in events.iter_lines() if line)
        seen = next(now for now in lines if now["messages"] == 30)
    assert seen["bytes"] == 30_000
    assert seen["by_key"] == {"NRCA1": 30}
    assert len(seen["latest"]) == 20
    assert seen["latest"][0]["message_id"] == "id-29"
    assert seen["messages_per_s"] == 3.0


def test_a_rate_forgets_what_is_long_past() -> None:
    now = [0.0]
    stream = LiveStream(feed, clock=lambda: now[0])
    for _ in range(10):
        stream._note(MESSAGE)
    assert stream.snapshot()["messages_per_s"] == 1.0
    now[0] = 11.0
    assert stream.snapshot()["messages_per_s"] == 0.0
    assert stream.snapshot()["messages"] == 10


def test_a_broker_that_is_not_there_is_said_on_the_page(key: str) -> None:
    with ReportServer.from_settings(Settings(report_url="http://127.0.0.1:0"), absent) as running:
        with httpx.stream("GET", f"{running.url}/live/events", timeout=10) as events:
            lines = (json.loads(line.removeprefix("data: ")) for line in events.iter_lines() if line)
            assert "embedded broker: does not run" in next(now["trouble"] for now in lines if now["trouble"])
        assert httpx.get(running.url).status_code == 200


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_totals_rates_and_lags(key: str) -> None:
    settings = Settings()
    lags = [Lag("model", "hwosim.frames.v1", partition, 5, 12, 7 - partition) for partition in (0, 1)]
    lake, tables = Lake.from_settings(settings), Tables.from_settings(settings)
    with ReportServer(lake, tables, feed, 0, lags=lambda: lags) as running:
        until = time.monotonic() + 10
        while (found := samples(httpx.get(f"{running.url}/metrics").text))["hwosim_stream_bytes_total",] < 30_000:
            assert time.monotonic() < until
    assert found["hwosim_stream_messages_total", "NRCA1"] == 30
    assert found["hwosim_stream_up",] == 1
    assert found["hwosim_stream_messages_per_second",] == 3
    assert [found["hwosim_stream_lag", "model", number, "hwosim.frames.v1"] for number in "01"] == [7, 6]


def test_prometheus_is_told_when_there_is_no_broker(server: ReportServer) -> None:
    found = samples(httpx.get(f"{server.url}/metrics", timeout=30).text)
    assert found["hwosim_stream_up",] == 0
    assert not any(name[0] == "hwosim_stream_lag" for name in found)
