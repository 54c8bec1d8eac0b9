"""The power fails while a program is ingested and objects are stored: what is named is there, and whole.

The lake lies on a file system in a file. What that file holds while the writer stands still is what a disk would have
had; it is copied, the writer killed, and the copy mounted in its place. That takes the rights to mount.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import pytest
from killed_program import expect_exact
from small_program import PROGRAM, Place, reprocess, write_program

from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.lake.store import SINGLE_PUT_BYTES, Lake

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

PRODUCTS_COUNT = int(os.environ.get("HWOSIM_POWER_PRODUCTS", "40"))
CUTS = int(os.environ.get("HWOSIM_POWER_CUTS", "5"))
MEGABYTES = 256


class Disk:
    """A disk whose power can be cut."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "disk"
        self.root.mkdir()
        self._image = folder / "image"
        with self._image.open("wb") as file:
            file.truncate(MEGABYTES << 20)
        _run("mkfs.ext4", "-q", str(self._image))
        self._mount()

    def _mount(self) -> None:
        # of its own accord it writes nothing within the minutes of a test: only what somebody waits for
        _run("mount", "-o", "loop,commit=300", str(self._image), str(self.root))

    def unmount(self) -> None:
        """Take it away; whoever has a file of it open keeps that."""
        _run("umount", "--lazy", str(self.root))

    def cut(self, writer: BaseProcess) -> None:
        """End a process, if it has not ended, and lose what the disk does not have."""
        had = self._image.with_suffix(".cut")
        if writer.is_alive():
            os.kill(writer.pid or 0, signal.SIGSTOP)
        _run("cp", "--sparse=always", str(self._image), str(had))
        writer.kill()
        writer.join()
        self.unmount()
        had.replace(self._image)
        self._mount()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no mkfs.ext4 (Debian: apt-get install e2fsprogs)")
    try:
        disk = Disk(tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this user may not mount a file system: {error.stderr.decode().strip()}")
    yield disk
    disk.unmount()


def test_an_ingest_whose_power_fails_leaves_no_row_without_its_bytes(
    disk: Disk, tmp_path: Path, say: Callable[[str], None]
) -> None:
    root, random, ended = tmp_path / "archive", Random(1), 0
    paths = write_program(root, PRODUCTS_COUNT)
    with LocalArchive(root) as archive:
        place = Place(disk.root / "home", archive.url)
        for version in range(CUTS):
            process = place.start(PROGRAM)
            process.join(random.uniform(0.5, 5.0))
            ended += not process.is_alive()
            disk.cut(process)
            _verify(place)
            for path in random.sample(paths, max(1, len(paths) // 10)):  # so that there is work again
                reprocess(path, version)
        assert place.ingest(PROGRAM) == 0
        undisturbed = Place(tmp_path / "undisturbed", archive.url)
        assert undisturbed.ingest(PROGRAM) == 0
    expect_exact(place, undisturbed, paths)
    say(f"{len(paths)} products, {CUTS} power cuts, {ended} of them after an ingest: every row with its bytes")


def _verify(place: Place) -> None:
    """Let a process of its own compare what the tables name with what lies there."""
    command = [sys.executable, "-m", "hwosim_assets", "lake", "verify"]
    done = subprocess.run(command, env=os.environ | place.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_object_has_no_name_before_the_disk_has_its_bytes(disk: Disk) -> None:
    """Other writers take an object under a key made of its content for whole, and do not write it again."""
    from multiprocessing import get_context

    for _ in range(CUTS):
        writer = get_context("spawn").Process(target=_store, args=((disk.root / "lake").as_uri(),))
        writer.start()
        while writer.is_alive() and not any((disk.root / "lake").rglob("large")):
            writer.join(0.01)
        disk.cut(writer)
        lake = Lake((disk.root / "lake").as_uri())
        there = list(lake.list("delivered"))
        assert there
        for stored in there:
            assert hashlib.sha256(lake.read(stored.key)).hexdigest() == stored.key.split("/")[1], stored
        shutil.rmtree(disk.root / "lake")


def _store(uri: str) -> None:
    """Store objects, small ones and a large one after each four, until somebody ends this.

    Another file is waited for meanwhile, as a catalog's is: with it the disk gets the names of all and not their bytes.
    """
    lake, number = Lake(uri), 0
    other = (lake.place.folder or Path()) / "other"
    while True:
        number += 1
        content = number.to_bytes(4) * (SINGLE_PUT_BYTES // 4 if number % 5 == 0 else 10_000)
        name = "large" if number % 5 == 0 else "small"
        lake.write_new(f"delivered/{hashlib.sha256(content).hexdigest()}/{name}", content)
        with other.open("ab") as file:
            file.write(b"x")
            os.fsync(file.fileno())
