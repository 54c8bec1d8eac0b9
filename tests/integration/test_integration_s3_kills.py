"""A program from a hostile archive into an S3 store, killed at random moments and in the midst of uploads in parts.

``HWOSIM_INGEST_S3_PRODUCTS``, ``HWOSIM_INGEST_S3_LARGE`` and ``HWOSIM_INGEST_S3_KILLS`` make the test larger than it
is by default.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from killed_program import HOSTILE, expect_exact, kill_at_random, reprocess_some, to_the_end
from small_program import PROGRAM, Place, Watcher, write_program

from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.lake.store import SINGLE_PUT_BYTES
from hwosim_assets.lake.uploads import Uploads

pytestmark = pytest.mark.integration

PRODUCTS_COUNT = int(os.environ.get("HWOSIM_INGEST_S3_PRODUCTS", "40"))
#: So many more are uploaded in parts, three each.
LARGE_COUNT = int(os.environ.get("HWOSIM_INGEST_S3_LARGE", "3"))
#: Of the kills, every third comes in the midst of such an upload.
KILLS = int(os.environ.get("HWOSIM_INGEST_S3_KILLS", "6"))
SHAPE = (960, 960)
#: So often at the most a process is started for a kill in the midst of an upload: the archive may fail it before.
ATTEMPTS = 12


@pytest.mark.timeout(3600)
def test_kills_leave_nothing_partial_on_s3_and_no_upload_for_ever(
    bucket: str, tmp_path: Path, say: Callable[[str], None]
) -> None:
    root, random, began = tmp_path / "archive", Random(1), time.monotonic()
    small = write_program(root, PRODUCTS_COUNT)
    large = write_program(root, LARGE_COUNT, first=PRODUCTS_COUNT, shape=SHAPE)
    assert min(path.stat().st_size for path in large) > SINGLE_PUT_BYTES
    with LocalArchive(root, faults=HOSTILE) as hostile, LocalArchive(root) as friendly:
        place = Place(tmp_path / "home", hostile.url, patience=3, lake_uri=f"{bucket}/lake")
        watcher = Watcher(place, root)
        uploading, version, ended = max(1, KILLS // 3), 50, 0
        for _ in range(uploading):
            ended += kill_at_random(place, watcher, [*small, *large], max(0, KILLS // uploading - 1), random)
            version = _kill_while_uploading(place, watcher, large, version)
        looks = to_the_end(place, watcher, [*small, *large])
        other = Place(tmp_path / "undisturbed", friendly.url)
        assert other.ingest(PROGRAM) == 0
    expect_exact(place, other, [*small, *large])
    left = _unfinished(place)
    stored = {f"lake/{one.key}" for one in place.lake.list("raw")}
    assert not stored & {found["Key"] for found in left}, "gone on with, and ended"
    assert Uploads(place.lake.place).abandon(timedelta(0)) == len(left)
    assert _unfinished(place) == []
    say(
        f"{len(small)} products and {len(large)} in parts, {KILLS} kills ({ended} runs ended before theirs), then "
        f"{looks} looks, {time.monotonic() - began:.0f} s; nothing partial, complete and exact; {len(left)} uploads of "
        "versions that the archive no longer has were left to be swept"
    )


def _kill_while_uploading(place: Place, watcher: Watcher, large: Sequence[Path], version: int) -> int:
    """Kill a process that has sent a part of one of these files and not all; return the next version's number."""
    for attempt in range(ATTEMPTS):
        reprocess_some(watcher, large, version + attempt)
        before = {found["UploadId"] for found in _unfinished(place)}
        process = place.start(PROGRAM)
        while process.is_alive() and not any(
            _has_parts(place, found) for found in _unfinished(place) if found["UploadId"] not in before
        ):
            time.sleep(0.005)
        process.kill()
        process.join()
        left = {found["UploadId"] for found in _unfinished(place)} - before
        watcher.look()
        if left:
            return version + attempt + 1
    pytest.fail("no kill came in the midst of an upload")


def _s3() -> Any:
    import boto3

    return boto3.client("s3")


def _unfinished(place: Place) -> list[dict[str, Any]]:
    found = _s3().list_multipart_uploads(Bucket=place.lake.place.bucket)
    return list(found.get("Uploads", []))


def _has_parts(place: Place, found: dict[str, Any]) -> bool:
    """Say whether a part has come; an upload that has ended since has none."""
    s3 = _s3()
    try:
        parts = s3.list_parts(Bucket=place.lake.place.bucket, Key=found["Key"], UploadId=found["UploadId"])
    except s3.exceptions.ClientError:
        return False
    return bool(parts.get("Parts"))
