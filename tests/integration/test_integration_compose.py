"""The compose file is valid, asks for what has no default, starts in order, and opens nothing to other machines."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest
import yaml
from dev_session import CHECKOUT
from programs import tool

pytestmark = pytest.mark.integration

NEEDED = {"POSTGRES_PASSWORD": "not-a-secret", "S3_ACCESS_KEY": "not-a-name", "S3_SECRET_KEY": "not-a-secret-either"}
OURS = {"hwosim-assets", "hwosim-streaming", "webserver", "daemon", "reports", "migrate"}


def _config(**settings: str) -> subprocess.CompletedProcess[str]:
    arguments = [tool("docker-compose"), "-f", str(CHECKOUT / "docker" / "docker-compose.yml"), "config"]
    environment = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    checked = _config(**NEEDED)
    assert checked.returncode == 0, checked.stderr
    found: dict[str, dict[str, Any]] = yaml.safe_load(checked.stdout)["services"]
    return found


def test_every_service_of_a_deployment_is_there_and_only_loopback_is_published(services: dict[str, Any]) -> None:
    assert set(services) == OURS | {"postgres", "kafka", "objectstore", "bucket"}
    opened = {name: port for name, service in services.items() for port in service.get("ports", [])}
    assert set(opened) == {"webserver", "reports"}
    for port in opened.values():
        assert (port["host_ip"] if isinstance(port, dict) else port.split(":")[0]) == "127.0.0.1"


def test_services_come_up_in_the_order_of_their_health(services: dict[str, Any]) -> None:
    waits = {name: service.get("depends_on", {}) for name, service in services.items()}
    for location in ("hwosim-assets", "hwosim-streaming"):
        assert waits[location]["kafka"]["condition"] == "service_healthy"
        assert waits[location]["migrate"]["condition"] == "service_completed_successfully"
        for service in ("webserver", "daemon"):
            assert waits[service][location]["condition"] == "service_healthy"
    images = (CHECKOUT / "docker" / "Dockerfile").read_text()
    awaited = {on for after in waits.values() for on, how in after.items() if how["condition"] == "service_healthy"}
    for name in awaited:
        target = services[name].get("build", {}).get("target", "no image of ours")
        stage = images.partition(f"AS {target}\n")[2].partition("FROM ")[0]
        assert "healthcheck" in services[name] or "HEALTHCHECK" in stage, f"{name} cannot say that it is healthy"


@pytest.mark.parametrize("missing", NEEDED)
def test_a_setting_without_default_is_asked_for_by_name(missing: str) -> None:
    checked = _config(**{name: value for name, value in NEEDED.items() if name != missing})
    assert checked.returncode != 0
    assert missing in checked.stderr


def test_images_are_locked_and_run_as_nobody_special() -> None:
    lines = (CHECKOUT / "docker" / "Dockerfile").read_text().splitlines()
    assert any("uv sync --locked" in line for line in lines)
    stages = [line.split(" AS ")[1] for line in lines if line.startswith("FROM")]
    assert stages == ["build", "base", "assets", "streaming", "dagster"]
    after = lines[lines.index("FROM base AS assets") :]
    assert "USER hwosim" in lines
    assert not [line for line in after if line.startswith("USER")], "nothing becomes root again"
