"""`hwosim dev` end to end: what is dropped into the archive's folder is on the topic, proved, without a click.

Seconds are printed and never asserted; what is asserted is that it comes at all.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dev_session import CHECKOUT, FIRST, DevSession, command, free_port, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

AUTOMATED = {"clean", "nominal_l2", "ground_segment_bad_day"}
#: Another product of the first program.
DROPPED = "jw97001002001_0410a_00001_nis_cal.fits"
#: A backfill of a job is complete once its runs are requested.
UNDER_WAY = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED")
PROGRAMS = sorted({name[2:7] for name in FIRST})


@pytest.fixture(scope="module")
def published(dev: DevSession) -> DevSession:
    """Return the session once what lay in the archive at its start is published and nothing runs."""
    until("what lay in the archive to be published", lambda: all(dev.verified(name, AUTOMATED) for name in FIRST))
    until("its runs to end", lambda: dev.unsettled_runs() == 0)
    return dev


def test_programs_are_discovered_refreshed_and_published_without_a_click(
    dev: DevSession, say: Callable[[str], None]
) -> None:
    began = time.monotonic()
    until("what lay in the archive to be published", lambda: all(dev.verified(name, AUTOMATED) for name in FIRST))
    say(f"{len(PROGRAMS)} programs published under three scenarios {time.monotonic() - began:.0f} s after `ready`")
    assert [row for row in dev.publications() if not row["verified"]] == []
    asked = '{ sensorsOrError(repositorySelector: {repositoryName: "__repository__", repositoryLocationName: "%s"})'
    asked += " { ... on Sensors { results { name sensorState { status ticks(limit: 50) { status } } } } } }"
    sensors = {
        "hwosim_assets": {
            "discover_programs_sensor",
            "refresh_changed_sensor",
            "follow_changes_sensor",
            "reconcile_inputs_sensor",
        },
        "hwosim_streaming": {"publish_new_sensor"},
    }
    for location, names in sensors.items():
        found = dev.graphql(asked % location)["sensorsOrError"]["results"]
        assert {sensor["name"] for sensor in found} == names
        for sensor in found:
            ticks = {tick["status"] for tick in sensor["sensorState"]["ticks"]}
            assert (sensor["sensorState"]["status"], "FAILURE" in ticks) == ("RUNNING", False), sensor


def test_a_dropped_file_reaches_the_topic_verified(
    published: DevSession, sample: Path, say: Callable[[str], None]
) -> None:
    name, dev = DROPPED, published
    dev.drop(sample, name)
    began = time.monotonic()
    took = {}
    for scenario in sorted(AUTOMATED):
        until(f"{name} under {scenario}", partial(dev.verified, name, {scenario}))
        took[scenario] = f"{time.monotonic() - began:.0f} s"
    say(f"{name} verified on the topic after {took}")
    lines = until("`hwosim dev` to tell of it", lambda: [line for line in dev.lines() if f"new: {name} after" in line])
    say("\n    ".join(lines))
    program = name[2:7]
    proved = dev.hwosim("stream", "verify", "--program", program, "--scenario", "nominal_l2", "--json")
    assert proved.returncode == 0, proved.stderr
    assert all(proof["verified"] for proof in json.loads(proved.stdout)["publications"])


def test_another_terminal_sees_the_topics_that_the_ui_shows(published: DevSession) -> None:
    dev = published
    watched = dev.hwosim("stream", "watch", "--once", "--json")
    assert watched.returncode == 0, watched.stderr
    seen = json.loads(watched.stdout)
    nodes = dev.graphql("{ assetNodes { assetKey { path } isExecutable groupName } }")["assetNodes"]
    shown = {node["assetKey"]["path"][1]: node["isExecutable"] for node in nodes if node["groupName"] == "kafka"}
    assert set(seen["counts"]) == set(shown)
    assert not any(shown.values()), "topics are external assets"
    empty = [topic for topic, count in seen["counts"].items() if count == 0]
    assert empty == ["hwosim.predictions.v1"], "no model answers here"
    assert seen["newest"]["product"].startswith("jw9700")


def _backfilled(dev: DevSession, backfill: str) -> list[dict[str, Any]] | None:
    """Return the runs of a backfill once none is under way, the backfill itself included."""
    asked = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
      status error { message } runs(limit: 50) { status tags { key value } } } } }"""
    found = dev.graphql(asked, id=backfill)["partitionBackfillOrError"]
    assert found["error"] is None, found["error"]
    if found["status"] == "REQUESTED" or not found["runs"]:
        return None
    assert found["status"] in ("COMPLETED", "COMPLETED_SUCCESS")
    runs: list[dict[str, Any]] = found["runs"]
    return None if any(run["status"] in UNDER_WAY for run in runs) else runs


def _programs_of(runs: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """Return the status of each run by its code location and program."""
    tagged = [({tag["key"]: tag["value"] for tag in run["tags"]}, run["status"]) for run in runs]
    return {(tags["dagster/code_location"], tags["dagster/partition"]): status for tags, status in tagged}


def test_a_backfill_over_programs_from_the_ui_does_nothing_twice(
    published: DevSession, say: Callable[[str], None]
) -> None:
    """It takes unchanged programs through every asset of both locations: nothing is published again."""
    dev = published
    until("nothing to run", lambda: dev.unsettled_runs() == 0)
    nodes = dev.graphql("{ assetNodes { assetKey { path } isMaterializable } }")["assetNodes"]
    from hwosim_assets.settings import Settings

    # Other scenarios were never published here, and a backfill of theirs would rightly publish.
    staged = ("perturbed", "truth", "stream")
    keys = [
        node["assetKey"]
        for node in nodes
        if node["isMaterializable"]
        and (node["assetKey"]["path"][0] not in staged or node["assetKey"]["path"][1] in Settings().automated())
    ]
    before, counts = dev.publications(), dev.hwosim("stream", "watch", "--once", "--json").stdout
    began = time.monotonic()
    launched = dev.graphql(
        """mutation($of: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $of) {
          __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
        of={"assetSelection": keys, "partitionNames": PROGRAMS, "title": "two programs"},
    )["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    runs = until("the backfill", lambda: _backfilled(dev, launched["backfillId"]))
    say(f"backfill of {len(keys)} assets over two programs: {len(runs)} runs, {time.monotonic() - began:.0f} s")
    locations = ("hwosim_assets", "hwosim_streaming")
    assert _programs_of(runs) == {(place, program): "SUCCESS" for place in locations for program in PROGRAMS}
    assert sorted(dev.publications(), key=str) == sorted(before, key=str)
    after = dev.hwosim("stream", "watch", "--once", "--json").stdout
    assert json.loads(after)["counts"] == json.loads(counts)["counts"]


def test_a_backfill_over_programs_from_the_command_line(published: DevSession) -> None:
    """Dagster's own command for the daemon to do, ours for this process to do."""
    dev = published
    arguments = ["job", "backfill", "-w", str(CHECKOUT / "workspace.yaml"), "-l", "hwosim_assets", "-j", "program_job"]
    asked = subprocess.run(
        [command("dagster"), *arguments, "--partitions", ",".join(PROGRAMS), "--noprompt"],
        env=dev.environment,
        cwd=dev.state,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    backfill = asked.stdout.split("Launched backfill job `")[1].split("`")[0]
    runs = until("the backfill", lambda: _backfilled(dev, backfill))
    assert _programs_of(runs) == {("hwosim_assets", program): "SUCCESS" for program in PROGRAMS}
    named = [argument for program in PROGRAMS for argument in ("--program", program)]
    ran = dev.hwosim("run", *named, "--stage", "catalog", "--json")
    assert ran.returncode == 0, ran.stderr
    assert [(outcome["program"], outcome["failures"]) for outcome in json.loads(ran.stdout)] == [
        (program, []) for program in PROGRAMS
    ]


def test_a_port_that_is_taken_and_a_second_session_are_refused_at_once(dev: DevSession) -> None:
    taken = dev.hwosim("dev", "--port", str(dev.port), "--archive", str(dev.archive))
    assert taken.returncode == 1
    assert f"port {dev.port} of 127.0.0.1" in taken.stderr
    assert "--port" in taken.stderr
    second = dev.hwosim("dev", "--port", str(free_port()), "--archive", str(dev.archive))
    assert second.returncode == 1
    assert "another `hwosim dev`" in second.stderr


def test_ctrl_c_leaves_no_process_and_no_run_that_seems_alive(sample: Path, tmp_path: Path) -> None:
    session = DevSession(tmp_path)
    session.drop(sample, FIRST[0])
    try:
        session.start()
        under_way = "{ runsOrError(filter: {statuses: [STARTED]}) { ... on Runs { results { runId } } } }"
        run = until("a run under way", lambda: session.graphql(under_way)["runsOrError"]["results"])[0]["runId"]
        assert len(session.processes()) > 5
        seconds = session.stop(signal.SIGINT)
        assert session.process is not None
        assert session.process.returncode == 0, session.log.read_text()
        assert session.processes() == [], f"left {seconds:.0f} s after Ctrl-C"
        from dagster import DagsterInstance, DagsterRunStatus

        with DagsterInstance.from_config(str(session.state)) as instance:
            ended = instance.get_run_by_id(run)
            assert ended is not None
            assert ended.status in (DagsterRunStatus.CANCELED, DagsterRunStatus.FAILURE)
    finally:
        session.kill()


def test_a_broker_that_ran_before_is_left_running(state: Path) -> None:
    from hwosim_assets.settings import Settings
    from hwosim_streaming import broker, dev

    settings = Settings(home=state)
    with dev._broker(settings):
        assert broker.running(state) is not None
    assert broker.running(state) is None
    before = broker.launch(state)
    try:
        with dev._broker(settings) as servers:
            assert servers == before.servers
        assert broker.running(state) == before
    finally:
        broker.stop(state)
