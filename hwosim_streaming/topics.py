"""The topics: their names, who lies in which partition, and their creation.

Holds: the names behind a configurable prefix, the explicit table from detector to partition,
:func:`ensure_topics`. Keep out what the messages hold (``envelope``).
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_streaming.clients import ANSWER_SECONDS, answer_or_absent
from hwosim_streaming.envelope import FAMILIES, TOPIC_OF, own_numbers
from hwosim_streaming.refusals import MEND, refusal

if TYPE_CHECKING:
    from hwosim_streaming.registry import Registry

__all__ = ["Topics", "ensure_topic", "ensure_topics", "existing_topics", "partition_of", "topic_ids", "topic_name"]

#: Detectors and instruments in the order in which they are dealt to partitions. Hashing would not do:
#: the CRC-32 of six detector names hits two of four partitions.
KEYS = (
    *("NRCA1", "NRCA2", "NRCA3", "NRCA4", "NRCALONG", "NRCB1", "NRCB2", "NRCB3", "NRCB4", "NRCBLONG"),
    *("NRS1", "NRS2", "NIS", "MIRIMAGE", "MIRIFUSHORT", "MIRIFULONG", "GUIDER1", "GUIDER2"),
    *("NIRCAM", "NIRSPEC", "NIRISS", "MIRI", "FGS"),
)
#: What a broker keeps of each topic, by family. Data records carry the time of exposure, years ago for an
#: archived one, so that a broker's usual week would drop them at once, and their truth belongs to
#: them: age deletes neither (a limit in bytes is the broker's owner's). A product of a mission to come is exposed
#: years from now, which Kafka 4 refuses beyond an hour unless it is told. The newest control record of a
#: run holds its whole state, so older ones may go.
_OF_ANY_TIME = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**63 - 1)}
_KEEPING: Mapping[str, dict[str, str]] = {
    **dict.fromkeys(("frame", "product", "truth"), _OF_ANY_TIME),
    "prediction": {},
    "control": {"cleanup.policy": "compact"},
}


@dataclass(frozen=True)
class Topics:
    """Names and partition counts of the topics as they exist on a broker, by family.

    Attributes
    ----------
    names : mapping of str to str
        Full names.
    partitions : mapping of str to int
        How many each has.
    numbers : mapping of str to int
        Schema number that goes onto the wire: ours, or a registry's (:meth:`registered`).
    registry : Registry or None
        Which knows the numbers of messages that are there.
    """

    names: Mapping[str, str]
    partitions: Mapping[str, int]
    numbers: Mapping[str, int] = field(default_factory=own_numbers)
    registry: Registry | None = None

    def registered(self, registry: Registry | None) -> Topics:
        """Return the same with a registry's schema numbers; the same itself where there is none.

        Raises
        ------
        BackendAbsentError
            If the registry does not answer, or refuses us or a schema.
        """
        if registry is None:
            return self
        numbers = {family: registry.number(family, name) for family, name in self.names.items()}
        return replace(self, numbers=numbers, registry=registry)

    def places(self, *families: str) -> list[tuple[str, int]]:
        """Return (topic, partition) of these families."""
        return [(self.names[family], number) for family in families for number in range(self.partitions[family])]


def topic_name(family: str, prefix: str = "") -> str:
    """Return the name of a family's topic behind the prefix (``HWOSIM_TOPIC_PREFIX``, for example ``dev.``)."""
    return f"{prefix}{TOPIC_OF[family]}"


@lru_cache(maxsize=4096)
def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a key: by the table, or by CRC-32 where the table does not know it."""
    number = KEYS.index(key) if key in KEYS else zlib.crc32(key.encode())
    return number % partitions


def existing_topics(config: dict[str, Any], prefix: str) -> Topics:
    """Return those of our topics that exist on the broker.

    Raises
    ------
    BackendAbsentError
        If the broker does not answer.
    """
    from confluent_kafka.admin import AdminClient

    with answer_or_absent(config["bootstrap.servers"]):
        found = AdminClient(config).list_topics(timeout=ANSWER_SECONDS).topics
    names = {family: topic_name(family, prefix) for family in FAMILIES}
    there = {family: name for family, name in names.items() if name in found and found[name].error is None}
    return Topics(there, {family: len(found[name].partitions) for family, name in there.items()})


def topic_ids(config: dict[str, Any], names: Iterable[str]) -> dict[str, str]:
    """Return the ids of topics by name: one that was deleted and made anew has another.

    Raises
    ------
    BackendAbsentError
        If the broker does not answer, or does not have one of them.
    """
    from confluent_kafka import TopicCollection
    from confluent_kafka.admin import AdminClient

    admin = AdminClient(config)  # held until its answers are in
    with answer_or_absent(config["bootstrap.servers"]):
        asked = admin.describe_topics(TopicCollection(list(names)), request_timeout=ANSWER_SECONDS)
        return {name: str(told.result().topic_id) for name, told in asked.items()}


def ensure_topics(config: dict[str, Any], prefix: str, partitions: int) -> Topics:
    """Create the topics that are missing and return them all.

    A topic that exists keeps the number of partitions it has.

    Raises
    ------
    BackendAbsentError
        If the broker does not answer or may not create topics.
    BadInputError
        If the prefix makes a name that Kafka does not allow.
    """
    from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

    there = existing_topics(config, prefix)
    missing = [family for family in FAMILIES if family not in there.names]
    if not missing:
        return there
    wanted = [
        NewTopic(topic_name(family, prefix), 1 if family == "control" else partitions, -1, config=_KEEPING[family])
        for family in missing
    ]
    _create(config, wanted)
    return _all_of_them(config, prefix)


def ensure_topic(config: dict[str, Any], name: str) -> None:
    """Create a topic of one partition where it is missing, kept as the broker keeps topics.

    Raises
    ------
    BackendAbsentError
        If the broker does not answer or may not create topics.
    BadInputError
        If Kafka does not allow the name.
    """
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    def is_there() -> bool:
        with answer_or_absent(config["bootstrap.servers"]):
            found = AdminClient(config).list_topics(timeout=ANSWER_SECONDS).topics.get(name)
        return found is not None and found.error is None

    if is_there():
        return
    _create(config, [NewTopic(name, 1, -1)])
    until = time.monotonic() + ANSWER_SECONDS
    while not is_there():
        if time.monotonic() > until:
            raise BackendAbsentError(f"Kafka topic {name}", "was made and does not show up", MEND)
        time.sleep(0.05)


def _create(config: dict[str, Any], wanted: list[Any]) -> None:
    """Create topics; that somebody else has made one meanwhile is no failure."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient(config)  # held until its answers are in
    for name, future in admin.create_topics(wanted, request_timeout=10.0).items():
        try:
            future.result()
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.TOPIC_ALREADY_EXISTS:
                continue
            if code == KafkaError.TOPIC_EXCEPTION:
                raise BadInputError(
                    f"topic {name!r}", "is not a name that Kafka allows", "change HWOSIM_TOPIC_PREFIX"
                ) from error
            raise refusal(f"Kafka topic {name}, to be created", error.args[0]) from error


def _all_of_them(config: dict[str, Any], prefix: str) -> Topics:
    """Return our topics as soon as the broker shows all of them; who made them knows of them a little earlier."""
    until = time.monotonic() + ANSWER_SECONDS
    while True:
        there = existing_topics(config, prefix)
        missing = [topic_name(family, prefix) for family in FAMILIES if family not in there.names]
        if not missing:
            return there
        if time.monotonic() > until:
            raise BackendAbsentError(f"Kafka topic {missing[0]}", "was made and does not show up", MEND)
        time.sleep(0.05)
