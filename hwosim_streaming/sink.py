"""Where records go: a Kafka producer that says of each record what became of it.

Holds: :class:`Outgoing`, a record; :class:`Sink`, what takes it; :class:`KafkaSink`, the idempotent producer. Keep out
when a record is sent and who keeps count (``publisher``), and what the broker's refusals mean (``refusals``).

Acks from all replicas. With a transactional id, what is sent and the checkpoint that says so
become visible together or not at all, about once a second; the same id on another producer ends what
this one had begun, so that a publisher thought dead cannot add anything later. Without one (a broker
whose readers see aborted records gains nothing by it) nothing is flushed before the end, and a producer that has done
its work is kept for the next publication of the process: librdkafka takes half a second or a whole one to make a
new one idempotent. A full queue is back-pressure: the loop serves delivery reports until there is room.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from hwosim_assets.errors import BackendAbsentError
from hwosim_streaming.refusals import refusal

__all__ = ["Done", "Headers", "KafkaSink", "Outgoing", "PublishFailedError", "Sink"]

#: Seconds that a broker may stay away while messages wait; then the publication has failed.
MESSAGE_SECONDS = 30
#: After so long an open transaction of a publisher that is gone is aborted by the broker.
TRANSACTION_SECONDS = 60
#: How long one step of a transaction may take before it is asked whether to go on.
STEP_SECONDS = 5.0
#: How long a message waits for company. It pays where there are so many that they come in company anyhow.
LINGER_MS = 5.0
QUEUE_KIBIBYTES = 128 * 1024
#: Requests on their way. With 5, the default and most of an idempotent producer, librdkafka waits in a busy loop.
IN_FLIGHT = 4
#: A transaction is begun no sooner after the last: until Apache Kafka has closed that one in each partition it
#: refuses, and librdkafka asks again after 20 ms, which no setting changes.
BETWEEN_TRANSACTIONS_SECONDS = 0.003
#: Delivery reports are looked for after so many messages.
SERVED_TOGETHER = 16

AGAIN = "publish again"

#: Text, bytes or nothing: by name, which is quicker, or in pairs where a name may come twice.
Headers = dict[str, Any] | Sequence[tuple[str, str | bytes | None]]
#: What became of a record: its offset, or why the broker did not take it.
Done = Callable[[int | None, BackendAbsentError | None], None]


class PublishFailedError(BackendAbsentError):
    """Messages that the broker did not take."""


@dataclass(slots=True)
class Outgoing:
    """A record on its way to a partition; not frozen, which would make it four times as slow to make.

    Attributes
    ----------
    topic, partition
        Where to.
    key, value : bytes
        The record.
    headers : dict of str to (str or bytes), or sequence of (str, str or bytes)
        Its headers; text goes out as UTF-8.
    timestamp_ms : int or None
        Record time; the time of sending where none is given.
    """

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: Headers
    timestamp_ms: int | None


class Sink(Protocol):
    """Where records go.

    Attributes
    ----------
    atomic : bool
        Whether nothing that was sent is seen before ``commit``.
    """

    atomic: bool

    def send(self, record: Outgoing, done: Done) -> None:
        """Take a record; call ``done(offset, None)`` or ``done(None, why)`` later, from ``serve`` or ``flush``."""

    def serve(self) -> None:
        """Hand over the delivery reports that are in."""

    def flush(self) -> None:
        """Wait for every report, where the sink is atomic at most until one says that a record was not taken."""

    def commit(self) -> None:
        """Let what was sent since the last time be seen; nothing to do where the sink is not atomic."""

    def abandon(self) -> None:
        """Drop what is queued and wait until nothing is on its way any more, handing over the reports."""


class _Report:
    """What the client calls with what it says of one record.

    Thousands are on their way at a time: two references, where a closure over them takes three times as long.
    """

    __slots__ = ("_done", "_sink")

    def __init__(self, sink: KafkaSink, done: Done) -> None:
        self._sink, self._done = sink, done

    def __call__(self, error: Any, message: Any) -> None:
        if error is None:
            self._done(message.offset(), None)
        else:
            self._sink.refused(self._done, error, message)


class KafkaSink:
    """An idempotent Kafka producer.

    Parameters
    ----------
    config : dict
        See :func:`hwosim_streaming.clients.client_config`; its properties win over ours.
    transactional_id : str, optional
        Makes it transactional. Whoever used this id before can send no more, and what it had not
        committed is gone.
    linger_ms : float
        How long a message waits for others to be sent with.

    Raises
    ------
    BackendAbsentError
        If the broker grants no transactions in time.
    """

    def __init__(
        self, config: dict[str, Any], transactional_id: str | None = None, linger_ms: float = LINGER_MS
    ) -> None:
        from confluent_kafka import KafkaException, Producer

        ours = {
            "enable.idempotence": True,
            "acks": "all",
            "max.in.flight": IN_FLIGHT,
            "linger.ms": linger_ms,
            "batch.size": 1_000_000,
            "compression.type": "none",
            "queue.buffering.max.kbytes": QUEUE_KIBIBYTES,
            "queue.buffering.max.messages": 100_000,
            "message.timeout.ms": MESSAGE_SECONDS * 1000,
        }
        if transactional_id is not None:
            ours |= {"transactional.id": transactional_id, "transaction.timeout.ms": TRANSACTION_SECONDS * 1000}
        self.atomic = transactional_id is not None
        self._open = False
        self._committed = -math.inf
        self._servers = config["bootstrap.servers"]
        self._properties = {**ours, **config}
        self._sound = True
        self._unserved = 0
        self._failure = KafkaException
        self._producer = _parked.take(self._properties) or Producer(self._properties)
        if self.atomic:
            self._insisting(lambda: self._producer.init_transactions(STEP_SECONDS), "asked for transactions")

    def send(self, record: Outgoing, done: Done) -> None:
        """Queue a record, waiting while the queue is full.

        Raises
        ------
        BackendAbsentError
            If the producer is beyond repair.
        BrokerRefusesError
            If the client refuses it: it is larger than ``message.max.bytes``.
        """
        if self.atomic and not self._open:
            time.sleep(max(0.0, self._committed + BETWEEN_TRANSACTIONS_SECONDS - time.monotonic()))
            self._insisting(self._producer.begin_transaction, "to begin a transaction")
            self._open = True
        headers = record.headers if isinstance(record.headers, dict) else list(record.headers)
        report, timestamp = _Report(self, done), record.timestamp_ms or 0
        while True:
            try:
                # By position: naming them costs a third of the call.
                self._producer.produce(
                    record.topic, record.value, record.key, record.partition, report, None, timestamp, headers
                )
            except BufferError:
                self._poll(0.01)
            except self._failure as error:
                self._sound = False
                raise refusal(f"Kafka topic {record.topic}", error.args[0], AGAIN) from error
            else:
                break
        self._unserved += 1
        if self._unserved >= SERVED_TOGETHER:
            self._unserved = 0
            self._poll(0)

    def refused(self, done: Done, error: Any, message: Any) -> None:
        """Pass on that a record was not taken."""
        self._sound = False
        done(None, refusal(f"Kafka topic {message.topic()}", error, AGAIN))

    def _poll(self, seconds: float) -> None:
        """Hand over the reports that are in, waiting so long for the first; raise where the producer is past repair."""
        try:
            self._producer.poll(seconds)
        except self._failure as error:
            self._sound = False
            raise refusal(f"Kafka broker {self._servers}", error.args[0], AGAIN) from error

    def serve(self) -> None:
        """Hand over the delivery reports that are in."""
        self._poll(0)

    def flush(self) -> None:
        """Wait for every report, each within ``MESSAGE_SECONDS``; in a transaction no longer than to the first failure.

        It spoils the transaction, which then sends no more: the others would wait for nothing.
        """
        # Not by the client's ``flush``: told within it that the producer is past repair, it hands over further reports
        # with that exception pending, and Python calls it a SystemError.
        until = time.monotonic() + MESSAGE_SECONDS + 5
        while len(self._producer) and (self._sound or not self.atomic):
            self._poll(0.1)
            if time.monotonic() > until:
                raise PublishFailedError(
                    f"Kafka broker {self._servers}", "took no messages any more", "see whether it runs"
                )

    def commit(self) -> None:
        """Commit the open transaction, if there is one.

        Raises
        ------
        BackendAbsentError
            If the broker does not take it; none of it is then seen by a ``read_committed`` reader.
        """
        if self._open:
            self.flush()
            self._insisting(lambda: self._producer.commit_transaction(STEP_SECONDS), "to commit a transaction")
            self._open = False
            self._committed = time.monotonic()

    def void(self, records: Iterable[Outgoing]) -> None:
        """Send records in a transaction and abort it, which also ends what has no end yet in their partitions.

        Raises
        ------
        BackendAbsentError
            If the broker takes one of them not, or does not abort.
        """
        refused: list[BackendAbsentError] = []
        try:
            for record in records:
                self.send(record, lambda _offset, reason: refused.append(reason) if reason is not None else None)
            self.flush()
            if not refused:
                self._insisting(lambda: self._producer.abort_transaction(STEP_SECONDS), "to abort a transaction")
        except BaseException:
            # What is open would hide what comes behind it; also on Ctrl-C.
            self.abandon()
            raise
        if refused:
            self.abandon()
            raise refused[0]
        self._open = False
        self._committed = time.monotonic()

    def _insisting(self, step: Callable[[], None], doing: str) -> None:
        """Do a step of a transaction, again while the client says that again may help."""
        until = time.monotonic() + MESSAGE_SECONDS
        while True:
            try:
                return step()
            except self._failure as error:
                failure = error.args[0]
                if not failure.retriable() or time.monotonic() > until:
                    self._sound = False
                    raise refusal(f"Kafka broker {self._servers}, {doing}", failure, AGAIN) from error

    def abandon(self) -> None:
        """Drop what is queued, abort what is open, and wait a little until nothing is on its way any more."""
        self._sound = False
        self._producer.purge(in_queue=True, in_flight=False, blocking=True)
        until = time.monotonic() + STEP_SECONDS
        while len(self._producer) and time.monotonic() < until:
            # What it has to say now is known already, or of no use any more.
            with suppress(BackendAbsentError):
                self._poll(0.1)
        if self._open:
            # Where this fails too, the next producer of this id aborts it, or the broker after its time-out.
            with suppress(self._failure):
                self._producer.abort_transaction(STEP_SECONDS)
            self._open = False

    def close(self) -> None:
        """Leave the producer to the next sink of this process, or let go of the broker where anything failed."""
        if self._sound and not self.atomic and not len(self._producer):
            _parked.leave(self._properties, self._producer)
        elif self._sound or not self.atomic:
            self._producer.close()
        else:
            # Closing would wait, without end, for a broker to abort what the next of this id aborts anyhow.
            self._producer = None


class _Parked:
    """One idle producer of this process, for the next sink with the same properties."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: tuple[dict[str, Any], Any] | None = None

    def take(self, properties: dict[str, Any]) -> Any:
        """Return the producer left with these properties, or ``None``; it is then nobody else's."""
        with self._lock:
            if self._left is None or self._left[0] != properties:
                return None
            producer, self._left = self._left[1], None
            return producer

    def leave(self, properties: dict[str, Any], producer: Any) -> None:
        """Keep a producer in place of the one kept so far, which lets go of its broker."""
        with self._lock:
            former, self._left = self._left, (properties, producer)
        if former is not None:
            former[1].close()


_parked = _Parked()
