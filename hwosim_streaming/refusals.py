"""Why a broker refuses: its error codes in words, each with its mend.

Holds: the table of codes, :class:`BrokerRefusesError`, :class:`DroppedError` and :func:`refusal`. Keep out what is
done about it: riding a failure through (``delivery``), setting a message aside (``dead_letters``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwosim_assets.errors import BackendAbsentError

__all__ = ["MEND", "BrokerRefusesError", "DroppedError", "is_final", "refusal"]

MEND = "start it, or set HWOSIM_KAFKA_BOOTSTRAP_SERVERS (unset: the embedded broker)"
_RIGHTS = "ask who runs it for the right"
_SIZE = ("takes no message of this size", "raise max.message.bytes of the topic to 1000000 or more")
_CREDENTIALS = (
    "refuses these credentials",
    "correct the HWOSIM_KAFKA_SASL_* variables (user name and password, or the token's)",
)
#: Codes after which trying again changes nothing: what the broker says by them, and what mends it.
_FINAL: Mapping[str, tuple[str, str]] = {
    "_AUTHENTICATION": _CREDENTIALS,
    "SASL_AUTHENTICATION_FAILED": _CREDENTIALS,
    "UNSUPPORTED_SASL_MECHANISM": ("does not know this SASL mechanism", "correct HWOSIM_KAFKA_SASL_MECHANISMS"),
    "_SSL": (
        "makes no TLS connection with us",
        "see that it speaks TLS there, and set HWOSIM_KAFKA_SSL_CA_LOCATION to the certificate of its authority",
    ),
    "TOPIC_AUTHORIZATION_FAILED": ("does not let this user use the topic", _RIGHTS),
    "GROUP_AUTHORIZATION_FAILED": ("does not let this user use the consumer group", _RIGHTS),
    "CLUSTER_AUTHORIZATION_FAILED": ("does not let this user do that", _RIGHTS),
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": ("does not let this user write in transactions", _RIGHTS),
    "MSG_SIZE_TOO_LARGE": _SIZE,
    "RECORD_LIST_TOO_LARGE": _SIZE,
    # message.timestamp.after.max.ms came with Apache Kafka 3.6
    "INVALID_CONFIG": ("does not know a setting of our topics", "use Apache Kafka 3.6 or later"),
    "POLICY_VIOLATION": ("refuses that by its policy", "ask who runs it"),
    # The second is what Kafka 4 says of a record an hour ahead; our topics take any time.
    **dict.fromkeys(
        ("INVALID_TIMESTAMP", "INVALID_RECORD"),
        (
            "takes no such record, probably not of its time",
            "set message.timestamp.after.max.ms and .before.max.ms of the topic to 9223372036854775807",
        ),
    ),
}
#: Apache Kafka gives up a disk on the first write that fails, itself with its last one, and is not back before it is
#: started anew.
_DISK = "see its log, make room on its disk, start it anew, then try again"
#: On a slow line any request may take too long.
_SILENT = "see whether it runs, and its log; if its disk is full, make room and start it anew, then try again"
#: Codes that may pass, where more can be said than the client does.
_PASSING: Mapping[str, tuple[str, str]] = {
    "_MSG_TIMED_OUT": ("took no message in time: it is away, or cannot write", _SILENT),
    "_TIMED_OUT": ("gave no answer in time: it is away, busy, or cannot write", _SILENT),
    # Not final: a broker that lost its last writes says it of the only publisher, and the next attempt goes through.
    "_FENCED": ("says that another publisher of this run took over", "let that one end, or publish again"),
    "KAFKA_STORAGE_ERROR": ("cannot write to its disk", _DISK),
    "NOT_ENOUGH_REPLICAS": ("takes no writes: too few replicas are in sync", "see to its replicas"),
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND": ("takes no writes: too few replicas are in sync", "see to its replicas"),
    **dict.fromkeys(
        ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"),
        ("has no such topic or partition", "publish first: hwosim stream publish, or correct HWOSIM_TOPIC_PREFIX"),
    ),
}
#: What the client says of a message that it dropped because of what became of another, or because it was told to.
_DROPPED = frozenset({"_PURGE_QUEUE", "_PURGE_INFLIGHT"})


class BrokerRefusesError(BackendAbsentError):
    """A broker that is there and says no; asking again changes nothing."""


class DroppedError(BackendAbsentError):
    """A message that the client dropped; why is told of another message, or of the transaction."""


def is_final(error: Any) -> bool:
    """Whether a ``KafkaError`` will be the same when the same is tried again."""
    return error.name() in _FINAL


def refusal(thing: str, error: Any, mend: str = MEND) -> BackendAbsentError:
    """Return a broker's error as one that a person can do something about.

    Parameters
    ----------
    thing : str
        The broker or the topic.
    error : confluent_kafka.KafkaError
        What the client was told.
    mend : str
        What to do about an error that the table does not know.

    Returns
    -------
    BackendAbsentError
        A :class:`BrokerRefusesError` where trying again changes nothing, a :class:`DroppedError` where this is not
        the cause. Never holds a password: librdkafka puts none into its texts.
    """
    name, said = error.name(), str(error.str())
    if name == "_AUTHENTICATION" and "mechanism handshake failed" in said:
        name = "UNSUPPORTED_SASL_MECHANISM"  # the client hides it in the text
    kind = BrokerRefusesError if name in _FINAL else DroppedError if name in _DROPPED else BackendAbsentError
    reason, mend = {**_FINAL, **_PASSING}.get(name, ("", mend))
    return kind(thing, f"{reason} ({said})" if reason else said, mend)
