"""A deployment of the shipped configuration, and programs taken through it: by its sensors, by a backfill of the UI."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from astropy.io import fits
from deployment import Deployment, deployed
from dev_session import until

from hwosim_assets.archive.sample import write_sample

RUNS = "{ runsOrError { ... on Runs { results { jobName status tags { key value } } } } }"
#: Programs of the backfill; of these, BAD have no file that validates, and TORN have one bad file among good ones.
PROGRAMS = int(os.environ.get("HWOSIM_BACKFILL_PROGRAMS", "20"))
BAD, TORN = 3, PROGRAMS * 2 // 5
#: Seconds that the backfill may take: several times what it takes on two cores that others use too.
PATIENCE = 120 * PROGRAMS
#: Runs that a pool lets in at once, by `docker/dagster.yaml`; without pools there would be four.
POOL = 2

# A backfill of twenty programs takes minutes, and a deployment half a minute to come up and go.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(PATIENCE + 600)]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    write_sample(folder / "archive", programs=1)
    with deployed(folder) as made:
        yield made


def _runs(made: Deployment) -> list[dict[str, Any]]:
    answer = made.ask(RUNS)
    return list(answer["runsOrError"]["results"]) if answer else []


def test_both_locations_are_loaded_over_grpc(deployment: Deployment) -> None:
    answer = deployment.ask(
        "{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename } } } } }"
    )
    entries = answer["workspaceOrError"]["locationEntries"]
    found = {entry["name"]: entry["locationOrLoadError"]["__typename"] for entry in entries}
    assert found == {"hwosim_assets": "RepositoryLocation", "hwosim_streaming": "RepositoryLocation"}


def test_a_program_goes_from_the_archive_to_apache_kafka_by_itself(
    deployment: Deployment, say: Callable[[str], None]
) -> None:
    """The sensors find it, take it through, and publish it; nobody asks."""
    began = time.monotonic()

    def published() -> list[dict[str, Any]]:
        runs = _runs(deployment)
        failed = [run for run in runs if run["status"] == "FAILURE"]
        assert not failed, failed
        done = [run for run in runs if run["status"] == "SUCCESS"]
        return done if {"refresh_job", "program_job"} <= {run["jobName"] for run in done} else []

    until("a publication", published, patience=600, every=2)
    rows = yaml.safe_load(
        deployment.run("hwosim", "sql", "--json", "select program, scenario, published, verified from publications")
    )
    assert [(row["scenario"], row["verified"]) for row in rows] == [("clean", True)]
    found = json.loads(deployment.page("/operations.json") or "{}")
    asked = {alert["name"]: alert["value"] for alert in found["alerts"]}["seconds since the archive was last asked"]
    assert asked is not None
    assert asked < 600, "ticks of the daemon's sensor say when the archive was asked"
    assert rows[0]["program"] in (deployment.page("/") or "")
    home = Path(deployment.environment["DAGSTER_HOME"])
    assert not list(home.rglob("*.db")), "everything is in PostgreSQL"
    say(f"deployment: one program from archive to Apache Kafka after {time.monotonic() - began:.0f} s")


def _without_telescope(path: Path) -> None:
    """Take from a file what says whose it is: catalogued, it goes to quarantine."""
    fits.delval(path, "TELESCOP")


@pytest.fixture(scope="module")
def archive(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Fill the archive, and return its bad programs, and those with a bad file."""
    written = tmp_path_factory.mktemp("programs")
    write_sample(written, programs=PROGRAMS)
    folders = sorted(written.glob("jw*"))
    bad, torn = folders[1 : 1 + BAD], folders[1 + BAD : 1 + BAD + TORN]
    for folder in bad:
        for path in folder.glob("*.fits"):
            _without_telescope(path)
    for folder in torn:
        _without_telescope(min(folder.glob("*.fits")))
    for folder in folders[1:]:
        folder.rename(deployment.folder / "archive" / folder.name)
    named = {folder.name[2:] for folder in folders}
    return {"all": named, "bad": {each.name[2:] for each in bad}, "torn": {each.name[2:] for each in torn}}


def test_a_backfill_from_the_ui_stops_the_bad_programs_and_no_other(
    deployment: Deployment, archive: dict[str, set[str]], say: Callable[[str], None]
) -> None:
    for place, sensor in (("hwosim_assets", "refresh_changed_sensor"), ("hwosim_streaming", "publish_new_sensor")):
        identity = _sensor(deployment, place, sensor)
        stopped = deployment.ask("mutation($id: String) { stopSensor(id: $id) { __typename } }", id=identity)
        assert stopped["stopSensor"]["__typename"] == "StopSensorMutationResult", stopped
    partitions = '{ partitionSetsOrError: assetNodeOrError(assetKey: {path: ["raw", "fits_files"]}) '
    partitions += "{ ... on AssetNode { partitionKeys } } }"
    until(
        "every program to be registered",
        lambda: archive["all"] <= set(deployment.ask(partitions)["partitionSetsOrError"]["partitionKeys"]),
    )
    until("nothing to run", lambda: all(run["status"] in ("SUCCESS", "FAILURE") for run in _runs(deployment)))
    nodes = deployment.ask("{ assetNodes { assetKey { path } isMaterializable } }")["assetNodes"]
    scenario = {"perturbed", "truth", "stream"}
    keys = [
        node["assetKey"]
        for node in nodes
        for group, name in [node["assetKey"]["path"]]
        if node["isMaterializable"] and group != "report" and (group not in scenario or name == "clean")
    ]
    began, held = time.monotonic(), deployment.database_bytes()
    launched = deployment.ask(
        """mutation($of: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $of) {
          __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
        of={"assetSelection": keys, "partitionNames": sorted(archive["all"]), "title": "all programs"},
    )["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    held_at_once = [0]

    def ended_by_now() -> list[Run]:
        held_at_once.append(deployment.resident_bytes())
        return _ended(deployment, launched["backfillId"])

    ended = until("the backfill", ended_by_now, patience=PATIENCE, every=5)
    seconds = time.monotonic() - began
    grown = (deployment.database_bytes() - held) / len(ended) / 1000
    say(f"backfill: {PROGRAMS} programs, {len(keys)} assets: {seconds:.0f} s, {seconds / PROGRAMS:.1f} s per program")
    say(f"backfill: the services and their runs held {max(held_at_once) / 1e9:.1f} GB at the most")
    say(f"backfill: Dagster's storage grew by {grown:.0f} kB for each of {len(ended)} runs")
    states = {(run.place, run.program): run.status for run in ended}
    for place in ("hwosim_assets", "hwosim_streaming"):
        assert _most_at_once([run for run in ended if run.place == place]) <= POOL, "pools let in so many"
    failed = {program for (_, program), status in states.items() if status == "FAILURE"}
    assert failed == archive["bad"]
    assert {program for place, program in states if place == "hwosim_assets"} == archive["all"]
    left = yaml.safe_load(deployment.run("hwosim", "programs", "left", "--state", "failed", "--json"))
    assert {one["program"] for one in left} == archive["bad"]
    assert all(reason.startswith("check catalog/") for one in left for reason in one["reasons"]), left
    passed = {
        program for (place, program), status in states.items() if (place, status) == ("hwosim_streaming", "SUCCESS")
    }
    assert passed == archive["all"] - archive["bad"], "what is good goes all the way"
    rows = yaml.safe_load(
        deployment.run("hwosim", "sql", "--json", "select program, verified, products from publications")
    )
    assert {row["program"] for row in rows if row["verified"]} == archive["all"] - archive["bad"]
    asked = "select program, count(distinct product_name) as files from quarantine where stage = 'catalog' group by 1"
    refused = yaml.safe_load(deployment.run("hwosim", "sql", "--json", asked))
    files = Counter({row["program"]: row["files"] for row in refused})
    assert set(files) == archive["bad"] | archive["torn"]
    assert all(files[program] == 1 for program in archive["torn"])
    for page in ("/", "/operations"):
        asked_at = time.monotonic()
        assert deployment.page(page)
        say(f"backfill: the page {page} of {PROGRAMS} programs opened in {time.monotonic() - asked_at:.2f} s")


def _sensor(made: Deployment, place: str, name: str) -> str:
    """Return the id of a sensor that would take the programs through before anybody asks."""
    answer = made.ask(
        """query($place: String!, $name: String!) { sensorOrError(sensorSelector: {repositoryLocationName: $place,
             repositoryName: "__repository__", sensorName: $name}) { ... on Sensor { id } } }""",
        place=place,
        name=name,
    )
    return str(answer["sensorOrError"]["id"])


class Run(NamedTuple):
    """A run of a backfill, with its times (s since 1970)."""

    place: str
    program: str
    status: str
    began: float
    ended: float


def _most_at_once(runs: list[Run]) -> int:
    """Return how many runs were under way at once, at most."""
    return max(sum(other.began <= run.began < other.ended for other in runs) for run in runs)


def _ended(made: Deployment, backfill: str) -> list[Run]:
    """Return a backfill's runs once it has ended; nothing before."""
    answer = made.ask(
        """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status
             runs { status startTime endTime tags { key value } } } } }""",
        id=backfill,
    )["partitionBackfillOrError"]
    if answer["status"] in ("REQUESTED", "CANCELING", "FAILING"):
        return []
    tagged = [({tag["key"]: tag["value"] for tag in run["tags"]}, run) for run in answer["runs"]]
    return [
        Run(tags["dagster/code_location"], tags["dagster/partition"], run["status"], run["startTime"], run["endTime"])
        for tags, run in tagged
    ]


def test_a_code_server_that_restarts_is_used_again(deployment: Deployment) -> None:
    port = deployment.environment["HWOSIM_STREAMING_PORT"]
    deployment.stop("streaming")
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", int(port)), timeout=2):
        pass
    assert deployment.ask("{ version }"), "the web server stays"
    module = "hwosim_streaming.definitions"
    deployment.start("streaming", "dagster", "code-server", "start", "-h", "127.0.0.1", "-p", port, "-m", module)
    until("the code server to be healthy again", lambda: deployment.healthy(port))
    deployment.alive()
