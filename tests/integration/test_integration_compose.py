"""The compose file is valid, asks for what has no default, and opens nothing to other machines."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml
from conftest import tool
from dev_session import CHECKOUT

pytestmark = pytest.mark.integration

NEEDED = {
    "POSTGRES_PASSWORD": "not-a-secret",
    "HWOSIM_LAKE_URI": "s3://bucket/hwosim",
    "HWOSIM_KAFKA_BOOTSTRAP_SERVERS": "kafka.example.org:9092",
}


def _config(**settings: str) -> subprocess.CompletedProcess[str]:
    arguments = [tool("docker-compose"), "-f", str(CHECKOUT / "docker" / "docker-compose.yml"), "config"]
    environment = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_compose_file_is_valid_and_listens_on_this_machine_alone() -> None:
    checked = _config(**NEEDED)
    assert checked.returncode == 0, checked.stderr
    services = yaml.safe_load(checked.stdout)["services"]
    assert set(services) == {"postgres", "migrate", "hwosim-assets", "hwosim-streaming", "webserver", "daemon"}
    opened = [port for service in services.values() for port in service.get("ports", [])]
    assert opened
    for port in opened:
        assert (port["host_ip"] if isinstance(port, dict) else port.split(":")[0]) == "127.0.0.1"


@pytest.mark.parametrize("missing", NEEDED)
def test_a_setting_without_default_is_asked_for_by_name(missing: str) -> None:
    checked = _config(**{name: value for name, value in NEEDED.items() if name != missing})
    assert checked.returncode != 0
    assert missing in checked.stderr
