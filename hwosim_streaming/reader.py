"""The reader's five lines: frames as numpy arrays, each once, committed after they were processed.

Holds: :func:`connect` and :class:`Stream`. ::

    from hwosim_streaming import connect

    with connect("hwosim.frames.v1", group="my-model") as stream:
        for frame in stream:
            stream.predict(frame, model(frame.data))

Keep out turning answers into messages (``answers``), counting gaps (``gaps``), reading a whole range
to prove it (``arrivals``) and looking on (``watch``).
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_streaming.arrivals import text_headers
from hwosim_streaming.claims import fetch
from hwosim_streaming.clients import ANSWER_SECONDS, READING, answer_or_absent, client_config, watermarks
from hwosim_streaming.dead_letters import SUFFIX, DeadLetters
from hwosim_streaming.envelope import DIGITS, TOPICS, Decoded, Frame, Header, UnreadableMessageError, decode
from hwosim_streaming.gaps import Gaps
from hwosim_streaming.refusals import MEND, refusal
from hwosim_streaming.registry import Registry

if TYPE_CHECKING:
    from hwosim_assets.settings import Settings
    from hwosim_streaming.answers import Answers

__all__ = ["Stream", "connect", "refuse_damaged"]

log = logging.getLogger(__name__)

#: Message ids remembered for telling duplicates; a copy follows its original closely.
REMEMBERED = 200_000
#: Seconds without any broker after which a reader gives up.
PATIENCE = 30.0


def connect(
    topic: str,
    group: str | None = None,
    bootstrap: str | None = None,
    *,
    idle: float | None = None,
    model: str | None = None,
    model_version: str | None = None,
    settings: Settings | None = None,
) -> Stream:
    """Open a topic for reading.

    Parameters
    ----------
    topic : str
        ``hwosim.frames.v1`` or another topic of ours, without the configured prefix; or any full name.
    group : str, optional
        Consumer group: its readers share the partitions, and a later one goes on where it stopped.
        Without a group all partitions are read from their beginning and nothing is committed.
    bootstrap : str, optional
        Servers; by default the configured broker, else the embedded one of this ``DAGSTER_HOME``.
    idle : float, optional
        Seconds without a message after which the iteration ends; by default it never does.
    model, model_version : str, optional
        Who answers, in predictions; the group by default.
    settings : Settings, optional
        Read from the environment by default.

    Returns
    -------
    Stream
        To be used in a ``with`` statement and iterated over.

    Raises
    ------
    BackendAbsentError
        If no broker answers.
    BadInputError
        If there is no such topic on it.
    """
    from hwosim_assets.settings import Settings
    from hwosim_streaming.broker import bootstrap_servers

    settings = settings or Settings()
    servers = bootstrap or bootstrap_servers(settings, start=False)
    name = f"{settings.topic_prefix}{topic}" if topic.removesuffix(SUFFIX) in TOPICS else topic
    return Stream(settings, client_config(settings, servers), name, group, idle, (model or group or "", model_version))


class Stream:
    """An open topic. Iterate over it; see :func:`connect`.

    Attributes
    ----------
    duplicates, refused : int
        Messages left out so far because they had come before, or could not be used. Of a group's topic the
        latter lie on ``<topic>.dlq``, with the reason and their place in the headers.
    gaps : Gaps
        Sequence numbers of each key that have not come; ``stream.gaps.missing()`` names them.
    """

    def __init__(
        self,
        settings: Settings,
        config: dict[str, Any],
        topic: str,
        group: str | None,
        idle: float | None,
        model: tuple[str, str | None],
    ) -> None:
        from confluent_kafka import Consumer, TopicPartition

        self.topic = topic
        self.duplicates = 0
        self.refused = 0
        self.gaps = Gaps()
        self._settings = settings
        self._registry = Registry.configured(settings)
        self._config = config
        self._model = model
        self._answers: Answers | None = None
        letters = group is not None and not topic.endswith(SUFFIX)
        self._letters = DeadLetters(config, topic, str(group)) if letters else None
        self._received_ns = 0
        self._processed: dict[int, Any] = {}
        self._idle = idle
        self._servers = config["bootstrap.servers"]
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._down_since: float | None = None
        self._assigned = group is None
        ours = {
            **READING,
            "group.id": group or "hwosim-reading",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": group is not None,
            "auto.commit.interval.ms": 1000,
            # Only what was processed is committed: offsets are stored by hand, after the fact.
            "enable.auto.offset.store": False,
            "enable.partition.eof": False,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500,
            "error_cb": self._on_error,
        }
        self._group = group
        self._consumer = Consumer({**ours, **config})
        with answer_or_absent(self._servers):
            found = self._consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic]
            if found.error is not None or not found.partitions:
                self._consumer.close()
                raise BadInputError(f"topic {topic}", "is not on this broker", "publish first: hwosim stream publish")
            if group is None:
                parts = [(number, self._low(number)) for number in found.partitions]
                self._consumer.assign([TopicPartition(topic, number, low) for number, low in parts])
            else:
                self._consumer.subscribe(
                    [topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
                )

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Commit what was processed and leave.

        Raises
        ------
        PublishFailedError
            If the broker did not take a prediction; what it answered is then read again by the same group.
        """
        try:
            self._settle()
        finally:
            self._consumer.close()
            for each in (self._answers, self._letters):
                if each is not None:
                    each.close()

    def __iter__(self) -> Iterator[Any]:
        """Yield frames (:class:`Frame`); from another topic than frames its records (:class:`Decoded`).

        A message counts as processed when the next one is asked for. Whoever leaves the loop by an
        error or a ``break`` gets the last one again in the same group.

        Raises
        ------
        BackendAbsentError
            If no broker has been there for half a minute.
        """
        for message in self._messages():
            found = self._open(message)
            if found is not None:
                self._received_ns = time.time_ns()
                yield found
            if self._group is not None:
                self._processed[message.partition()] = message
                # A frame counts as processed when its prediction lies on the topic, and not before; so does
                # a message that was set aside.
                if all(each is None or each.confirmed for each in (self._answers, self._letters)):
                    self._store_processed()

    def _settle(self) -> None:
        """Wait until answers and dead letters are confirmed, then count what was processed."""
        for each in (self._answers, self._letters):
            if each is not None:
                each.flush()
        self._store_processed()

    def _store_processed(self) -> None:
        for message in self._processed.values():
            self._consumer.store_offsets(message)
        self._processed.clear()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Yield the same as ``for``; waiting for messages happens in a thread and blocks nobody else."""
        messages = iter(self)
        while (found := await asyncio.to_thread(next, messages, None)) is not None:
            yield found

    def predict(self, frame: Frame, answer: object) -> None:
        """Answer a frame on the topic ``hwosim.predictions.v1``.

        Parameters
        ----------
        frame : Frame
            From this stream.
        answer : float, str, numpy.ndarray or mapping
            A score, a label, a map of pixels, or several by name (the label under ``label``).

        Raises
        ------
        BadInputError
            If nobody says who answers, or the answer cannot be sent.
        PublishFailedError
            If the broker does not take it.
        """
        if self._answers is None:
            from hwosim_streaming.answers import Answers

            model, version = self._model
            if not model:
                raise BadInputError("prediction", "does not say who answers", "connect(..., group=...) or model=...")
            prefix, partitions = self._settings.topic_prefix, self._settings.topic_partitions
            self._answers = Answers(self._config, prefix, model, version, partitions, self._registry)
        self._answers.send(frame, answer, self._received_ns)

    def fetch(self, product: Decoded) -> bytes:
        """Return the file that a message of ``hwosim.products.v1`` speaks of, from the lake.

        Raises
        ------
        BadInputError
            If it is kept nowhere, or is not the one that was announced.
        HwosimError
            If the lake cannot be read.
        """
        from hwosim_assets.lake.store import Lake

        return fetch(product.record, Lake.from_settings(self._settings))

    def _messages(self) -> Iterator[Any]:
        heard = time.monotonic()
        while True:
            message = self._consumer.poll(0.1)
            if message is None:
                now = time.monotonic()
                # Joining a group takes seconds; they are not idle ones.
                heard = heard if self._assigned else now
                if self._down_since is not None and now - self._down_since > PATIENCE:
                    raise BackendAbsentError(f"Kafka broker {self._servers}", "has gone away", MEND)
                if self._idle is not None and now - heard > self._idle:
                    return
                continue
            error = message.error()
            if error is None:
                heard, self._down_since = time.monotonic(), None
                yield message
            elif not error.retriable():
                raise refusal(f"Kafka topic {self.topic}", error)

    def _open(self, message: Any) -> Frame | Decoded | None:
        """Decode a message; ``None`` for one that came before or that cannot be read."""
        said = text_headers(message)
        identity = (said.get(Header.RUN, ""), said.get(Header.ID, ""))
        if all(identity) and identity in self._seen:
            self.duplicates += 1
            return None
        try:
            refuse_damaged(message.value(), said.get(Header.CRC))
            decoded = decode(message.value(), self._registry)
            found = Frame.from_record(decoded.record) if decoded.family == "frame" else decoded
        except BadInputError as error:
            self.refused += 1
            log.warning("%s [%s] offset %s: %s", self.topic, message.partition(), message.offset(), error)
            if self._letters is not None:
                self._letters.send(message, str(error))
            return None
        sequence = said.get(Header.SEQUENCE, "")
        if sequence.isdecimal() and len(sequence) <= DIGITS and decoded.family == "frame":
            key = (message.key() or b"").decode("utf-8", "replace")
            self.gaps.note(identity[0], key, int(sequence))
        self._seen[identity] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return found

    def _low(self, partition: int) -> int:
        low, _high = watermarks(self._consumer, (self.topic, partition))
        return low

    def _on_assign(self, _consumer: Any, _partitions: Any) -> None:
        self._assigned = True

    def _on_revoke(self, _consumer: Any, _partitions: Any) -> None:
        """Before another reader of the group takes over: what was processed here is said, the rest is its."""
        self._settle()

    def _on_lost(self, _consumer: Any, _partitions: Any) -> None:
        """Another reader of the group has taken over already; what was not said comes again there."""
        self._processed.clear()

    def _on_error(self, error: Any) -> None:
        from confluent_kafka import KafkaError

        if error.code() == KafkaError._ALL_BROKERS_DOWN and self._down_since is None:  # noqa: SLF001 - its public name
            self._down_since = time.monotonic()


def refuse_damaged(value: bytes | None, stated_crc: str | None) -> None:
    """Refuse a value that was damaged on the way.

    Raises
    ------
    UnreadableMessageError
        If its CRC-32 is not the one its headers state.
    """
    if value is not None and stated_crc is not None and f"{zlib.crc32(value):08x}" != stated_crc:
        raise UnreadableMessageError("message", f"was damaged on the way (its CRC is not {stated_crc})", "skip it")
