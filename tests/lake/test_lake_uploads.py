"""Uploads in parts to S3: continued where a kill left them, create-only, and none stays unfinished for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from hwosim_assets.errors import BackendAbsentError, HwosimError
from hwosim_assets.lake import store as store_module
from hwosim_assets.lake import uploads as uploads_module
from hwosim_assets.lake.store import AlreadyStoredError, Lake
from hwosim_assets.lake.uploads import PART_BYTES, Uploads

PARTS = 4
CONTENT = b"".join(bytes([number]) * PART_BYTES for number in range(1, PARTS)) + b"the end"
KEY = "raw/jw01093/large.fits"


@pytest.fixture
def lake(s3_uri: str) -> Lake:
    return Lake(s3_uri)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the numbers of the parts that are sent from now on."""
    numbers, real = list[int](), uploads_module._client

    class Spy:
        def __init__(self, client: Any) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def upload_part(self, **request: Any) -> Any:
            numbers.append(request["PartNumber"])
            return self._client.upload_part(**request)

    monkeypatch.setattr(uploads_module, "_client", lambda *where: Spy(real(*where)))
    return numbers


def chunks(content: bytes = CONTENT, until: int | None = None) -> Iterator[bytes]:
    """Yield the content in pieces of 3 MB; a kill comes after so many bytes."""
    for start in range(0, len(content), 3 << 20):
        if until is not None and start >= until:
            raise KeyboardInterrupt
        yield content[start : start + (3 << 20)]


def unfinished(lake: Lake) -> list[str]:
    import boto3

    found = boto3.client("s3", region_name="us-east-1").list_multipart_uploads(Bucket=lake.place.bucket)
    return [upload["Key"] for upload in found.get("Uploads", [])]


def killed(lake: Lake, content: bytes = CONTENT) -> None:
    with pytest.raises(KeyboardInterrupt):
        lake.write_new(KEY, chunks(content, until=2 * PART_BYTES + 1))
    assert unfinished(lake) == [f"lake/{KEY}"]
    assert lake.head(KEY) is None


def test_an_upload_that_was_killed_is_gone_on_with(lake: Lake, sent: list[int]) -> None:
    killed(lake)
    assert sorted(sent) == [1, 2]
    sent.clear()
    lake.write_new(KEY, chunks())
    assert sorted(sent) == [3, 4]
    assert lake.read(KEY) == CONTENT
    assert unfinished(lake) == []


@pytest.mark.parametrize("content", [b"small", CONTENT])
def test_an_object_of_any_size_is_encrypted_as_the_environment_says(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    import boto3

    monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "aws:kms")
    monkeypatch.setenv("AWS_SSE_KMS_KEY_ID", "our-key")
    Lake(lake.uri).write_new(KEY, content)
    stored = boto3.client("s3", region_name="us-east-1").head_object(Bucket=lake.place.bucket, Key=f"lake/{KEY}")
    assert (stored["ServerSideEncryption"], stored["SSEKMSKeyId"]) == ("aws:kms", "our-key")


def test_parts_of_other_bytes_are_sent_again(lake: Lake, sent: list[int]) -> None:
    killed(lake, CONTENT[:PART_BYTES] + bytes(PART_BYTES) + CONTENT[2 * PART_BYTES :])
    sent.clear()
    lake.write_new(KEY, CONTENT)
    assert sorted(sent) == [2, 3, 4]
    assert lake.read(KEY) == CONTENT


def test_an_upload_that_begins_with_other_bytes_is_left_to_its_writer(lake: Lake, sent: list[int]) -> None:
    killed(lake, bytes(PART_BYTES) + CONTENT[PART_BYTES:])
    sent.clear()
    lake.write_new(KEY, CONTENT)
    assert sorted(sent) == [1, 2, 3, 4]
    assert lake.read(KEY) == CONTENT
    assert unfinished(lake) == [f"lake/{KEY}"]


def test_uploads_that_are_not_the_lakes_are_left_alone(lake: Lake) -> None:
    import boto3

    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_multipart_upload(Bucket=lake.place.bucket, Key="backups/of-somebody.tar")
    root = Lake(f"s3://{lake.place.bucket}")
    assert Uploads(root.place).abandon(timedelta(0)) == 0
    s3.create_multipart_upload(Bucket=lake.place.bucket, Key=KEY)
    assert Uploads(root.place).abandon(timedelta(0)) == 1
    assert unfinished(lake) == ["backups/of-somebody.tar"]


@pytest.fixture
def before_the_end(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Return what other writers do once all parts of an upload are sent; each does so once."""
    others, real = list[Callable[[], None]](), Uploads._end

    def end(self: Uploads, *given: Any) -> None:
        while others:
            others.pop()()
        real(self, *given)

    monkeypatch.setattr(Uploads, "_end", end)
    return others


def test_an_object_that_another_writer_stored_meanwhile_stays(
    lake: Lake, before_the_end: list[Callable[[], None]]
) -> None:
    before_the_end.append(lambda: lake.write_new(KEY, b"first"))
    with pytest.raises(AlreadyStoredError):
        lake.write_new(KEY, chunks())
    assert lake.read(KEY) == b"first"
    assert unfinished(lake) == []


def test_a_key_that_is_taken_meanwhile_is_told_where_nobody_may_abort(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, before_the_end: list[Callable[[], None]]
) -> None:
    before_the_end.append(lambda: lake.write_new(KEY, b"first"))
    client = uploads_module._client(lake.place.endpoint, lake.place.region)
    monkeypatch.setattr(client, "abort_multipart_upload", _refusing("AccessDenied"))
    with pytest.raises(AlreadyStoredError):
        lake.write_new(KEY, chunks())
    assert lake.read(KEY) == b"first"


def test_an_upload_that_another_writer_goes_on_with_and_ends_is_no_failure(
    lake: Lake, sent: list[int], before_the_end: list[Callable[[], None]]
) -> None:
    before_the_end.append(lambda: Lake(lake.uri).write_new(KEY, CONTENT))
    with suppress(AlreadyStoredError):  # a store may say either to whoever ends an upload once more
        lake.write_new(KEY, chunks())
    assert sorted(sent) == [1, 2, 3, 4]
    assert lake.read(KEY) == CONTENT
    assert unfinished(lake) == []


# moto crashes where an upload is gone; this reply is the one that S3 documents
@pytest.mark.parametrize("ended", [True, False])
def test_an_upload_that_is_gone_was_ended_or_given_up(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, before_the_end: list[Callable[[], None]], ended: bool
) -> None:
    def gone(**_given: Any) -> Any:
        raise ClientError({"Error": {"Code": "NoSuchUpload", "Message": "no"}}, "CompleteMultipartUpload")

    if ended:
        before_the_end.append(lambda: lake.write_new(KEY, b"the other's"))
    client = uploads_module._client(lake.place.endpoint, lake.place.region)
    monkeypatch.setattr(client, "complete_multipart_upload", gone)
    with pytest.raises(HwosimError, match="never overwritten" if ended else "ended by another writer, with no object"):
        lake.write_new(KEY, chunks())
    assert [stored.key for stored in lake.list()] == [KEY] * ended


@pytest.mark.parametrize(
    ("code", "status", "reason"), [("SlowDown", 503, "overloaded"), ("AccessDenied", 403, "access is denied")]
)
def test_what_the_store_says_of_a_part_is_told_apart(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, code: str, status: int, reason: str
) -> None:
    def refusing(*_given: Any) -> Any:
        reply = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(reply, "UploadPart")

    monkeypatch.setattr(Uploads, "_send", refusing)
    with pytest.raises(BackendAbsentError, match=reason):
        lake.write_new(KEY, chunks())
    assert list(lake.list()) == []


def test_a_store_that_may_not_be_asked_for_its_uploads_is_written_to(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Denying:
        def paginate(self, **_given: Any) -> Iterator[Any]:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListMultipartUploads")

    client = uploads_module._client(lake.place.endpoint, lake.place.region)
    monkeypatch.setattr(client, "get_paginator", lambda _name: Denying())
    lake.write_new(KEY, CONTENT)
    assert lake.sweep() == 0
    assert lake.read(KEY) == CONTENT
    assert "AbortIncompleteMultipartUpload" in caplog.text


def test_a_store_that_may_not_abort_is_written_to(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    killed(lake)
    monkeypatch.setattr(store_module, "UPLOAD_LIFE", timedelta(0))
    client = uploads_module._client(lake.place.endpoint, lake.place.region)
    monkeypatch.setattr(client, "abort_multipart_upload", _refusing("AccessDenied"))
    assert lake.sweep() == 0
    assert "AbortIncompleteMultipartUpload" in caplog.text


def test_an_upload_that_another_sweeps_at_the_same_moment_is_passed_over(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(lake)
    monkeypatch.setattr(store_module, "UPLOAD_LIFE", timedelta(0))
    client = uploads_module._client(lake.place.endpoint, lake.place.region)
    monkeypatch.setattr(client, "abort_multipart_upload", _refusing("NoSuchUpload"))
    assert lake.sweep() == 0


def _refusing(code: str) -> Callable[..., Any]:
    def refuse(**_given: Any) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "AbortMultipartUpload")

    return refuse


def test_a_store_that_is_not_there_is_told(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(BackendAbsentError, match=r"cannot be reached.*AWS_ENDPOINT_URL"):
        Lake(lake.uri).sweep()


def test_uploads_that_nobody_goes_on_with_are_swept(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(lake)
    assert lake.sweep() == 0, "a part came less than a day ago"
    assert unfinished(lake) == [f"lake/{KEY}"]
    assert Uploads(Lake(lake.uri.replace("/lake", "/other")).place).abandon(timedelta(0)) == 0, "not below this lake"
    monkeypatch.setattr(store_module, "UPLOAD_LIFE", timedelta(0))
    assert lake.sweep() == 1
    assert unfinished(lake) == []
