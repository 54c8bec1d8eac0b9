"""The queue that S3 sends its event notifications to, and what a notification says.

Holds: :class:`Queue` (Amazon SQS), :func:`event_keys`, :func:`subscribe`. Keep out what is done about an
object (``catalog.watch``).

Formats: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_assets.lake.place import Place

__all__ = ["Message", "Queue", "event_keys", "subscribe"]

#: Most messages that SQS gives at once.
_AT_ONCE = 10
#: Under which name the notification of this program stands in a bucket's configuration.
NOTIFICATION_ID = "hwosim-watch"
EVENTS = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]


@dataclass(frozen=True)
class Message:
    """A message of the queue: its text, and what it is deleted by."""

    body: str
    receipt: str


class Queue:
    """An SQS queue.

    Parameters
    ----------
    url : str
        Of the queue; credentials, region and endpoint come from the ``AWS_*`` environment.

    Raises
    ------
    BackendAbsentError
        When boto3 is not installed, here; when the queue cannot be used, from any method.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = _client("sqs")

    def receive(self) -> list[Message]:
        """Return up to ten messages, none when there are none; they come again unless deleted."""
        with _errors(self.url):
            found = self._client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=_AT_ONCE, WaitTimeSeconds=0)
        return [Message(item["Body"], item["ReceiptHandle"]) for item in found.get("Messages", [])]

    def delete(self, messages: list[Message]) -> None:
        """Remove messages whose objects are catalogued."""
        with _errors(self.url):
            for message in messages:
                self._client.delete_message(QueueUrl=self.url, ReceiptHandle=message.receipt)


def event_keys(body: str, bucket: str) -> list[str]:
    """Return the keys that a notification names.

    Parameters
    ----------
    body : str
        JSON of S3, alone or inside a notification of SNS, or of EventBridge.
    bucket : str
        Whose keys are wanted; those of others are left out.

    Returns
    -------
    list of str
        As stored, no longer URL-encoded; none for the test event S3 sends on set-up.

    Raises
    ------
    BadInputError
        When the text is no such notification.
    """
    try:
        event = json.loads(body)
        if event.get("Type") == "Notification" and isinstance(event.get("Message"), str):
            event = json.loads(event["Message"])
        if event.get("Event") == "s3:TestEvent":
            return []
        if event.get("source") == "aws.s3":
            named = [(event["detail"]["bucket"]["name"], str(event["detail"]["object"]["key"]))]
        else:
            said = [record["s3"] for record in event["Records"]]
            named = [(item["bucket"]["name"], unquote_plus(item["object"]["key"])) for item in said]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"queue message {body[:80]!r}", "is no S3 event notification", "send this queue nothing else"
        ) from error
    return [key for name, key in named if name == bucket]


def subscribe(place: Place, queue_arn: str) -> bool:
    """Make a bucket tell a queue about new and removed objects; what it tells others already stays.

    Parameters
    ----------
    place : Place
        Bucket and prefix to watch.
    queue_arn : str
        Amazon's name of the queue, which must allow S3 to send.

    Returns
    -------
    bool
        False when the bucket told it already.

    Raises
    ------
    BackendAbsentError
        When the bucket's configuration cannot be read or written.
    """
    client = _client("s3")
    with _errors(place.uri):
        present = client.get_bucket_notification_configuration(Bucket=place.bucket)
        present.pop("ResponseMetadata", None)
        queues = present.setdefault("QueueConfigurations", [])
        if any(item["QueueArn"] == queue_arn and item.get("Id") == NOTIFICATION_ID for item in queues):
            return False
        wanted: dict[str, Any] = {"Id": NOTIFICATION_ID, "QueueArn": queue_arn, "Events": EVENTS}
        if place.prefix:
            rules = [{"Name": "prefix", "Value": f"{place.prefix}/"}]
            wanted["Filter"] = {"Key": {"FilterRules": rules}}
        queues[:] = [item for item in queues if item.get("Id") != NOTIFICATION_ID] + [wanted]
        client.put_bucket_notification_configuration(Bucket=place.bucket, NotificationConfiguration=present)
    return True


def _client(service: str) -> Any:
    """Return a client of an Amazon service, at the endpoint of the environment."""
    place = Place("")
    try:
        import boto3
    except ImportError:
        raise BackendAbsentError(
            "S3 event notifications", "boto3 is not installed", "pip install boto3, or unset HWOSIM_WATCH_QUEUE_URL"
        ) from None
    return boto3.client(service, region_name=place.region)


@contextmanager
def _errors(thing: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        reason = f"cannot be used: {' '.join(str(error).split())[:300]}"
        raise BackendAbsentError(thing, reason, "check HWOSIM_WATCH_QUEUE_URL, rights and AWS_ENDPOINT_URL") from error
