"""A Kafka topic as the target of a subscription (``hwosim basket subscribe NAME --to kafka:TOPIC``).

Holds: :class:`TopicTarget`, found through the entry-point group ``hwosim.targets``. Keep out the stream itself
(``publisher``) and which events there are (``hwosim_assets.catalog.subscriptions``).

An event is one message: key the program, value the CloudEvent as JSON, its id in the header ``ce_id``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_streaming.broker import bootstrap_servers
from hwosim_streaming.clients import ANSWER_SECONDS, answer_or_absent, client_config, low_offsets, read_between
from hwosim_streaming.refusals import MEND

if TYPE_CHECKING:
    from hwosim_assets.settings import Settings

__all__ = ["TopicTarget"]

#: Seconds in which a broker must have confirmed a batch.
SEND_SECONDS = 60.0
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,200}")


class TopicTarget:
    """A topic of the configured broker, or of the embedded one where it runs.

    Parameters
    ----------
    address : str
        ``kafka:TOPIC``; ``HWOSIM_TOPIC_PREFIX`` is put before it.
    settings : Settings
        Which broker.

    Raises
    ------
    BadInputError
        If the topic's name is none.
    """

    def __init__(self, address: str, settings: Settings) -> None:
        name = address.removeprefix("kafka:").strip("/")
        if not _TOPIC.fullmatch(name):
            raise BadInputError(f"topic {name[:80]!r}", "is not a name that Kafka allows", "write kafka:TOPIC")
        self._topic = f"{settings.topic_prefix}{name}"
        self._settings = settings

    def send(self, events: list[dict[str, Any]]) -> None:
        """Publish events in order, each confirmed by all replicas; the topic is made where it is missing."""
        from confluent_kafka import Producer

        config = self._config()
        self._partitions(config, make=True)
        failed: list[str] = []

        def confirmed(error: Any, _message: Any) -> None:
            if error is not None:
                failed.append(str(error.str()))

        with answer_or_absent(config["bootstrap.servers"]):
            producer = Producer({**config, "enable.idempotence": True, "message.timeout.ms": int(SEND_SECONDS * 1000)})
            for event in events:
                producer.produce(
                    self._topic,
                    json.dumps(event).encode(),
                    event["data"]["program"].encode(),
                    headers=[("ce_id", event["id"].encode()), ("content-type", b"application/cloudevents+json")],
                    on_delivery=confirmed,
                )
            left = producer.flush(SEND_SECONDS + ANSWER_SECONDS)
        if failed or left:
            reason = f"took {len(events) - len(failed) - left} of {len(events)} events ({(failed or ['no answer'])[0]})"
            raise BackendAbsentError(f"Kafka topic {self._topic}", reason, MEND)

    def has(self, ids: set[str]) -> set[str]:
        """Return which of the ids are on the topic."""
        config = self._config()
        places = [(self._topic, number) for number in range(self._partitions(config, make=False))]
        found: set[str] = set()
        for message in read_between(config, low_offsets(config, places), None):
            found.update(value.decode() for name, value in message.headers() or [] if name == "ce_id")
        return ids & found

    def _config(self) -> dict[str, Any]:
        return client_config(self._settings, bootstrap_servers(self._settings, start=False))

    def _partitions(self, config: dict[str, Any], *, make: bool) -> int:
        """Return how many partitions the topic has, 0 where there is none and none is to be made."""
        from confluent_kafka import KafkaError, KafkaException
        from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

        with answer_or_absent(config["bootstrap.servers"]):
            admin = AdminClient(config)
            found = admin.list_topics(timeout=ANSWER_SECONDS).topics.get(self._topic)
            if found is not None and found.error is None:
                return len(found.partitions)
            if not make:
                return 0
            wanted = NewTopic(self._topic, 1, -1, config={"retention.ms": "-1"})
            try:
                admin.create_topics([wanted], request_timeout=10.0)[self._topic].result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
            return 1
