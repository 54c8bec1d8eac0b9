"""Looking on: how much lies on the topics, how fast it comes, what is wrong, who is behind, the newest frame.

Holds: :func:`snapshot` for scripts and :class:`Watcher` for a live view; neither joins a group nor
commits, so that looking on disturbs nobody. Keep out the command around it (``cli``).
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hwosim_assets.errors import BadInputError
from hwosim_streaming.arrivals import text_headers
from hwosim_streaming.clients import READING, Place, answer_or_absent, end_offsets, low_offsets, read_between
from hwosim_streaming.envelope import DIGITS, Frame, Header, decode
from hwosim_streaming.lag import behind, lags
from hwosim_streaming.registry import Registry
from hwosim_streaming.tally import DAMAGED, DUPLICATE, Tally
from hwosim_streaming.topics import Topics, existing_topics

__all__ = ["Snapshot", "Watcher", "snapshot"]

#: Seconds over which the rate is taken.
WINDOW_SECONDS = 5.0
#: Topics may appear; they are looked up again after so many seconds.
LOOK_SECONDS = 3.0
#: Size of the picture in characters; each shows two pixels, one above the other.
PICTURE = (16, 48)


@dataclass
class Snapshot:
    """What lies on the topics.

    Attributes
    ----------
    counts : dict of str to int
        Messages by topic.
    newest : Frame or None
        The frame that was due last.
    newest_due_ns : int
        When it was due, nanoseconds since 1970.
    refused : int
        Frames that could not be decoded.
    """

    counts: dict[str, int]
    newest: Frame | None = None
    newest_due_ns: int = 0
    refused: int = 0

    def take(self, message: Any, registry: Registry | None = None) -> None:
        """Keep a frame message if it is newer than the one kept."""
        due = text_headers(message).get(Header.DUE, "")
        if not due.isascii() or not due.isdigit() or len(due) > DIGITS or int(due) < self.newest_due_ns:
            return
        try:
            decoded = decode(message.value(), registry)
            if decoded.family == "frame":
                self.newest, self.newest_due_ns = Frame.from_record(decoded.record), int(due)
        except BadInputError:
            # Not ours or damaged: counted, and the view goes on.
            self.refused += 1


def snapshot(
    config: dict[str, Any], topics: Topics, ends: dict[Place, int] | None = None, registry: Registry | None = None
) -> Snapshot:
    """Return what lies on the topics, up to these ends or up to now.

    Raises
    ------
    BackendAbsentError
        If the broker does not answer.
    """
    places = topics.places(*topics.names)
    ends, lows = end_offsets(config, places) if ends is None else ends, low_offsets(config, places)
    counts = dict.fromkeys(topics.names.values(), 0)
    for topic, partition in places:
        counts[topic] += ends[topic, partition] - lows[topic, partition]
    found = Snapshot(counts)
    frames = topics.places("frame") if "frame" in topics.names else []
    last = {place: ends[place] - 1 for place in frames if ends[place] > lows[place]}
    for message in read_between(config, last, {place: offset + 1 for place, offset in last.items()}):
        found.take(message, registry)
    return found


@dataclass
class Watcher:
    """A live view: call :meth:`step` again and again and show :meth:`view`. Use as a context manager.

    Attributes
    ----------
    config : dict
        See :func:`hwosim_streaming.clients.client_config`.
    prefix : str
        Of the topics' names. Topics may appear while we look.
    registry : Registry or None
        Asked for schemas that are not bundled.
    """

    config: dict[str, Any]
    prefix: str = ""
    registry: Registry | None = None
    topics: Topics = field(init=False)
    shown: Snapshot = field(init=False)
    tally: Tally = field(default_factory=Tally, init=False)
    behind: dict[str, int] = field(default_factory=dict, init=False)
    _asked: float = field(default=0.0, init=False)
    _arrived: deque[tuple[float, int]] = field(default_factory=deque, init=False)
    _consumer: Any = field(default=None, init=False)

    def __enter__(self) -> Watcher:
        from confluent_kafka import Consumer

        self._consumer = Consumer({**READING, **self.config})
        self._look_up()
        return self

    def __exit__(self, *_error: object) -> None:
        self._consumer.close()

    def step(self, seconds: float = 0.25) -> None:
        """Take in what arrives within so many seconds.

        Raises
        ------
        BackendAbsentError
            If the broker has gone away.
        """
        if time.monotonic() - self._asked > LOOK_SECONDS:
            self._asked = time.monotonic()
            if existing_topics(self.config, self.prefix) != self.topics:
                self._look_up()
            self.behind = behind(lags(self.config, self.topics))
        newest = None
        for message in self._consumer.consume(1000, timeout=seconds):
            if message.error() is not None:
                continue
            self.shown.counts[message.topic()] += 1
            self._arrived.append((time.monotonic(), len(message.value() or b"")))
            if message.topic() == self.topics.names.get("frame"):
                newest = newest if self.tally.note(message) == DAMAGED else message
        if newest is not None:
            # One decoded frame a step is enough for eyes.
            self.shown.take(newest, self.registry)
        while self._arrived and self._arrived[0][0] < time.monotonic() - WINDOW_SECONDS:
            self._arrived.popleft()

    def _look_up(self) -> None:
        """Find the topics, count what lies on them, go on from there."""
        from confluent_kafka import TopicPartition

        self._asked = time.monotonic()
        self.topics = existing_topics(self.config, self.prefix)
        ends = end_offsets(self.config, self.topics.places(*self.topics.names))
        self.shown = snapshot(self.config, self.topics, ends, self.registry)
        with answer_or_absent(self.config["bootstrap.servers"]):
            self._consumer.assign([TopicPartition(*place, end) for place, end in ends.items()])

    @property
    def rate(self) -> tuple[float, float]:
        """Messages per second and bytes per second over the last seconds."""
        return len(self._arrived) / WINDOW_SECONDS, sum(size for _at, size in self._arrived) / WINDOW_SECONDS

    def view(self) -> Group:
        """Return the view for a terminal."""
        table = Table(
            title="{:.1f} messages/s, {:.2f} MB/s".format(*(self.rate[0], self.rate[1] / 1e6)), title_justify="left"
        )
        table.add_column("topic")
        table.add_column("messages", justify="right")
        for topic, count in self.shown.counts.items():
            table.add_row(topic, str(count))
        counts = self.tally.counts
        wrong = f"{self.tally.missing} missing, {counts[DUPLICATE]} duplicates, {counts[DAMAGED]} damaged since we look"
        groups = ", ".join(f"{group} {number}" for group, number in sorted(self.behind.items())) or "no group reads"
        said = (table, Text(wrong), Text(f"behind: {groups}"))
        if self.shown.newest is None:
            return Group(*said, Text("no frame yet"))
        return Group(*said, Text(describe_frame(self.shown.newest)), picture(self.shown.newest))


def describe_frame(frame: Frame) -> str:
    """Return a frame in one line."""
    where = [
        f"integration {frame.integration}" if frame.integration else "",
        f"group {frame.group}" if frame.group else "",
    ]
    what = [
        frame.product,
        frame.detector or frame.instrument or "",
        frame.extname,
        *where,
        f"tile {frame.tile + 1}/{frame.tiles}",
    ]
    data = frame.data
    if data.dtype.kind in "iuf" and data.size:
        finite = data[np.isfinite(data)]
        numbers = (
            f"median {np.median(finite):.4g}, {finite.size / data.size:.1%} finite" if finite.size else "nothing finite"
        )
        what.append(f"{'x'.join(map(str, data.shape))}, {numbers}")
    return "  ".join(part for part in what if part)


def picture(frame: Frame) -> Text:
    """Return an image frame as half blocks in grey, stretched between its 1st and 99th percentile; NaN is red."""
    image = frame.data
    if frame.kind != "image" or image.dtype.kind not in "iuf" or image.ndim < 2:
        return Text("")
    planes = np.asarray(image, dtype=np.float64).reshape(-1, *image.shape[-2:])
    plane = planes[len(planes) // 2]
    rows = np.linspace(0, plane.shape[0] - 1, min(2 * PICTURE[0], plane.shape[0] // 2 * 2)).astype(int)
    columns = np.linspace(0, plane.shape[1] - 1, min(PICTURE[1], plane.shape[1])).astype(int)
    # Row 0 is at the bottom, as astronomers draw it.
    small = plane[np.ix_(rows[::-1], columns)]
    finite = small[np.isfinite(small)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 1.0)
    grey = np.clip((small - low) / ((high - low) or 1.0) * 255, 0, 255)
    text = Text()
    for above, below in zip(grey[::2], grey[1::2], strict=True):
        for upper, lower in zip(above, below, strict=True):
            text.append("▀", style=f"{_colour(upper)} on {_colour(lower)}")
        text.append("\n")
    return text


def _colour(grey: npt.NDArray[np.float64] | float) -> str:
    return "#a00000" if not np.isfinite(grey) else "#{0:02x}{0:02x}{0:02x}".format(int(grey))
