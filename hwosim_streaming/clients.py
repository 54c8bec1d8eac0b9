"""How HWOsim talks to a Kafka-protocol broker: client settings, a bounded first word, where topics end.

Holds: :func:`client_config`, :func:`cluster_id` (also the test whether anybody answers),
:func:`end_offsets` and :func:`read_between`. Keep out which broker that is (``broker``) and what the
topics are (``topics``).
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_streaming.refusals import MEND, is_final, refusal

if TYPE_CHECKING:
    from hwosim_assets.settings import Settings

__all__ = [
    "Place",
    "answer_or_absent",
    "client_config",
    "cluster_id",
    "end_offsets",
    "is_loopback",
    "low_offsets",
    "once_it_has_leaders",
    "read_between",
    "watermarks",
]

Answer = TypeVar("Answer")

#: Topic and partition.
Place = tuple[str, int]

#: Seconds that a broker has for its first answer.
ANSWER_SECONDS = 5.0
#: One look while waiting for it: a refusal is told at once and not when all the time is over.
LOOK_SECONDS = 1.0
#: Consumers that read a range: no group to join, the end of a partition is said, and said soon.
READING = {
    "group.id": "hwosim-reading",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 20,
    "queued.max.messages.kbytes": 32768,
}


def client_config(settings: Settings, servers: str) -> dict[str, Any]:
    """Return the librdkafka properties every client of ours starts from.

    Raises
    ------
    BadInputError
        If a password would cross the network in the clear (SASL without TLS, off loopback), or the secret
        that a token is asked for with.
    """
    passed = settings.kafka_client()
    asked = urlsplit(passed.get("sasl.oauthbearer.token.endpoint.url", ""))
    if asked.scheme == "http" and not is_loopback(f"{asked.hostname}:{asked.port}"):
        raise BadInputError(
            "HWOSIM_KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL",
            "would send the client secret unencrypted off this machine",
            "use https",
        )
    off_loopback = not all(is_loopback(server) for server in servers.split(","))
    if off_loopback and passed.get("security.protocol", "").upper() == "SASL_PLAINTEXT":
        raise BadInputError(
            "HWOSIM_KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT",
            "would send the password unencrypted off this machine",
            "use SASL_SSL",
        )
    ours = {"bootstrap.servers": servers, "client.id": "hwosim", "socket.timeout.ms": 10000}
    # What matters comes as an error or a delivery report; librdkafka would also write every closed or
    # refused connection to standard error.
    return {**ours, "log_level": 2, **passed}


def is_loopback(server: str) -> bool:
    """Whether ``host:port`` is this machine."""
    host = server.strip().rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def cluster_id(config: dict[str, Any], timeout: float = ANSWER_SECONDS) -> str:
    """Return the id of the cluster that answers.

    Parameters
    ----------
    config : dict
        See :func:`client_config`.
    timeout : float
        Seconds to wait.

    Raises
    ------
    BackendAbsentError
        If nobody answers in time.
    BrokerRefusesError
        If the broker refuses our credentials, or there is no TLS with it.
    BadInputError
        If the client knows no such property, or not with that value.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    said: list[Any] = []
    silent = logging.getLogger("librdkafka.first_word")
    silent.setLevel(logging.CRITICAL)
    told: dict[str, Any] = {**config, "error_cb": said.append}
    try:
        admin = AdminClient(told, logger=silent)
    except KafkaException as error:
        raise BadInputError(
            "HWOSIM_KAFKA_* variables", str(error.args[0].str()), "correct or unset the one of that name"
        ) from error
    until = time.monotonic() + timeout
    while True:
        try:
            return str(admin.list_topics(timeout=max(0.01, min(LOOK_SECONDS, until - time.monotonic()))).cluster_id)
        except KafkaException as error:
            admin.poll(0)  # hands over what the client was told meanwhile, for example that the password is wrong
            _unless_it_may_still_answer(f"Kafka broker {config['bootstrap.servers']}", said, error, until)


def _unless_it_may_still_answer(thing: str, said: list[Any], error: Any, until: float) -> None:
    """Raise what a broker's silence means, once it is certain or the time is over."""
    final = next((each for each in said if is_final(each)), None)
    if final is not None:
        raise refusal(thing, final) from error
    if time.monotonic() > until:
        reason = (said[0] if said else error.args[0]).str()
        raise BackendAbsentError(thing, f"does not answer ({reason})", MEND) from error


class answer_or_absent:  # noqa: N801 - reads as a phrase: `with answer_or_absent(servers):`
    """Turn a client's exceptions inside the block into :class:`BackendAbsentError`."""

    def __init__(self, servers: str) -> None:
        self.servers = servers

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from confluent_kafka import KafkaException

        if isinstance(error, KafkaException):
            raise refusal(f"Kafka broker {self.servers}", error.args[0]) from error


def end_offsets(config: dict[str, Any], places: Iterable[Place], timeout: float = 10.0) -> dict[Place, int]:
    """Return the offset after the last message of each partition.

    Found by reading to the end: the embedded broker answers a question for the latest offset with
    the first offset of its last batch plus one, which is true only for batches of one message.

    Parameters
    ----------
    config : dict
        See :func:`client_config`.
    places : iterable of (topic, partition)
        Partitions that exist.
    timeout : float
        Seconds for all of them together.

    Raises
    ------
    BackendAbsentError
        If an end is not known in time.
    """
    wanted = list(places)
    starts = {place: max(low, high - 1) for place, (low, high) in _watermarks(config, wanted).items()}
    ends: dict[Place, int] = {}
    for _message in read_between(config, starts, None, timeout, ends):
        pass
    return ends


def read_between(
    config: dict[str, Any],
    starts: Mapping[Place, int],
    ends: Mapping[Place, int] | None,
    patience: float = 10.0,
    reached: dict[Place, int] | None = None,
) -> Generator[Any, None, None]:
    """Read partitions from their starts to their ends, without joining a group.

    Parameters
    ----------
    config : dict
        See :func:`client_config`.
    starts, ends : mapping of (topic, partition) to offset
        First offset, and the offset after the last; without ends all that is there now.
    patience : float
        Seconds without any word from the broker after which it counts as absent.
    reached : dict, optional
        Takes the offset after the last message of each partition read to its end.

    Yields
    ------
    confluent_kafka.Message
        Without errors, in order within each partition.

    Raises
    ------
    BackendAbsentError
        If the broker falls silent before all is read.
    """
    from confluent_kafka import Consumer, TopicPartition

    servers = config["bootstrap.servers"]
    left = {place for place, start in starts.items() if ends is None or start < ends[place]}
    if not left:
        return
    with answer_or_absent(servers), closing(Consumer({**READING, **config})) as consumer:
        consumer.assign([TopicPartition(topic, partition, starts[topic, partition]) for topic, partition in left])
        heard = time.monotonic()
        while left:
            messages = _what_is_there(consumer)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > patience:
                raise BackendAbsentError(f"Kafka broker {servers}", "fell silent before all was read", MEND)
            for message in messages:
                place, offset = (message.topic(), message.partition()), int(message.offset() or 0)
                if place not in left:
                    continue
                if message.error() is None:
                    last = math.inf if ends is None else ends[place] - 1
                    if offset <= last:
                        yield message
                    if offset >= last:
                        left.discard(place)
                elif _is_end(message):
                    left.discard(place)
                    if reached is not None:
                        reached[place] = offset


def _what_is_there(consumer: Any) -> list[Any]:
    """Wait a moment for one message and return it with those behind it; waiting for many would wait in vain."""
    messages: list[Any] = consumer.consume(1, timeout=0.1)
    return messages + consumer.consume(500, timeout=0) if messages else messages


def _is_end(message: Any) -> bool:
    """Whether a consumer's word without a record says that the partition ends here.

    Raises
    ------
    BackendAbsentError
        If it says that the partition cannot be read.
    """
    from confluent_kafka import KafkaError

    error = message.error()
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
        return True
    if error.retriable():
        return False
    raise refusal(f"Kafka topic {message.topic()}", error)


def _watermarks(config: dict[str, Any], places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
    """Return the lowest offset of each partition and a lower bound of the offset after the last."""
    from confluent_kafka import Consumer

    consumer = Consumer({**READING, **config})
    with answer_or_absent(config["bootstrap.servers"]):
        try:
            return {place: watermarks(consumer, place) for place in places}
        finally:
            consumer.close()


def watermarks(consumer: Any, place: Place) -> tuple[int, int]:
    """Return the lowest offset of a partition and a lower bound of the offset after the last.

    A topic that was made a moment ago is waited for: Apache Kafka says that it is there before its
    partitions have leaders that every answer knows of.

    Raises
    ------
    confluent_kafka.KafkaException
        If the broker does not say.
    """
    from confluent_kafka import TopicPartition

    low, high = once_it_has_leaders(
        lambda: consumer.get_watermark_offsets(TopicPartition(*place), timeout=ANSWER_SECONDS)
    )
    return int(low), int(high)


def once_it_has_leaders(ask: Callable[[], Answer]) -> Answer:
    """Return an answer about a topic that may have been made a moment ago; see :func:`watermarks`."""
    from confluent_kafka import KafkaError, KafkaException

    young = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART)
    until = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in young or time.monotonic() > until:
                raise
            time.sleep(0.05)


def low_offsets(config: dict[str, Any], places: Iterable[Place]) -> dict[Place, int]:
    """Return the lowest offset that each partition still has."""
    return {place: low for place, (low, _high) in _watermarks(config, places).items()}
