"""Both code locations load by themselves: no network, no data, no heavy library, no broken scenario in the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from hwosim_assets.perturb.scenario import SHIPPED

HEAVY = ["great_expectations", "pandas", "scipy", "matplotlib", "astroquery", "astropy", "confluent_kafka", "boto3"]

LOAD = """
import json, socket, sys
def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise RuntimeError(f"loading the definitions reached for the network: {event} {args[1:]}")
sys.addaudithook(refuse)
import hwosim_assets.definitions, hwosim_streaming.definitions
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_locations_load_without_network_or_heavy_libraries(state: Path) -> None:
    """Importing Great Expectations alone costs seconds and 250 MB in every code server."""
    loaded = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=False, cwd=state)
    assert loaded.returncode == 0, loaded.stderr
    assert set(json.loads(loaded.stdout)).isdisjoint(HEAVY)
    assert list(state.iterdir()) == [], "loading definitions wrote into the state folder"


def _definitions() -> tuple[dg.Definitions, dg.Definitions]:
    from hwosim_assets.definitions import build_defs as assets
    from hwosim_streaming.definitions import build_defs as streaming

    return assets(), streaming()


def test_every_resource_that_an_asset_wants_is_there(state: Path) -> None:
    for definitions in _definitions():
        dg.Definitions.validate_loadable(definitions)
        parts = [part for part in definitions.assets or () if isinstance(part, dg.AssetsDefinition)]
        wanted = {key for part in parts for key in part.required_resource_keys} - {"io_manager"}  # Dagster's own
        assert "lake" in wanted
        assert wanted <= set(definitions.resources or ())


def test_the_graph_is_the_one_that_others_hold_on_to(state: Path) -> None:
    """A change of a key, job or sensor shows here and belongs in the changelog."""
    assets, streaming = _definitions()
    keys = {key.to_user_string() for part in (assets, streaming) for key in part.resolve_all_asset_keys()}
    scenarios = {path.stem for path in SHIPPED.glob("*.yaml")}
    assert scenarios >= {"clean", "nominal_l2", "ground_segment_bad_day"}
    per_scenario = {f"{group}/{name}" for group in ("perturbed", "truth", "stream") for name in scenarios}
    topics = {f"kafka/hwosim.{name}.v1" for name in ("frames", "products", "truth", "control", "predictions")}
    assert keys == per_scenario | topics | {
        "mast/observations",
        "mast/products",
        "raw/fits_files",
        "catalog/header_cards",
        "catalog/products",
        "catalog/quarantine",
        "report/data_quality",
    }
    # those with two underscores are Dagster's own
    jobs = [
        {job.name for job in part.resolve_all_job_defs() if not job.name.startswith("__")}
        for part in (assets, streaming)
    ]
    assert jobs == [{"program_job", "refresh_job"}, {"program_job", "try_scenario_job"}]
    sensors = {sensor.name for part in (assets, streaming) for sensor in part.sensors or []}
    assert sensors == {
        *("discover_programs_sensor", "refresh_changed_sensor", "publish_new_sensor"),
        *("follow_changes_sensor", "reconcile_inputs_sensor"),
    }


def test_every_asset_has_checks_and_a_description(state: Path) -> None:
    for definitions in _definitions():
        graph = definitions.resolve_asset_graph()
        for key in graph.materializable_asset_keys:
            node = graph.get(key)
            assert node.description, key
            assert node.group_name == key.path[0]
            if key.path[0] not in ("truth", "report"):
                assert graph.get_check_keys_for_assets({key}), f"{key.to_user_string()} has no check"


@pytest.fixture
def scenario_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: Path) -> Path:
    folder = tmp_path / "scenarios"
    folder.mkdir()
    monkeypatch.setenv("HWOSIM_SCENARIO_PATH", str(folder))
    return folder


GOOD = "version: 1\ndescription: A quiet day.\nseed: 3\neffects:\n  - read_noise: {severity: 1}\n"


def test_a_broken_or_oddly_named_scenario_is_reported_and_the_rest_loads(
    scenario_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (scenario_folder / "quiet.yaml").write_text(GOOD)
    (scenario_folder / "solar.max.yaml").write_text(GOOD)
    (scenario_folder / "tëst.yaml").write_text(GOOD, encoding="utf-8")
    (scenario_folder / "torn.yaml").write_text("effects: [read_noise: {")
    (scenario_folder / "typo.yaml").write_text(GOOD.replace("severity", "severty"))
    with caplog.at_level("WARNING", logger="hwosim_assets.definitions"):
        assets, _ = _definitions()
    keys = {key.to_user_string() for key in assets.resolve_all_asset_keys()}
    assert "perturbed/quiet" in keys
    shipped = [path.stem for path in SHIPPED.glob("*.yaml")]
    assert {key for key in keys if key.startswith("perturbed/")} == {
        f"perturbed/{name}" for name in ["quiet", *shipped]
    }
    for name in ("solar.max", "tëst", "torn", "typo"):
        assert any(f"scenario {name} is left out" in line for line in caplog.messages), name


def test_editing_one_scenario_makes_only_its_own_assets_stale(scenario_folder: Path) -> None:
    """Dagster calls an asset stale when its code version differs from the one it was made with."""

    def versions() -> dict[str, str | None]:
        graphs = [part.resolve_asset_graph() for part in _definitions()]
        return {
            key.to_user_string(): graph.get(key).code_version
            for graph in graphs
            for key in graph.materializable_asset_keys
        }

    (scenario_folder / "quiet.yaml").write_text(GOOD)
    before = versions()
    (scenario_folder / "quiet.yaml").write_text(GOOD.replace("severity: 1", "severity: 2"))
    after = versions()
    assert {key for key in before if before[key] != after[key]} == {"perturbed/quiet", "truth/quiet"}
    (scenario_folder / "quiet.yaml").write_text(GOOD + "schedule: {mode: constant, rate_per_s: 7}\n")
    again = versions()
    assert {key for key in before if before[key] != again[key]} == {"stream/quiet"}
