"""Real ticks on an instance of their own: discovery, refreshing what changed, publishing what is new."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hwosim_assets.partitions import jwst_program, register_programs, registered_programs
from hwosim_assets.resources import ArchiveResource, LakeResource
from hwosim_assets.sensors import ATTEMPTS, REQUEST_TAG


class FakeArchive:
    """An archive whose programs and fingerprints a test sets."""

    def __init__(self, **programs: str) -> None:
        self.fingerprints = {name.removeprefix("p"): value for name, value in programs.items()}

    def programs(self, of: Sequence[str] | None = None) -> dict[str, str]:
        return {p: f for p, f in self.fingerprints.items() if of is None or p in of}


class FakeArchiveResource(ArchiveResource):
    """Hands out the fake."""

    def client(self) -> Any:
        return ARCHIVE


ARCHIVE = FakeArchive()


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> FakeArchive:
    ARCHIVE.fingerprints = {}
    return ARCHIVE


@pytest.fixture
def instance(state: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def _found(name: str) -> tuple[dg.Definitions, dg.SensorDefinition]:
    from hwosim_assets.definitions import build_defs as assets
    from hwosim_streaming.definitions import build_defs as streaming

    for definitions in (assets(), streaming()):
        for sensor in definitions.sensors or []:
            if sensor.name == name:
                return definitions, definitions.resolve_sensor_def(name)
    raise AssertionError(name)


class Ticker:
    """Ticks a sensor as the daemon does: carries the cursor, records the runs that were requested."""

    def __init__(self, instance: dg.DagsterInstance, name: str, **resources: object) -> None:
        self.instance, self.resources, self.cursor = instance, resources, None
        self.definitions, self.sensor = _found(name)

    def tick(self) -> list[dg.RunRequest]:
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources=self.resources, definitions=self.definitions
        ) as context:
            result = self.sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        for request in result.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        return list(result.run_requests or [])

    def record(self, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
        with_run = dg.DagsterRun(
            job_name="job", run_id=dg._core.utils.make_new_run_id(), status=status, tags=request.tags
        )
        self.instance.add_run(with_run)


def test_discovery_registers_programs_and_requests_nothing(instance: dg.DagsterInstance, archive: FakeArchive) -> None:
    archive.fingerprints = {"01345": "a", "02565": "b"}
    ticker = Ticker(instance, "discover_programs_sensor", archive=FakeArchiveResource())
    assert ticker.tick() == []
    assert registered_programs(instance) == ["01345", "02565"]
    assert ticker.tick() == []


def test_a_changed_program_is_refreshed_once(instance: dg.DagsterInstance, archive: FakeArchive) -> None:
    archive.fingerprints = {"01345": "a", "02565": "b"}
    register_programs(instance, ["01345"])
    ticker = Ticker(instance, "refresh_changed_sensor", archive=FakeArchiveResource(), lake=LakeResource())
    (request,) = ticker.tick()
    assert request.partition_key == "01345", "02565 is not registered yet"
    ticker.record(request, dg.DagsterRunStatus.STARTED)
    assert ticker.tick() == []


def test_a_failed_refresh_is_tried_again_under_a_new_key_and_not_for_ever(
    instance: dg.DagsterInstance, archive: FakeArchive
) -> None:
    archive.fingerprints = {"01345": "a"}
    register_programs(instance, ["01345"])
    ticker = Ticker(instance, "refresh_changed_sensor", archive=FakeArchiveResource(), lake=LakeResource())
    keys = []
    for _ in range(ATTEMPTS):
        (request,) = ticker.tick()
        keys.append(request.run_key)
        ticker.record(request, dg.DagsterRunStatus.FAILURE)
    assert len(set(keys)) == ATTEMPTS
    assert ticker.tick() == []
    archive.fingerprints = {"01345": "b"}
    (request,) = ticker.tick()
    assert request.run_key not in keys


def test_a_program_that_went_back_to_an_earlier_state_is_refreshed(
    instance: dg.DagsterInstance, archive: FakeArchive
) -> None:
    register_programs(instance, ["01345"])
    ticker = Ticker(instance, "refresh_changed_sensor", archive=FakeArchiveResource(), lake=LakeResource())
    for fingerprint in ("a", "b", "a"):
        archive.fingerprints = {"01345": fingerprint}
        (request,) = ticker.tick()
        ticker.record(request, dg.DagsterRunStatus.SUCCESS)
        assert ticker.tick() == []


def test_files_that_did_not_come_are_asked_for_again_ever_more_seldom(
    instance: dg.DagsterInstance, archive: FakeArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hwosim_assets.lake.awaited import AWAITED, awaited_rows
    from hwosim_assets.lake.rejections import Rejection

    archive.fingerprints = {"01345": "a", "02565": "b"}
    register_programs(instance, ["01345", "02565"])
    lake, clock = LakeResource(), [1_000_000.0]
    monkeypatch.setattr("hwosim_assets.sensors.time.time", lambda: clock[0])
    ticker = Ticker(instance, "refresh_changed_sensor", archive=FakeArchiveResource(), lake=lake)
    first = ticker.tick()
    missed = [Rejection("x.fits", "raw", "timeout", "time-out", "mast:x.fits")]
    lake.tables().replace(AWAITED, {"program": "01345"}, awaited_rows("01345", missed))
    ticker.record(first[0], dg.DagsterRunStatus.STARTED)
    ticker.record(first[1], dg.DagsterRunStatus.SUCCESS)
    assert ticker.tick() == [], "the run that may bring them is under way"
    (run,) = instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: first[0].tags[REQUEST_TAG]}))
    instance.report_run_failed(run)
    (second,) = ticker.tick()
    keys, waits = [second.run_key], []
    ticker.record(second, dg.DagsterRunStatus.SUCCESS)
    for _ in range(4):
        began = clock[0]
        while not (requests := ticker.tick()):
            clock[0] += 1000
        assert [request.partition_key for request in requests] == ["01345"]
        keys.append(requests[0].run_key)
        waits.append(clock[0] - began)
        ticker.record(requests[0], dg.DagsterRunStatus.SUCCESS)
    assert len(set(keys)) == 5, "Dagster never repeats a run key"
    assert waits == [0, 1000, 2000, 4000]
    lake.tables().replace(AWAITED, {"program": "01345"}, awaited_rows("01345", []))
    clock[0] += 10_000_000
    assert ticker.tick() == []


def _materialized(instance: dg.DagsterInstance, scenario: str, program: str, version: str) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(["perturbed", scenario], partition=program, tags={"dagster/data_version": version})
    )


def test_what_was_newly_materialized_is_published_and_nothing_twice(instance: dg.DagsterInstance) -> None:
    ticker = Ticker(instance, "publish_new_sensor")
    assert ticker.tick() == []
    register_programs(instance, ["01345", "02565", "07777"])
    for program in ("01345", "02565", "07777"):
        _materialized(instance, "nominal_l2", program, "v1")
    requests = ticker.tick()
    assert [request.partition_key for request in requests] == ["01345", "02565", "07777"]
    assert {tuple(request.asset_selection[0].path) for request in requests} == {("stream", "nominal_l2")}
    for request in requests:
        ticker.record(request, dg.DagsterRunStatus.SUCCESS)
    assert ticker.tick() == []
    _materialized(instance, "nominal_l2", "01345", "v1")
    assert ticker.tick() == [], "the same bytes under the same scenario were published already"
    _materialized(instance, "nominal_l2", "01345", "v2")
    (request,) = ticker.tick()
    assert request.partition_key == "01345"


def _run_with_check(instance: dg.DagsterInstance, version: str, check: Callable[[], bool]) -> None:
    """Materialize perturbed/clean of one program in a real run whose one blocking check this is."""

    @dg.asset(key=["perturbed", "clean"], partitions_def=jwst_program)
    def clean() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion(version))

    @dg.asset_check(asset=clean, blocking=True, partitions_def=jwst_program)
    def fit() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=check())

    dg.materialize([clean, fit], instance=instance, partition_key="01345", raise_on_error=False)


def test_what_its_blocking_check_refuses_is_not_published(instance: dg.DagsterInstance) -> None:
    """A check blocks only within its own run; the publication is a run of another location."""
    register_programs(instance, ["01345"])
    ticker = Ticker(instance, "publish_new_sensor")

    def dies() -> bool:
        raise OSError

    _run_with_check(instance, "v1", lambda: False)
    assert ticker.tick() == []
    _run_with_check(instance, "v1", dies)
    assert ticker.tick() == [], "a run that ended before its check proves nothing"
    _run_with_check(instance, "v1", lambda: True)
    (request,) = ticker.tick()
    assert [tuple(key.path) for key in request.asset_selection] == [("stream", "clean"), ("report", "data_quality")]


def test_what_is_being_judged_is_published_once_it_is(instance: dg.DagsterInstance) -> None:
    register_programs(instance, ["01345"])
    ticker = Ticker(instance, "publish_new_sensor")
    meanwhile = []

    def slow_check() -> bool:
        meanwhile.extend(ticker.tick())
        return True

    _run_with_check(instance, "v1", slow_check)
    assert meanwhile == []
    (request,) = ticker.tick()
    ticker.record(request, dg.DagsterRunStatus.SUCCESS)
    assert ticker.tick() == []


def test_a_run_that_ends_while_the_sensor_looks_is_published_all_the_same(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its events were read before its last check was written; its state, if read afterwards, says that it ended."""
    register_programs(instance, ["01345"])
    ticker = Ticker(instance, "publish_new_sensor")
    read_events, read_run = instance.get_records_for_run, instance.get_run_by_id
    meanwhile: list[dg.RunRequest] = []

    def ends_meanwhile() -> bool:
        seen: list[str] = []

        def events(run_id: str, *more: Any, **named: Any) -> Any:
            seen.append(run_id)
            return read_events(run_id, *more, **named)

        def run(run_id: str) -> dg.DagsterRun | None:
            found = read_run(run_id)
            return found.with_status(dg.DagsterRunStatus.SUCCESS) if found and run_id in seen else found

        with monkeypatch.context() as patched:
            patched.setattr(instance, "get_records_for_run", events)
            patched.setattr(instance, "get_run_by_id", run)
            meanwhile.extend(ticker.tick())
        return True

    _run_with_check(instance, "v1", ends_meanwhile)
    assert len(meanwhile + ticker.tick()) == 1


def test_a_failed_publication_is_tried_again(instance: dg.DagsterInstance) -> None:
    ticker = Ticker(instance, "publish_new_sensor")
    _materialized(instance, "clean", "01345", "v1")
    (first,) = ticker.tick()
    ticker.record(first, dg.DagsterRunStatus.STARTED)
    assert ticker.tick() == []
    (run,) = instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: first.tags[REQUEST_TAG]}))
    instance.report_run_failed(run)
    (second,) = ticker.tick()
    assert second.run_key != first.run_key


def test_a_watched_folder_is_catalogued_by_ticks(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from astropy.io import fits

    from hwosim_assets.catalog.sources import SOURCE_OBJECTS
    from hwosim_assets.definitions import build_defs
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.settings import Settings

    place = tmp_path / "incoming"
    place.mkdir()
    monkeypatch.setenv("HWOSIM_WATCH_URI", place.as_uri())
    definitions = build_defs()
    sensor = definitions.get_sensor_def("watch_objects_sensor")
    with dg.DagsterInstance.ephemeral() as instance:

        def tick() -> Any:
            with dg.build_sensor_context(instance, resources=definitions.resources) as context:
                return sensor(context)

        assert "0 objects catalogued" in str(tick().skip_reason)
        fits.PrimaryHDU().writeto(place / "new.fits")
        assert "1 objects catalogued" in str(tick().skip_reason)
        (place / "new.fits").unlink()
        assert "1 gone" in str(tick().skip_reason)
    (row,) = Tables.from_settings(Settings()).scan(SOURCE_OBJECTS).to_pylist()
    assert (row["state"], row["program"]) == ("deleted", "00000")
