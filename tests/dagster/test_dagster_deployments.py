"""What docker/ tells Dagster is what Dagster can be told: each settings file is loaded, each class's part checked."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance.ref import InstanceRef

DOCKER = Path(__file__).parents[2] / "docker"
SETTINGS = ["dagster.yaml", "kubernetes/dagster.yaml", "aws/dagster.yaml"]
ENVIRONMENT = {
    "POSTGRES_HOST": "db.example.org",
    "POSTGRES_PORT": "5432",
    "POSTGRES_USER": "hwosim",
    "POSTGRES_PASSWORD": "not-a-secret",
    "POSTGRES_DB": "hwosim",
    "HWOSIM_SERVICE_ACCOUNT": "hwosim",
    "HWOSIM_NAMESPACE": "hwosim",
    "HWOSIM_LOG_BUCKET": "hwosim-logs",
    "AWS_REGION": "us-east-1",
}


@pytest.fixture(params=SETTINGS)
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a DAGSTER_HOME with one of the shipped files, and set what it takes from the environment."""
    shutil.copyfile(DOCKER / request.param, tmp_path / "dagster.yaml")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def _parts(home: Path) -> dict[str, Any]:
    ref = InstanceRef.from_dir(str(home))
    parts = {"run_launcher": ref.run_launcher_data, "compute_logs": ref.compute_logs_data, "storage": ref.storage_data}
    return {name: part for name, part in parts.items() if part is not None}


def test_dagster_loads_the_file_and_each_class_takes_its_part(settings: Path) -> None:
    """Nothing is connected to: the classes say what they can be told, and are not made."""
    for name, part in _parts(settings).items():
        taken = getattr(importlib.import_module(part.module_name), part.class_name)
        checked = process_config(taken.config_type(), part.config_dict)
        assert checked.success, (name, [error.message for error in checked.errors or []])


def test_a_wrong_word_would_be_told(settings: Path) -> None:
    text = (settings / "dagster.yaml").read_text()
    (settings / "dagster.yaml").write_text(text.replace("hostname:", "hostnam:"))
    with pytest.raises(dg.DagsterInvalidConfigError, match="hostnam"):
        _ = InstanceRef.from_dir(str(settings)).storage


def test_all_keep_the_same_policies() -> None:
    """Retention, retries and monitoring are those of one machine; only places and numbers of runs differ."""
    found = [
        yaml.safe_load(path.read_text()) for path in (DOCKER.parent / "dagster.yaml", *(DOCKER / s for s in SETTINGS))
    ]
    for name in ("telemetry", "retention", "run_retries", "sensors"):
        assert all(each[name] == found[0][name] for each in found), name


def test_the_code_locations_have_the_names_of_the_checkout() -> None:
    names = []
    for path in (DOCKER.parent / "workspace.yaml", DOCKER / "workspace.yaml"):
        entries = yaml.safe_load(path.read_text())["load_from"]
        names.append([next(iter(entry.values()))["location_name"] for entry in entries])
    assert names[0] == names[1]
    values = yaml.safe_load((DOCKER / "kubernetes" / "values.yaml").read_text())
    modules = [each["codeServerArgs"][-1] for each in values["dagster-user-deployments"]["deployments"]]
    assert modules == [f"{name}.definitions" for name in names[0]]
