"""The services of `docker/docker-compose.yml` as processes: told by the environment where the others are, as there.

PostgreSQL, Apache Kafka, an S3-compatible store, two gRPC code servers, web server, daemon and report pages, each
started when what it waits for is healthy. What cannot be started here is the images.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import servers
import sqlalchemy
from dev_session import CHECKOUT, clean_environment, command, until

from hwosim_assets.archive.server import LocalArchive

BUCKET = "hwosim"


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
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        # whatever it started would outlive it: no container ends here
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def alive(self) -> None:
        """Fail with its log where a service has left."""
        for role, process in self.processes.items():
            said = (self.folder / f"{role}.log").read_text(errors="replace")[-3000:]
            assert process.poll() is None, f"{role} left:\n{said}"

    def ask(self, query: str, **variables: Any) -> Any:
        """Ask the web server what the UI asks; None while it does not answer."""
        self.alive()
        url = f"http://127.0.0.1:{self.environment['UI_PORT']}/graphql"
        try:
            reply = httpx.post(url, json={"query": query, "variables": variables}, timeout=60, trust_env=False).json()
        except httpx.TransportError:
            return None
        assert "errors" not in reply, reply["errors"]
        return reply["data"]

    def page(self, path: str) -> str | None:
        """Return a report page; None while nobody answers."""
        self.alive()
        try:
            reply = httpx.get(self.environment["HWOSIM_REPORT_URL"] + path, timeout=120, trust_env=False)
        except httpx.TransportError:
            return None
        assert reply.status_code == httpx.codes.OK, reply.text
        return reply.text

    def database_bytes(self) -> int:
        """Return how much Dagster's database holds."""
        told = self.environment
        where = f"{told['POSTGRES_HOST']}:{told['POSTGRES_PORT']}/{told['POSTGRES_DB']}"
        user = f"{told['POSTGRES_USER']}:{told['POSTGRES_PASSWORD']}"
        engine = sqlalchemy.create_engine(f"postgresql+psycopg2://{user}@{where}")
        with engine.connect() as connection:
            size = connection.scalar(sqlalchemy.text("select pg_database_size(current_database())"))
        engine.dispose()
        return int(size)

    def resident_bytes(self) -> int:
        """Return how much memory the services and their runs hold now, pages that they share counted for each."""
        services, pages = {process.pid for process in self.processes.values()}, 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it ended meanwhile
                fields = stat.read_text().rpartition(")")[2].split()  # proc_pid_stat(5): session is 6, rss 24
                pages += int(fields[21]) if int(fields[3]) in services else 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def healthy(self, port: str) -> bool:
        """Tell what the health check of a code server's container tells."""
        words = [command("dagster"), "api", "grpc-health-check", "-p", port]
        return subprocess.run(words, env=self.environment, capture_output=True, timeout=120).returncode == 0


@contextmanager
def deployed(folder: Path) -> Iterator[Deployment]:
    """Bring up a deployment whose archive serves ``folder/archive``; take it down at the end."""
    with ExitStack() as stack:
        database = stack.enter_context(servers.postgres())
        (folder / "kafka").mkdir()
        kafka = servers.Kafka(folder / "kafka")
        stack.enter_context(kafka.started())
        archive = stack.enter_context(LocalArchive(folder / "archive"))
        store = stack.enter_context(object_store())
        _make_bucket(store)
        assets_port, streaming_port, ui_port, report_port = servers.free_ports(4)
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
                HWOSIM_REPORT_URL=f"http://127.0.0.1:{report_port}",
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
    made.start("reports", "hwosim", "reports")
    until("the web server to answer", lambda: made.ask("{ version }"))
    until("the report pages to be healthy", lambda: made.page("/health"))
