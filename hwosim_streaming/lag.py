"""How far readers are behind: what a group has committed against where the topics end.

Holds: :class:`Lag` and :func:`lags`. Keep out showing it (``cli``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import Any

from hwosim_streaming.clients import (
    ANSWER_SECONDS,
    Place,
    answer_or_absent,
    end_offsets,
    low_offsets,
    read_between,
)
from hwosim_streaming.topics import Topics

__all__ = ["Lag", "behind", "lags"]

#: Up to so many messages are counted one by one: each may be a frame of nearly a megabyte, and lag is asked for every
#: few seconds.
COUNTED = 10
#: Up to so many offsets are looked through for them: those of a stream in transactions are ends of such in good part.
OFFSETS = 50


@dataclass(frozen=True)
class Lag:
    """One group on one partition.

    Attributes
    ----------
    group, topic, partition
        Who reads what.
    committed, end : int
        Offset the group would go on from; end of the partition.
    behind : int
        How many messages the group has not processed; of more than ``COUNTED`` messages or ``OFFSETS`` offsets an
        upper bound, which holds the ends of transactions and what was aborted too.
    """

    group: str
    topic: str
    partition: int
    committed: int
    end: int
    behind: int


def lags(config: dict[str, Any], topics: Topics, group: str | None = None) -> list[Lag]:
    """Return the lag of a group, or of all groups, on our topics.

    Parameters
    ----------
    config : dict
        See :func:`hwosim_streaming.clients.client_config`.
    topics : Topics
        Those that exist.
    group : str, optional
        Only this group; its partitions without a commit count from their beginning.

    Raises
    ------
    BackendAbsentError
        If the broker does not answer.
    """
    from confluent_kafka.admin import AdminClient

    places = topics.places(*topics.names)
    if not places:
        return []
    ends, lows = end_offsets(config, places), low_offsets(config, places)

    @cache
    def waiting(place: Place, start: int) -> int:
        return _behind(config, place, start, ends[place])

    found = []
    with answer_or_absent(config["bootstrap.servers"]):
        admin = AdminClient(config)
        names = [group] if group else sorted(each.group_id for each in admin.list_consumer_groups().result().valid)
        for name, committed in _committed(admin, names, places):
            read = {topic for topic, _partition in committed}
            for place in places:
                if place[0] in read and ends[place] > lows[place]:
                    start = max(committed.get(place, -1), lows[place])
                    found.append(Lag(name, *place, start, ends[place], waiting(place, start)))
    return found


def _committed(admin: Any, groups: Iterable[str], places: list[Place]) -> Iterator[tuple[str, dict[Place, int]]]:
    """Yield what each group has committed on these partitions; all are asked at once, over one client."""
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

    asked = [TopicPartition(*place) for place in places]
    answers = {
        group: admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, asked)], request_timeout=ANSWER_SECONDS
        )[group]
        for group in groups
    }
    for group, answer in answers.items():
        told = answer.result().topic_partitions
        yield group, {(each.topic, each.partition): each.offset for each in told if each.offset >= 0}


def behind(found: Iterable[Lag]) -> dict[str, int]:
    """Return how many messages each group is behind, over all its partitions."""
    groups: Counter[str] = Counter()
    for lag in found:
        groups[lag.group] += lag.behind
    return dict(groups)


def _behind(config: dict[str, Any], place: Place, start: int, end: int) -> int:
    """Count the messages between two offsets; where there are many the offsets say it well enough.

    The end of each transaction takes an offset too, so that a group that has read everything would
    seem one message behind for ever, and one that has read all but what was aborted so many more.
    """
    if end - start > OFFSETS:
        return end - start
    counted = 0
    with closing(read_between(config, {place: start}, {place: end})) as messages:
        for message in messages:
            counted += 1
            if counted == COUNTED:
                return counted + end - int(message.offset()) - 1
    return counted
