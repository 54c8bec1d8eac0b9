"""An S3-compatible server of its own process: Adobe's S3Mock, a jar of Maven Central, without a container.

It knows conditional writes (one after the other: of two at once it may take both), parts and ranges. It takes any
credentials.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import servers
from filelock import FileLock

VERSION = "4.8.0"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run it while the block runs, its log and its objects in a folder; give its address."""
    port, secure = servers.free_ports(2)
    options = [f"--com.adobe.testing.s3mock.httpPort={port}", f"--server.port={secure}", "--server.address=127.0.0.1"]
    command = ["java", *servers.JVM, f"-Djava.io.tmpdir={folder}", "-jar", str(_jar()), *options]
    with servers.running(command, folder / "log", port):
        yield f"http://127.0.0.1:{port}"


def _jar() -> Path:
    """Return the server, fetched by Maven where it is not there; skip where nothing can fetch it."""
    for tool, package in (("java", "default-jre-headless"), ("mvn", "maven")):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} (Debian: apt-get install {package})")
    folder = servers.ROOT / ".tools" / "s3mock"
    folder.mkdir(parents=True, exist_ok=True)
    jar = folder / f"s3mock-{VERSION}-exec.jar"
    with FileLock(folder / "lock"):
        if not jar.exists():
            artifact = f"com.adobe.testing:s3mock:{VERSION}:jar:exec"
            command = ["mvn", "-q", "-B", COPY, f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=servers.FETCH_SECONDS)
            if done.returncode:
                pytest.skip(f"Maven could not fetch S3Mock: {done.stdout.strip()[:500]}")
    return jar
