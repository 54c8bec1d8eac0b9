"""Apache Kafka that can no longer write: its disk is full, or its folders became read-only.

The publisher says so in one line and in bounded time; when the broker can write again it publishes the rest, and
nothing is lost or there twice. Both need root: one mounts a disk of a few megabytes, the other takes the right to
make files away (``chattr +i``), which Kafka misses when it begins the next segment. Where that is the segment for the
end of a transaction, Kafka may forget this end while it starts anew; ``test_integration_kafka_forgets`` has it forget
each time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import servers
from kafka_program import BULK, assert_proved, installed, planned_ids

from hwosim_assets.errors import BackendAbsentError
from hwosim_streaming import delivery, publisher, sink

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        os.environ.get("HWOSIM_TEST_FAULTS") != "full", reason="spoils disks: runs with HWOSIM_TEST_FAULTS=full"
    ),
]
#: The program puts some 60 MB there.
SMALL, LARGE = "24m", "512m"
#: Little segments, so that new files are due all the time, and little indices, which take their space at once.
BROKER = ("log.segment.bytes=1048576", "log.index.size.max.bytes=65536")
#: Messages that are out when the folders become read-only.
OUT = 300


def asked(*command: str) -> None:
    """Run a command of the system; skip where it is absent or refused."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"{' '.join(command[:4])} …: {done.stderr.strip()}")


def required(*command: str) -> None:
    """Run a command that ``asked`` has shown to be there; fail where it fails."""
    subprocess.run(command, check=True, timeout=60)


class FullDisk:
    """A disk that the program does not fit on."""

    def __init__(self, data: Path) -> None:
        self._data = data
        asked("mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(data))

    def spoil(self) -> None:
        """Do nothing: it fills by itself."""

    def mend(self) -> None:
        """Make room."""
        assert shutil.disk_usage(self._data).free < 1_000_000, "the publication failed before the disk was full"
        required("mount", "-o", f"remount,size={LARGE}", str(self._data))

    def close(self) -> None:
        """Take it away, also from under a broker that still holds it."""
        required("umount", "--lazy", str(self._data))


class ReadOnlyDisk:
    """A disk on which the folders of the frames become read-only."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._folders: list[str] = []
        asked("chattr", "+i", str(data))  # not every file system knows that
        asked("chattr", "-i", str(data))

    def spoil(self) -> None:
        """Let no file be made any more."""
        self._folders = [str(each) for each in self._data.glob("*hwosim.frames*")]
        required("chattr", "+i", *self._folders)

    def mend(self) -> None:
        """Let files be made."""
        assert self._folders, "the publication failed before the folders were read-only"
        self.close()

    def close(self) -> None:
        """Leave folders that can be removed."""
        if self._folders:
            required("chattr", "-i", *self._folders)
        self._folders = []


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Where the broker keeps its data; skip where its disk cannot be spoilt."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk and make a folder read-only")
    folder = tmp_path / "kafka" / "data"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(params=[FullDisk, ReadOnlyDisk])
def disk(request: pytest.FixtureRequest, data: Path) -> Iterator[FullDisk | ReadOnlyDisk]:
    with closing(request.param(data)) as made:
        yield made


def test_a_broker_that_cannot_write_is_told_and_gets_the_rest_when_it_can(
    disk: FullDisk | ReadOnlyDisk, data: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = servers.Kafka(data.parent, more=BROKER)
    here = installed(state, broker, monkeypatch)
    with broker.started(), monkeypatch.context() as impatient:
        impatient.setattr(delivery, "ATTEMPTS", 2)
        impatient.setattr(sink, "MESSAGE_SECONDS", 8)
        impatient.setattr(sink, "STEP_SECONDS", 2.0)
        impatient.setattr(publisher, "CHECKPOINT_MESSAGES", 100)  # so that some are committed when the disk fails
        with pytest.raises(BackendAbsentError) as failure:
            here.publish(BULK, on_message=lambda number, _total: disk.spoil() if number == OUT else None)
    said = str(failure.value)
    assert "\n" not in said
    assert "or cannot write" in said
    assert said.endswith("if its disk is full, make room and start it anew, then try again")
    disk.mend()
    with broker.started():
        row = here.publish(BULK).row
        assert_proved(row)
        assert (row["resumed"] > 0, row["attempt"]) == (True, 1)
        assert here.ids() == planned_ids(here.plan(BULK))
