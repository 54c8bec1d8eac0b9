"""What earlier transactions left undecided on the topics: waited for, or ended, before what lies there is counted.

Holds: :func:`end_what_is_undecided`. Keep out counting what lies there (``checkpoint``) and transactions as such
(``publisher``).

A ``read_committed`` reader sees a partition up to the first message of a transaction that is not ended there. Kafka
lets a new producer of an id begin when all that an earlier one had begun is ended, so that nothing of a run should be
undecided then. But a broker may hold a transaction for complete whose end it never wrote into a partition: Apache
Kafka 4.3.1 gives up writing it where the partition has no leader at that moment (KAFKA-20734), and a broker that is
alone may lose it with its machine's power. Nothing ever ends it then but the next transaction of the same id that
writes there, and to commit that one would commit messages that nobody had seen and that were sent again. So it is
ended before anybody looks: by a transaction that writes there and is aborted. What it held is then missing for
certain, also where it had been committed, and is published again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from hwosim_assets.errors import BackendAbsentError
from hwosim_streaming.arrivals import text_headers
from hwosim_streaming.clients import ANSWER_SECONDS, Place, answer_or_absent, once_it_has_leaders, read_between
from hwosim_streaming.envelope import Header
from hwosim_streaming.sink import TRANSACTION_SECONDS, KafkaSink, Outgoing

__all__ = ["SETTLE_SECONDS", "UndecidedError", "end_what_is_undecided"]

#: How long a broker may take to show what it decided: where another publisher died within a transaction, readers get
#: nothing that came behind it until the broker has given it up, which it looks for every ten seconds.
SETTLE_SECONDS = TRANSACTION_SECONDS + 30.0


class UndecidedError(BackendAbsentError):
    """A transaction that has no end, and was waited for; to wait once more changes nothing."""


def end_what_is_undecided(sink: KafkaSink, config: dict[str, Any], run_id: str, places: Iterable[Place]) -> None:
    """Return when all that lies in some partitions now is decided: committed or aborted.

    Parameters
    ----------
    sink : KafkaSink
        A transactional one, with nothing open.
    config : dict
        See :func:`hwosim_streaming.clients.client_config`.
    run_id : str
        The run that the sink's transactional id belongs to: what is undecided of it was left by an earlier producer.
    places : iterable of (topic, partition)
        Which partitions.

    Raises
    ------
    UndecidedError
        If something stays undecided: another run's transaction, or one of this run that cannot be ended.
    BackendAbsentError
        If the broker does not answer.
    """
    from confluent_kafka.admin import AdminClient

    servers = config["bootstrap.servers"]
    admin = AdminClient(config)
    runs: dict[tuple[Place, int], str] = {}
    voided: Counter[tuple[Place, int]] = Counter()
    with answer_or_absent(servers):
        behind = _ends(admin, places, committed=False)
        began = time.monotonic()
        while True:
            shown = _ends(admin, behind, committed=True)
            late = {place: shown[place] for place, end in behind.items() if shown[place] < end}
            if not late:
                return
            for at in late.items() - runs.keys():
                runs[at] = _run_at(config, *at)
            waited = time.monotonic() - began
            if waited > SETTLE_SECONDS:
                raise _stuck(servers, *min((at, runs[at]) for at in late.items()), run_id)
            # Where it was another producer's, whose id the broker forgot, ours ends nothing however often it tries.
            tries = 1 if waited < SETTLE_SECONDS / 2 else 2
            if ours := [at for at in late.items() if runs[at] == run_id and voided[at] < tries]:
                sink.void([_void(place, run_id) for place, _offset in ours])
                voided.update(ours)
            time.sleep(0.1)


def _void(place: Place, run_id: str) -> Outgoing:
    """Return a record that is there to be aborted."""
    return Outgoing(*place, run_id.encode(), b"", [(Header.RUN, run_id)], None)


def _ends(admin: Any, places: Iterable[Place], *, committed: bool) -> dict[Place, int]:
    """Return where each partition ends, for readers of what is committed or of all."""
    from confluent_kafka import IsolationLevel, TopicPartition
    from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

    offsets: Any = OffsetSpec  # its factories are not typed
    wanted = {TopicPartition(*place): offsets.latest() for place in places}
    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED

    def ask() -> dict[Place, int]:
        asked = admin.list_offsets(wanted, isolation_level=level, request_timeout=ANSWER_SECONDS)
        return {(at.topic, at.partition): int(told.result().offset) for at, told in asked.items()}

    return once_it_has_leaders(ask)


def _run_at(config: dict[str, Any], place: Place, offset: int) -> str:
    """Return the run that a record belongs to, committed or not; nothing where it says none."""
    everything = {**config, "isolation.level": "read_uncommitted"}
    for message in read_between(everything, {place: offset}, {place: offset + 1}):
        return text_headers(message).get(Header.RUN, "")
    return ""


def _stuck(servers: str, at: tuple[Place, int], run: str, own: str) -> UndecidedError:
    (topic, partition), offset = at
    whose = f"run {run}" if run else "another producer"
    by_hand = "end the transaction by kafka-transactions.sh (find-hanging, abort)"
    return UndecidedError(
        f"Kafka broker {servers}",
        f"shows nothing behind a transaction of {whose} in {topic} [{partition}] at offset {offset}, which has no end",
        f"publish that run again, or {by_hand}" if run not in ("", own) else f"{by_hand}, then publish again",
    )
