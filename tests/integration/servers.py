"""Real servers for the integration tests: Apache Kafka and PostgreSQL, without containers.

Each is private to the test session: on loopback ports of its own, its files in a temporary folder,
stopped at the end. What the machine lacks skips the tests by name.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KAFKA = HERE / "kafka"
#: Seconds for a server to come up; Kafka takes two, PostgreSQL less than one, on a busy machine many times that.
START_SECONDS = 180.0
STOP_SECONDS = 20.0
#: Seconds for Maven to fetch 44 MiB of jars.
FETCH_SECONDS = 240.0
#: Java that the broker of the pom's version needs at least.
JAVA = 17
#: A heap for the few megabytes of a test, and a compiler that starts fast instead of optimizing.
JVM = ("-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on, all different."""
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in held]
    finally:
        for each in held:
            each.close()


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server listens; fail with the end of its log where it does not."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(0.1)
    pytest.fail(f"{process.args[0]} did not come up:\n{log.read_text(errors='replace')[-3000:]}")  # type: ignore[index]


@contextmanager
def running(
    command: list[str], log: Path, port: int, *, stop: signal.Signals = signal.SIGTERM, **who: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server while the block runs, as another user where told to; its output goes to the log."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent, **who
        )
    try:
        wait_for_port(port, process, log)
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# ---------------------------------------------------------------------- Apache Kafka


def kafka_jars() -> Path:
    """Return the folder of Kafka's jars, fetched by Maven where it is not there; skip where nothing can fetch it."""
    for tool, package in (("java", "default-jre-headless"), ("mvn", "maven")):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} (Debian: apt-get install {package})")
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=START_SECONDS).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < JAVA:
        pytest.skip(f"Apache Kafka needs Java {JAVA} or later, this is {said.strip().splitlines()[0]}")
    jars = ROOT / ".tools" / "kafka"
    jars.mkdir(parents=True, exist_ok=True)
    pom = (KAFKA / "pom.xml").read_text(encoding="utf-8")
    fetched = jars / "pom.xml"
    with FileLock(jars / "lock"):
        if not fetched.exists() or fetched.read_text(encoding="utf-8") != pom:
            for jar in jars.glob("*.jar"):
                jar.unlink()
            command = ["mvn", "-q", "-B", "-f", str(KAFKA / "pom.xml"), f"-Djars={jars}", "package"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS)
            if done.returncode:
                pytest.skip(f"Maven could not fetch Apache Kafka: {done.stdout.strip()[:500]}")
            fetched.write_text(pom, encoding="utf-8")
    return jars


class Kafka:
    """Apache Kafka in KRaft mode in a folder; what it holds outlives its processes.

    Parameters
    ----------
    folder : pathlib.Path
        Empty.
    listeners : sequence of str
        Further ones.
    more : sequence of str
        Lines behind the others in its properties; the last of a name counts.
    format_options, java_options : sequence of str
        Told to the formatting of its storage and to its Java.

    Attributes
    ----------
    servers : str
        Its bootstrap servers, the same at every start.
    guarded : str
        The same behind a user name and a password (SASL PLAIN).
    password : str
        Of the user ``hwosim`` there.
    line_port, behind_line_port : int
        A listener that says it stands at the first port and stands at the second: whoever connects the
        two holds the line between a client and the broker.
    """

    def __init__(
        self,
        folder: Path,
        listeners: Sequence[str] = (),
        more: Sequence[str] = (),
        format_options: Sequence[str] = (),
        java_options: Sequence[str] = (),
    ) -> None:
        self._java = ["java", *JVM, *java_options, "-cp", f"{kafka_jars()}/*"]
        self._folder = folder
        self._port, guarded, controller, self.line_port, self.behind_line_port = free_ports(5)
        self.servers, self.guarded = f"127.0.0.1:{self._port}", f"127.0.0.1:{guarded}"
        self.password = secrets.token_hex(12)
        entry = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_hwosim="{self.password}";'
        self._properties = folder / "server.properties"
        doors = ",".join([f"PLAINTEXT://{self.servers},SASL_PLAINTEXT://{self.guarded}", *listeners])
        own = [
            f"listeners={doors},LINE://127.0.0.1:{self.behind_line_port},CONTROLLER://127.0.0.1:{controller}",
            f"advertised.listeners={doors},LINE://127.0.0.1:{self.line_port}",
            f"listener.name.sasl_plaintext.plain.sasl.jaas.config={entry}",
            f"controller.quorum.voters=1@127.0.0.1:{controller}",
            f"log.dirs={folder / 'data'}",
        ]
        shared = (KAFKA / "server.properties").read_text(encoding="utf-8")
        self._properties.write_text(shared + "\n".join([*own, *more]) + "\n", encoding="utf-8")
        # One word: an id that begins with a dash would be taken for an option.
        storage = ["kafka.tools.StorageTool", "format", f"--cluster-id={secrets.token_urlsafe(16)}"]
        command = [*self._java, *storage, "--config", str(self._properties), *format_options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS)
        assert done.returncode == 0, done.stderr[-3000:]

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run it while the block runs."""
        command = [*self._java, "kafka.Kafka", str(self._properties)]
        with running(command, self._folder / "log", self._port) as process:
            yield process


# ---------------------------------------------------------------------- PostgreSQL


@dataclass(frozen=True)
class Postgres:
    """A private PostgreSQL.

    Attributes
    ----------
    port : int
        On 127.0.0.1.
    password : str
        Of the user ``hwosim``, who owns everything.
    version : str
        What the server says it is.
    """

    port: int
    password: str
    version: str

    def uri(self, database: str = "postgres", password: str | None = None) -> str:
        """Return what HWOSIM_CATALOG_URI is set to for a database of this server."""
        return f"postgresql+psycopg2://hwosim:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """Make an empty database and return its name."""
        import psycopg2

        connection = psycopg2.connect(self.uri().replace("+psycopg2", ""))
        connection.autocommit = True  # a database is not made inside a transaction
        connection.cursor().execute(f"CREATE DATABASE {database}")
        connection.close()
        return database


def postgres_programs() -> Path:
    """Return the folder of ``initdb`` and ``postgres``; Debian keeps it off the path."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))[::-1]
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("no PostgreSQL server (Debian: apt-get install postgresql)")


def _unprivileged() -> dict[str, Any]:
    """Return who runs PostgreSQL, which refuses root, in the words of ``subprocess``; nothing for ourselves."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a private PostgreSQL that asks for a password; skip where it is not installed."""
    pytest.importorskip("psycopg2", reason="no psycopg2 (uv sync --extra postgres)")
    programs, who = postgres_programs(), _unprivileged()
    # Not below pytest's own folder: another user could not enter that.
    folder = Path(tempfile.mkdtemp(prefix="hwosim-postgres-"))
    try:
        password, (port,) = secrets.token_hex(12), free_ports(1)
        secret = folder / "password"
        secret.write_text(password)
        for owned in (folder, secret) if who else ():
            os.chown(owned, who["user"], who["group"])
        made = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "hwosim", "--pwfile", str(secret)]
        made += ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(made, capture_output=True, text=True, timeout=START_SECONDS, cwd=folder, **who)
        assert done.returncode == 0, done.stderr[-3000:]
        command = [str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        # Interrupted it stops at once; asked to terminate it would wait for the pools of our clients.
        with running(command, folder / "log", port, stop=signal.SIGINT, **who):
            yield Postgres(port, password, _version(port, password, folder / "log"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _version(port: int, password: str, log: Path) -> str:
    """Return the version of the server, once it has come far enough to say it."""
    import psycopg2

    until = time.monotonic() + START_SECONDS
    while True:
        try:
            connection = psycopg2.connect(
                host="127.0.0.1", port=port, user="hwosim", password=password, dbname="postgres"
            )
            break
        except psycopg2.OperationalError as error:  # it listens before it lets anybody in
            if time.monotonic() > until:
                pytest.fail(f"{error}\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)
    version = str(connection.info.parameter_status("server_version"))
    connection.close()
    return version
