"""What a model answers: predictions, put on their topic and confirmed before their frames count as processed.

Holds: :class:`Answers`, which turns an answer into a record and sends it. Keep out reading the frames
(``reader``) and what a prediction is worth.
"""

from __future__ import annotations

import time
import uuid
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_streaming.envelope import Frame, encode, headers, packed_arrays
from hwosim_streaming.registry import Registry
from hwosim_streaming.sink import KafkaSink, Outgoing, PublishFailedError
from hwosim_streaming.topics import ensure_topics, partition_of

__all__ = ["Answers", "record_of"]


def record_of(frame: Frame, answer: object, model: str, version: str | None, received_ns: int) -> dict[str, Any]:
    """Return the record of a prediction.

    Parameters
    ----------
    frame : Frame
        What is answered.
    answer : float, str, numpy.ndarray or mapping
        A number (becomes ``score``), a label, an array (becomes ``map``), or several by name; the label of
        a mapping stands under ``label``.
    model, version : str
        Who answers.
    received_ns : int
        When the frame was read, ns since 1970.

    Raises
    ------
    BadInputError
        If the answer is something else.
    """
    named = answer if isinstance(answer, Mapping) else {_name(answer): answer}
    label, values, arrays = None, dict[str, float](), dict[str, Any]()
    for name, value in named.items():
        if name == "label" and isinstance(value, str):
            label = value
        elif isinstance(value, np.ndarray) and value.ndim:
            arrays[str(name)] = value
        elif isinstance(value, bool | int | float | np.number | np.bool_ | np.ndarray):
            values[str(name)] = float(value)
        else:
            reason = f"has a {type(value).__name__} under {name!r}"
            raise BadInputError(f"prediction of {model}", reason, "answer with numbers, numpy arrays and a label")
    return {
        "run_id": frame.run_id,
        "message_id": frame.message_id,
        "program": frame.program,
        "product": frame.product,
        "model": model,
        "model_version": version,
        "label": label,
        "values": values,
        "arrays": packed_arrays(arrays, {}),
        "received_ns": received_ns,
        "answered_ns": time.time_ns(),
    }


def _name(answer: object) -> str:
    if isinstance(answer, str):
        return "label"
    return "map" if isinstance(answer, np.ndarray) and answer.ndim else "score"


class Answers:
    """Sends predictions and knows which are not confirmed yet.

    Parameters
    ----------
    config : dict
        See :func:`hwosim_streaming.clients.client_config`.
    prefix : str
        Before the topic's name.
    model, version : str
        Who answers.
    partitions : int
        Of the topic, where it is made.
    registry : Registry, optional
        Says the schema number on the wire.
    """

    def __init__(
        self,
        config: dict[str, Any],
        prefix: str,
        model: str,
        version: str | None,
        partitions: int,
        registry: Registry | None = None,
    ) -> None:
        topics = ensure_topics(config, prefix, partitions)
        self._topic, self._partitions = topics.names["prediction"], topics.partitions["prediction"]
        self.model, self._version = model, version
        self._sink = KafkaSink(config)
        self._servers = config["bootstrap.servers"]
        self._number = None if registry is None else registry.number("prediction", self._topic)
        self._sent = 0
        self._waiting = 0
        self._refused: list[BackendAbsentError] = []

    @property
    def confirmed(self) -> bool:
        """Whether the broker has every prediction.

        Raises
        ------
        PublishFailedError
            If it did not take one.
        """
        self._sink.serve()
        if self._refused:
            thing = f"Kafka topic {self._topic} on {self._servers}"
            first = self._refused[0]
            raise PublishFailedError(thing, f"took no prediction ({first.reason})", first.mend)
        return not self._waiting

    def send(self, frame: Frame, answer: object, received_ns: int) -> None:
        """Answer a frame; the same model's answer to the same frame has the same id.

        Raises
        ------
        BadInputError
            If the answer is nothing that can be sent, or too large.
        PublishFailedError
            If the broker does not take it.
        """
        record = record_of(frame, answer, self.model, self._version, received_ns)
        value = encode("prediction", record, self._number)
        said = headers(
            "prediction",
            message_id=str(uuid.uuid5(uuid.UUID(frame.run_id), f"prediction/{self.model}/{frame.message_id}")),
            run_id=frame.run_id,
            program=frame.program,
            subject=frame.product,
            time=None,
            sequence=self._sent,
            crc=zlib.crc32(value),
        )
        encoded = tuple((name, text.encode()) for name, text in said.items())
        self._sent += 1
        self._waiting += 1
        place = partition_of(self.model, self._partitions)
        self._sink.send(Outgoing(self._topic, place, self.model.encode(), value, encoded, None), self._done)

    def _done(self, _offset: int | None, refused: BackendAbsentError | None) -> None:
        self._waiting -= 1
        if refused is not None:
            self._refused.append(refused)

    def flush(self) -> None:
        """Wait until every prediction is confirmed.

        Raises
        ------
        PublishFailedError
            If one was not taken.
        """
        self._sink.flush()
        _ = self.confirmed

    def close(self) -> None:
        """Let go of the broker."""
        self._sink.close()
