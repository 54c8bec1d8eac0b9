"""Messages that a reader could not use, set aside on a topic of their own so that the stream goes on.

Holds: :class:`DeadLetters`, which puts them onto ``<topic>.dlq`` as they came, with headers that say why and
where they lay. Keep out deciding that a message cannot be used (``reader``, ``envelope``).

Nobody's reading waits for this topic: where the broker takes no dead letter, that is logged once, and reading
goes on without.
"""

from __future__ import annotations

import logging
from typing import Any

from hwosim_assets.errors import BackendAbsentError
from hwosim_streaming.envelope import LARGEST_VALUE
from hwosim_streaming.sink import KafkaSink, Outgoing
from hwosim_streaming.topics import ensure_topic

__all__ = ["SUFFIX", "DeadLetters"]

log = logging.getLogger(__name__)

#: Behind the name of the topic that the messages lay on.
SUFFIX = ".dlq"
#: What of a message's own headers and key is kept, bytes; more was made to be a burden.
LARGEST_HEADERS = 32 * 1024
REASON_CHARACTERS = 500


class DeadLetters:
    """Sets messages aside for a consumer group.

    Parameters
    ----------
    config : dict
        See :func:`hwosim_streaming.clients.client_config`.
    topic : str
        What is read.
    group : str
        Who reads.
    """

    def __init__(self, config: dict[str, Any], topic: str, group: str) -> None:
        self.topic = topic + SUFFIX
        self._config, self._group = config, group
        self._sink: KafkaSink | None = None
        self._waiting = 0
        self._given_up = False

    def send(self, message: Any, reason: str) -> None:
        """Set a message aside; the first one makes the topic.

        Parameters
        ----------
        message : confluent_kafka.Message
            What cannot be used.
        reason : str
            Why.
        """
        if self._given_up:
            return
        try:
            if self._sink is None:
                ensure_topic(self._config, self.topic)
                self._sink = KafkaSink(self._config)
            self._waiting += 1
            self._sink.send(_letter(self.topic, message, reason, self._group), self._done)
        except BackendAbsentError as error:
            self._give_up(error)

    def _done(self, _offset: int | None, refused: BackendAbsentError | None) -> None:
        self._waiting -= 1
        if refused is not None:
            self._give_up(refused)

    def _give_up(self, error: BackendAbsentError) -> None:
        if not self._given_up:
            log.error("no dead letters are kept on %s: %s", self.topic, error)
        self._given_up, self._waiting = True, 0

    @property
    def confirmed(self) -> bool:
        """Whether every message set aside lies on its topic, or none can be."""
        if self._sink is not None:
            self._sink.serve()
        return not self._waiting or self._given_up

    def flush(self) -> None:
        """Wait until every message set aside is confirmed."""
        if self._sink is not None and not self.confirmed:
            try:
                self._sink.flush()
            except BackendAbsentError as error:
                self._give_up(error)

    def close(self) -> None:
        """Let go of the broker."""
        if self._sink is not None:
            self._sink.close()


def _letter(topic: str, message: Any, reason: str, group: str) -> Outgoing:
    """Return a message as it came, with what is known of it in further headers; what is too large stays behind."""
    value, key = message.value() or b"", message.key() or b""
    own = tuple((name, content or b"") for name, content in message.headers() or ())
    told = {
        "dlq_reason": reason[:REASON_CHARACTERS],
        "dlq_topic": message.topic(),
        "dlq_partition": str(message.partition()),
        "dlq_offset": str(message.offset()),
        "dlq_group": group,
        "dlq_size": str(len(value)),
    }
    kept = own if sum(len(name) + len(content) for name, content in own) <= LARGEST_HEADERS else ()
    return Outgoing(
        topic,
        0,
        key if len(key) <= LARGEST_HEADERS else b"",
        value if len(value) <= LARGEST_VALUE else b"",
        (*kept, *((name, text.encode()) for name, text in told.items())),
        None,
    )
