"""The services of the compose file as processes, from the same configuration, and a program taken through them.

PostgreSQL, Apache Kafka, an S3-compatible store, two gRPC code servers, web server and daemon: each is told by the
environment where the others are, as in ``docker/docker-compose.yml``. What cannot be started here is the images.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import servers
import yaml
from dev_session import CHECKOUT, clean_environment, command, until

from hwosim_assets.archive.sample import write_sample
from hwosim_assets.archive.server import LocalArchive

pytestmark = pytest.mark.integration

BUCKET = "hwosim"
RUNS = "{ runsOrError { ... on Runs { results { jobName status tags { key value } } } } }"


@contextmanager
def object_store() -> Iterator[str]:
    """Run moto's S3 server; yield its address. Each process reaches it over HTTP, as it would reach another."""
    moto = pytest.importorskip("moto.server", reason="no moto (uv sync)")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


class Deployment:
    """The processes of a deployment and what they are told."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, name: str, *words: str) -> str:
        """Run a command of the deployment to its end."""
        done = subprocess.run(
            [command(name), *words], env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def start(self, role: str, *words: str) -> None:
        """Start a service."""
        with (self.folder / f"{role}.log").open("ab") as log:
            self.processes[role] = subprocess.Popen(
                [command(words[0]), *words[1:]], env=self.environment, cwd=self.folder, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def stop(self, role: str) -> None:
        """End a service, as its container would be ended."""
        process = self.processes.pop(role)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def alive(self) -> None:
        """Fail with its log where a service has left."""
        for role, process in self.processes.items():
            said = (self.folder / f"{role}.log").read_text(errors="replace")[-3000:]
            assert process.poll() is None, f"{role} left:\n{said}"

    def ask(self, query: str) -> Any:
        """Ask the web server what the UI asks."""
        self.alive()
        url = f"http://127.0.0.1:{self.environment['UI_PORT']}/graphql"
        try:
            reply = httpx.post(url, json={"query": query}, timeout=60, trust_env=False)
        except httpx.TransportError:
            return None
        return reply.json().get("data")

    def healthy(self, port: str) -> bool:
        """Tell what the health check of a code server's container tells."""
        words = [command("dagster"), "api", "grpc-health-check", "-p", port]
        return subprocess.run(words, env=self.environment, capture_output=True, timeout=120).returncode == 0


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    write_sample(folder / "archive", programs=1)
    with ExitStack() as stack:
        database = stack.enter_context(servers.postgres())
        (folder / "kafka").mkdir()
        kafka = servers.Kafka(folder / "kafka")
        stack.enter_context(kafka.started())
        archive = stack.enter_context(LocalArchive(folder / "archive"))
        store = stack.enter_context(object_store())
        _make_bucket(store)
        assets_port, streaming_port, ui_port = servers.free_ports(3)
        made = Deployment(
            folder,
            clean_environment(
                folder / "home",
                POSTGRES_HOST="127.0.0.1",
                POSTGRES_PORT=str(database.port),
                POSTGRES_USER="hwosim",
                POSTGRES_PASSWORD=database.password,
                POSTGRES_DB=database.create("dagster"),
                HWOSIM_ASSETS_HOST="127.0.0.1",
                HWOSIM_ASSETS_PORT=str(assets_port),
                HWOSIM_STREAMING_HOST="127.0.0.1",
                HWOSIM_STREAMING_PORT=str(streaming_port),
                UI_PORT=str(ui_port),
                HWOSIM_CATALOG_URI=database.uri(database.create("tables")),
                HWOSIM_LAKE_URI=f"s3://{BUCKET}/lake",
                HWOSIM_ARCHIVE_URL=archive.url,
                HWOSIM_AUTOMATED_SCENARIOS="clean",
                HWOSIM_KAFKA_BOOTSTRAP_SERVERS=kafka.servers,
                HWOSIM_TOPIC_PARTITIONS="1",
                AWS_ACCESS_KEY_ID="not-a-name",
                AWS_SECRET_ACCESS_KEY=secrets.token_hex(8),
                AWS_REGION="us-east-1",
                AWS_ENDPOINT_URL=store,
                AWS_ALLOW_HTTP="true",
            ),
        )
        shutil.copyfile(CHECKOUT / "docker" / "dagster.yaml", Path(made.environment["DAGSTER_HOME"]) / "dagster.yaml")
        try:
            _bring_up(made)
            yield made
        finally:
            for role in reversed(list(made.processes)):
                made.stop(role)


def _make_bucket(store: str) -> None:
    with httpx.Client(trust_env=False) as client:
        assert client.put(f"{store}/{BUCKET}").status_code == 200


def _bring_up(made: Deployment) -> None:
    """Start the services in the order of the compose file, each when what it waits for is healthy."""
    made.run("dagster", "instance", "migrate")
    ports = {"assets": made.environment["HWOSIM_ASSETS_PORT"], "streaming": made.environment["HWOSIM_STREAMING_PORT"]}
    for role, port in ports.items():
        module = f"hwosim_{role}.definitions"
        made.start(role, "dagster", "code-server", "start", "-h", "127.0.0.1", "-p", port, "-m", module)
    for role, port in ports.items():
        until(f"the code server of {role} to be healthy", lambda port=port: made.healthy(port))  # type: ignore[misc]
        made.alive()
    workspace = str(CHECKOUT / "docker" / "workspace.yaml")
    made.start("webserver", "dagster-webserver", "-h", "127.0.0.1", "-p", made.environment["UI_PORT"], "-w", workspace)
    made.start("daemon", "dagster-daemon", "run", "-w", workspace)
    until("the web server to answer", lambda: made.ask("{ version }"))


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
        deployment.run("hwosim", "sql", "--json", "select scenario, published, verified from publications")
    )
    assert [(row["scenario"], row["verified"]) for row in rows] == [("clean", True)]
    home = Path(deployment.environment["DAGSTER_HOME"])
    assert not list(home.rglob("*.db")), "everything is in PostgreSQL"
    say(f"deployment: one program from archive to Apache Kafka after {time.monotonic() - began:.0f} s")


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
