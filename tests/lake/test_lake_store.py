"""Objects of the lake: written once, whole or not at all, on a folder and on S3."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwosim_assets.errors import BackendAbsentError, BadInputError, HwosimError
from hwosim_assets.lake import store as store_module
from hwosim_assets.lake.place import Place, meaning_of
from hwosim_assets.lake.store import AlreadyStoredError, Lake, NotStoredError, checked_key

MEGABYTE = 1024 * 1024


def test_bytes_come_back_and_the_size_is_known(lake: Lake) -> None:
    lake.write_new("raw/a.fits", b"0123456789")
    stored = lake.head("raw/a.fits")
    assert stored is not None
    assert (stored.key, stored.size) == ("raw/a.fits", 10)
    assert stored.etag
    assert lake.read("raw/a.fits") == b"0123456789"


def test_ranges_end_where_the_object_ends(lake: Lake) -> None:
    lake.write_new("a.fits", b"0123456789")
    assert lake.read_range("a.fits", 3, 4) == b"3456"
    assert lake.read_range("a.fits", 8, 100) == b"89"
    assert lake.read_range("a.fits", 10, 5) == b""
    assert lake.read_range("a.fits", 11, 5) == b""
    assert lake.read_range("a.fits", 2, 0) == b""


@pytest.mark.parametrize("size", [0, 1, 5 * MEGABYTE, 16 * MEGABYTE, 21 * MEGABYTE + 1])
def test_files_and_iterables_of_any_size(lake: Lake, tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "in").write_bytes(content)
    pieces = (content[start : start + MEGABYTE] for start in range(0, size, MEGABYTE))
    lake.write_new("from/path", tmp_path / "in")
    lake.write_new("from/pieces", pieces)
    assert [stored.size for stored in lake.list("from")] == [size, size]
    assert lake.read("from/path") == content
    assert lake.read("from/pieces") == content


@pytest.mark.parametrize("size", [10, 17 * MEGABYTE])
def test_nothing_is_overwritten(lake: Lake, size: int) -> None:
    lake.write_new("a", b"first")
    with pytest.raises(AlreadyStoredError, match="never overwritten"):
        lake.write_new("a", b"y" * size)
    assert lake.read("a") == b"first"


def test_a_file_is_moved_in(lake: Lake, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"bytes")
    lake.take_in("raw/a.fits", part)
    assert not part.exists()
    assert lake.read("raw/a.fits") == b"bytes"
    part.write_bytes(b"other")
    with pytest.raises(AlreadyStoredError):
        lake.take_in("raw/a.fits", part)
    assert part.read_bytes() == b"other"
    assert lake.read("raw/a.fits") == b"bytes"


def test_a_file_is_copied_in_where_the_disk_cannot_link(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def refuse(source: object, *rest: Any, **more: Any) -> None:
        if source == part:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", refuse)
    lake = Lake((state / "lake").as_uri())
    part = tmp_path / "part"
    part.write_bytes(b"bytes")
    lake.take_in("raw/a.fits", part)
    assert not part.exists()
    assert lake.read("raw/a.fits") == b"bytes"


def test_what_is_absent_is_said_to_be(lake: Lake) -> None:
    assert lake.head("nothing") is None
    for attempt in (lambda: lake.read("nothing"), lambda: lake.read_range("nothing", 0, 1)):
        with pytest.raises(NotStoredError, match="is not in the lake"):
            attempt()
    with pytest.raises(NotStoredError), lake.local_copy("nothing"):
        pass
    lake.delete("nothing")
    assert list(lake.list("no/such/prefix")) == []


def test_list_and_delete(lake: Lake) -> None:
    for key in ("raw/jw01093/a", "raw/jw01093/b", "raw/jw010930/c"):
        lake.write_new(key, b"1")
    assert {stored.key for stored in lake.list("raw/jw01093")} == {"raw/jw01093/a", "raw/jw01093/b"}
    lake.delete("raw/jw01093/a")
    assert {stored.key for stored in lake.list()} == {"raw/jw01093/b", "raw/jw010930/c"}


def test_a_local_copy_is_the_object_itself_or_goes_away(lake: Lake) -> None:
    lake.write_new("a.fits", b"12")
    with lake.local_copy("a.fits") as path:
        assert path.read_bytes() == b"12"
        assert path.name == "a.fits"
    assert path.exists() == (lake.place.folder is not None)


@pytest.mark.parametrize("name", ["tëst %20 x.fits", "q?&=+.fits", "c#2.fits", "[x]*~.fits", "日本.fits"])
def test_any_plain_name_can_be_a_key(lake: Lake, name: str) -> None:
    key = f"raw/{name}"
    lake.write_new(key, name.encode())
    assert lake.read(key) == name.encode()
    assert [stored.key for stored in lake.list("raw")] == [key]
    assert lake.key_of(lake.uri_of(key)) == key
    with lake.local_copy(key) as path:
        assert path.read_bytes() == name.encode()


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "a\\b", "a\nb", "a\0b", "a#1"])
def test_a_key_cannot_leave_the_lake(lake: Lake, key: str) -> None:
    with pytest.raises(BadInputError, match="lake key"):
        lake.write_new(key, b"")
    with pytest.raises(BadInputError, match="lake key"):
        lake.read(key)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_a_key_that_passes_stays_below_the_root(key: str) -> None:
    try:
        checked_key(key)
    except BadInputError:
        return
    root = Path("/root-of-lake")
    assert (root / key).resolve(strict=False).is_relative_to(root)


@pytest.mark.parametrize(
    "uri", ["/no/scheme", "file:", "file:///", "file://host/x", "s3://", "http://x/y", "file:///a/../b", ""]
)
def test_a_root_that_cannot_be_used_is_refused(uri: str) -> None:
    with pytest.raises(BadInputError, match="HWOSIM_LAKE_URI"):
        Lake(uri)


def test_a_secret_in_a_wrong_root_is_not_shown() -> None:
    with pytest.raises(BadInputError, match="HWOSIM_LAKE_URI") as refused:
        Lake("s3://AKIA:s3cr3t@bucket")
    assert "s3cr3t" not in str(refused.value)


def test_a_foreign_uri_has_no_key(lake: Lake) -> None:
    with pytest.raises(BadInputError, match="does not lie in the lake"):
        lake.key_of("s3://another-bucket/lake/raw/a")


def test_a_source_that_fails_leaves_nothing(lake: Lake) -> None:
    def breaking() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * MEGABYTE
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        lake.write_new("raw/a", breaking())
    assert lake.head("raw/a") is None
    assert list(lake.list()) == []


def test_a_killed_writers_leftovers_are_swept_after_a_day(state: Path) -> None:
    import os
    import time

    lake = Lake((state / "lake").as_uri())
    lake.write_new("a", b"1")
    staging = state / "lake" / store_module.STAGING
    staging.mkdir()
    for name, age in (("old", 90_000), ("young", 60)):
        (staging / name).write_bytes(b"half")
        os.utime(staging / name, (time.time() - age,) * 2)
    assert [stored.key for stored in lake.list()] == ["a"]
    assert lake.sweep() == 1
    assert [path.name for path in staging.iterdir()] == ["young"]


def test_a_staged_file_that_goes_while_others_are_swept_is_passed_over(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [self / "gone", *real(self, pattern)])
    staging = state / "lake" / store_module.STAGING
    staging.mkdir(parents=True)
    (staging / "old").write_bytes(b"half")
    monkeypatch.setattr(store_module, "STAGING_LIFE", timedelta(seconds=-60))
    assert Lake((state / "lake").as_uri()).sweep() == 1
    assert list(staging.iterdir()) == []


def test_check_passes_and_leaves_nothing(lake: Lake) -> None:
    lake.check()
    assert list(lake.list()) == []


def test_a_missing_bucket_and_an_absent_server_are_told_apart(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendAbsentError, match="bucket does not exist"):
        Lake("s3://no-such-bucket-here/lake").check()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(BackendAbsentError, match=r"cannot be reached.*AWS_ENDPOINT_URL"):
        Lake(s3_uri).check()


@pytest.mark.parametrize(
    "endpoint",
    ["someone:s3cret@127.0.0.1:9", "127.0.0.1:9", "ftp://x", "https://", "http://someone:s3cret@127.0.0.1:9"],
)
def test_an_endpoint_that_cannot_be_asked_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "hwosim")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    for ask in (Lake.check, Lake.sweep):  # one of them is obstore's way to the store, one boto3's
        with pytest.raises(HwosimError, match="AWS_ENDPOINT_URL") as told:
            ask(Lake("s3://bucket/lake"))
        assert "s3cret" not in str(told.value)


def test_without_credentials_nobody_is_asked(s3_uri: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(state / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(state / "none"))
    with pytest.raises(BackendAbsentError, match="no AWS credentials"):
        Lake(s3_uri).check()


def test_an_aws_profile_is_read(s3_uri: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (state / "credentials").write_text("[jwst]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(state / "credentials"))
    with pytest.raises(BackendAbsentError, match="no AWS credentials"):
        Lake(s3_uri).check()
    monkeypatch.setenv("AWS_PROFILE", "jwst")
    lake = Lake(s3_uri)
    lake.check()
    lake.write_new("raw/a", b"written with the profile's key")
    assert lake.read("raw/a") == b"written with the profile's key"


# moto accepts any credentials and denies nothing, so these replies are those that S3 documents.
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("status code: 403 Forbidden: <Error><Code>InvalidAccessKeyId</Code>", "credentials are wrong"),
        ("status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code>", "credentials are wrong"),
        ("status code: 400 Bad Request: <Error><Code>ExpiredToken</Code>", "credentials have expired"),
        ("status code: 403 Forbidden: <Error><Code>AccessDenied</Code>", "access is denied"),
        ("status code: 404 Not Found: <Error><Code>NoSuchBucket</Code>", "bucket does not exist"),
        ("status code: 301: <Error><Code>PermanentRedirect</Code>", "another region"),
        ("status code: 503: <Error><Code>SlowDown</Code>", "overloaded"),
        ("status code: 500 Internal Server Error", "internal error"),
        ("AWS Error ACCESS_DENIED during PutObject operation", "access is denied"),
        ("AWS Error NETWORK_CONNECTION during HeadObject operation", "cannot be reached"),
        ("AWS Error NO_SUCH_BUCKET during CreateMultipartUpload", "bucket does not exist"),
        ("AWS Error INVALID_ACCESS_KEY_ID during HeadObject", "credentials are wrong"),
        ("AWS Error SIGNATURE_DOES_NOT_MATCH during HeadObject", "credentials are wrong"),
    ],
)
def test_what_s3_says_is_told_apart(reply: str, reason: str) -> None:
    error = meaning_of(OSError(reply), Place.parse("s3://bucket/jw00403-500"), "raw/jw00403/x")
    assert isinstance(error, BackendAbsentError)
    assert reason in str(error)
    assert "s3://bucket" in str(error)


def test_a_program_number_is_no_status_code() -> None:
    error = meaning_of(OSError("odd thing at raw/jw00403/500"), Place.parse("s3://bucket"))
    assert "odd thing" in str(error)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_absent_backend(code: int) -> None:
    error = meaning_of(OSError(code, "No space left on device"), Place.parse("file:///lake"), "raw/a")
    assert not isinstance(error, BackendAbsentError)
    assert "free space" in str(error)
    assert "raw/a" in str(error)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 12 MB, where the machine lets us."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_nothing_half_written(small_disk: Path) -> None:
    lake = Lake((small_disk / "lake").as_uri())
    lake.write_new("small", b"1")
    for size in (15 * MEGABYTE, 40 * MEGABYTE):
        with pytest.raises(HwosimError, match="no space is left"):
            lake.write_new("raw/large", (b"x" * MEGABYTE for _ in range(size // MEGABYTE)))
        assert [stored.key for stored in lake.list()] == ["small"]
    files = [path for path in (small_disk / "lake").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) == 1
    _wait_for_space(small_disk, 2 * MEGABYTE)
    lake.write_new("raw/large", b"x" * MEGABYTE)


def _wait_for_space(disk: Path, size: int) -> None:
    """Wait until a removed file's blocks are free: the store closes its handle in a thread of its own."""
    until = time.monotonic() + 20
    while shutil.disk_usage(disk).free < size:
        assert time.monotonic() < until, "the space of what was given up never came back"
        time.sleep(0.02)


def test_a_file_size_limit_is_told_like_a_full_disk(state: Path) -> None:
    program = f"""
        import resource
        from hwosim_assets.lake.store import Lake
        from hwosim_assets.errors import HwosimError
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.getrlimit(resource.RLIMIT_FSIZE)[1]}))
        lake = Lake({(state / "lake").as_uri()!r})
        try:
            lake.write_new("raw/a", b"x" * 200_000)
        except HwosimError as error:
            print(type(error).__name__, error, [stored.key for stored in lake.list()])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("HwosimError lake file://")
    assert "free space" in done.stdout
    assert done.stdout.endswith("[]\n")


def test_bytes_are_taken_in_whole_once_and_for_good(lake: Lake) -> None:
    lake.take_in("raw/a/b.fits", b"content")
    lake.take_in("raw/a/empty.fits", b"")
    assert (lake.read("raw/a/b.fits"), lake.read("raw/a/empty.fits")) == (b"content", b"")
    with pytest.raises(AlreadyStoredError):
        lake.take_in("raw/a/b.fits", b"other")
    assert lake.read("raw/a/b.fits") == b"content"
    if lake.place.folder is not None:
        assert (lake.place.folder / "raw/a/b.fits").stat().st_mode & 0o222 == 0
        assert len(list((lake.place.folder / "raw/a").iterdir())) == 2


def test_what_lies_in_the_place_of_a_folder_is_told(state: Path) -> None:
    lake = Lake((state / "lake").as_uri())
    lake.write_new("raw/file", b"content")
    (state / "lake" / "raw" / "nowhere").symlink_to(state / "gone")
    for key in ("raw/file/a.fits", "raw/file/b/a.fits", "raw/nowhere/a.fits", "raw/nowhere/b/a.fits"):
        with pytest.raises((HwosimError, OSError)):
            lake.take_in(key, b"other")
    assert lake.read("raw/file") == b"content"
    assert not (state / "gone").exists()


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EISDIR])
def test_a_disk_without_nameless_files_takes_bytes_in_too(
    state: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    real = os.open

    def without(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(error, os.strerror(error))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", without)
    lake = Lake((state / "lake").as_uri())
    lake.take_in("raw/a.fits", b"content")
    assert lake.read("raw/a.fits") == b"content"
    with pytest.raises(AlreadyStoredError):
        lake.take_in("raw/a.fits", b"other")
    assert [path.name for path in (state / "lake").rglob("*") if path.is_file()] == ["a.fits"]
