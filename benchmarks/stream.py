"""Publishing at full speed: the whole path against a bare loop, Kafka's own tool and a player that flushes.

Holds: the run. It prints and asserts nothing. Of each size the same number of values of the same bytes goes out in
these ways, taking turns, three times; the medians are compared, so that one run gives ratios:

* bare loop: ``produce()`` of one value again and again with the producer settings of a publication. It runs twice. With
  the headers of one of our messages, the same ones each time, it sends the same bytes; the goal, "a bare loop with the
  same producer settings and bytes", stands beside the ratio to this one. Without headers it sends some 400 bytes less
  with each value, 28 % at 1 KiB; the ratio to that loop is printed beside. Both count delivery reports, and hand
  headers over and poll as the full path does: as a dictionary, and after sixteen messages.
* full: ``deliver()``. In the timing, from the first message to the last confirmed commit: each message composed (its
  Avro value joined, its CRC-32, its twelve CloudEvents headers with id, sequence and due time), sent when the plan says
  (at once here), its delivery report taken and its offset noted, all transactions and checkpoints (one each second or
  50 000 messages, and the last). Not in it, once per run: planning, which makes the ids; making the producer (the bare
  loop's clock starts when its first message is confirmed, too); looking at what lies on the topics already; and the
  proof, which reads everything back. Nor is packing the pixels, which stands in a column of its own (shuffle and zstd,
  fewer bytes on the wire).
* before: what ``deliver()`` makes for each message before the first goes out, microseconds of processor time: the sends
  in their order, where in its file each frame lies, when it was exposed, and the headers of its product, as bytes and
  text that are joined in the timing. It grows with the number of messages and is no part of the rates.
* perf-test: ``kafka-producer-perf-test``, by its own clock, with the same settings of batches and acknowledgements; it
  sends no headers.
* cpu: processor time of the publishing process per message, all its threads, which others at work on the machine change
  least; the wall-clock figures have the broker in them, which shares the machine.
* player: ``time.sleep`` and ``flush()`` per message, as replay players have it; fewer messages, it has no more in it.

The broker writes some 12 GB below the folder for temporary files (``TMPDIR``), and stops where there is less room.

    python -m benchmarks.stream
"""

from __future__ import annotations

import re
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

from benchmarks.brokers import Broker, Messages, broker
from hwosim_streaming import delivery
from hwosim_streaming.sink import SERVED_TOGETHER, KafkaSink
from hwosim_streaming.topics import Topics, ensure_topics

#: Bytes of a value, how many of them, and the goal of the full path against the bare loop of the same bytes.
SIZES = ((1024, 100_000, 0.45), (64 * 1024, 4000, 0.6), (512 * 1024, 600, 0.6))
TURNS = 3
#: Messages of the player: each costs it a round trip and a write.
PLAYED = 200


def main() -> int:
    """Measure each size and print a line of it."""
    with broker() as found:
        print(f"{found.name}; messages/s (MB/s of values), medians of {TURNS} turns; the ratios are of full to each")
        print(f"{'':>24} {'bare loop, same bytes':>29} {'bare, no headers':>23} {'':>63} {'processor us, ratio':>32}")
        print(f"{'bytes':>7} {'full':>16} {'':>16} {'ratio':>6} {'goal':>5} {'':>16} {'ratio':>6} ", end="")
        print(f"{'with packing':>16} {'perf-test':>16} {'ratio':>6} {'player':>14} {'ratio':>6} ", end="")
        print(f"{'full':>6} {'same bytes':>12} {'no headers':>12}   {'before us':>9}")
        for size, count, goal in SIZES:
            _measure(found, Messages(size, count), goal)
    return 0


def _measure(found: Broker, messages: Messages, goal: float) -> None:
    topics = ensure_topics(found.config, f"b{messages.size}.", 4)
    value, count = messages.value(), messages.plan.planned
    ways: dict[str, Callable[[int], Rate]] = {
        "same bytes": partial(_bare, found, topics, value, messages.headers(), count),
        "no headers": partial(_bare, found, topics, value, None, count),
        "full": partial(_full, found, messages, packing=False),
        "packing": partial(_full, found, messages, packing=True),
        "player": partial(_player, found, topics, value),
    }
    if found.jars:
        ways["perf-test"] = partial(_perf_test, found, topics, len(value), count)
    rates: dict[str, list[Rate]] = {name: [] for name in ways}
    for turn in range(TURNS):
        for name, way in ways.items():
            rates[name].append(way(turn))
    rate = {name: statistics.median(each.per_s for each in turns) for name, turns in rates.items()}
    cpu = {name: statistics.median(each.cpu_us for each in turns) for name, turns in rates.items()}

    def shown(name: str, width: int = 16) -> str:
        said = f"{rate[name]:.0f} ({rate[name] * len(value) / 1e6:.1f})" if name in rate else "-"
        return f"{said:>{width}}"

    def ratio(name: str) -> str:
        return f"{rate['full'] / rate[name]:6.2f}" if name in rate else f"{'-':>6}"

    def processor(name: str) -> str:
        return f"{cpu[name]:>6.1f} {cpu[name] / cpu['full']:>5.2f}"

    before = statistics.median(each.before_us for each in rates["full"])
    print(f"{len(value):>7} {shown('full')} {shown('same bytes')} {ratio('same bytes')} {goal:>5} ", end="")
    print(f"{shown('no headers')} {ratio('no headers')} {shown('packing')} ", end="")
    print(f"{shown('perf-test')} {ratio('perf-test')} {shown('player', 14)} {ratio('player')} ", end="")
    print(f"{cpu['full']:>6.1f} {processor('same bytes')} {processor('no headers')}   {before:>9.1f}", flush=True)


class Rate(NamedTuple):
    """How fast it went: messages per second, and microseconds of processor time for each, then and before the first."""

    per_s: float
    cpu_us: float = float("nan")
    before_us: float = float("nan")


class _Clock:
    """Wall and processor time from now on."""

    def __init__(self) -> None:
        self.start()
        self._taken: tuple[float, float] | None = None

    def start(self) -> None:
        """Begin now."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> tuple[float, float]:
        """Return wall and processor seconds since the beginning, up to the first call."""
        if self._taken is None:
            self._taken = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return self._taken

    def rate(self, count: int) -> Rate:
        """Return how fast so many went."""
        wall, cpu = self.stop()
        return Rate(count / wall, cpu / count * 1e6)


def _bare(found: Broker, topics: Topics, value: bytes, headers: dict[str, str] | None, count: int, turn: int) -> Rate:
    """Return messages per second of a loop around ``produce()``."""
    with closing(KafkaSink({**found.config, "client.id": f"bare{turn}"})) as sink:
        producer = sink._producer  # noqa: SLF001 - the same producer, without the rest of the path
        producer.produce(topics.names["frame"], value, b"NRCA1", 0)
        producer.flush()
        clock = _Clock()
        reports = _Reports()
        for number in range(count):
            while True:
                try:
                    producer.produce(topics.names["frame"], value, b"NRCA1", number % 4, reports, None, 0, headers)
                    break
                except BufferError:
                    producer.poll(0.01)
            if number % SERVED_TOGETHER == 0:
                producer.poll(0)
        producer.flush()
        return clock.rate(reports.taken)


class _Reports:
    """Counts what a broker took."""

    def __init__(self) -> None:
        self.taken = 0

    def __call__(self, error: Any, _message: Any) -> None:
        self.taken += error is None


def _full(found: Broker, messages: Messages, turn: int, *, packing: bool) -> Rate:
    """Return messages per second of a publication; its topics are new, so that nothing is found there."""
    topics = ensure_topics(found.config, f"f{messages.size}-{packing}-{turn}.", 4)
    with nullcontext() if packing else messages.packed_before():
        one = found.transactional_id(f"{messages.size}-{packing}-{turn}")
        before, items = _Clock(), delivery._items  # noqa: SLF001 - what is made before the first message
        clock, expected = _Clock(), delivery._expected  # noqa: SLF001 - with it the proof begins, which is not timed
        with (
            mock.patch.object(delivery, "_items", lambda *what: [before.start(), items(*what), before.stop()][1]),
            mock.patch.object(delivery, "_expected", lambda *what: [clock.stop(), expected(*what)][1]),
        ):
            done = delivery.deliver(
                messages.plan,
                [],
                messages.files,
                found.config,
                topics,
                transactional_id=one,
                on_message=lambda number, _total: clock.start() if number == 1 else None,
            )
    if not done.verification.verified:
        raise RuntimeError(f"the publication did not reconcile: {done.verification.discrepancies[:3]}")
    return clock.rate(len(done.sent))._replace(before_us=before.rate(len(done.sent)).cpu_us)


def _player(found: Broker, topics: Topics, value: bytes, turn: int) -> Rate:
    """Return messages per second of a player that flushes after each, with nothing to wait for."""
    from confluent_kafka import Producer

    producer = Producer({**found.config, "client.id": f"player{turn}"})
    producer.list_topics(timeout=10)
    clock = _Clock()
    for _number in range(PLAYED):
        producer.produce(topics.names["frame"], value)
        producer.flush()
        time.sleep(0)
    return clock.rate(PLAYED)


def _perf_test(found: Broker, topics: Topics, size: int, count: int, _turn: int) -> Rate:
    """Return the messages per second that ``kafka-producer-perf-test`` says of itself."""
    settings = {"acks": "all", "linger.ms": 5, "batch.size": 1_000_000, "buffer.memory": 128 * 1024 * 1024}
    command = ["java", "-Xmx512m", "-cp", f"{found.jars}/*", "org.apache.kafka.tools.ProducerPerformance"]
    command += ["--bootstrap-server", found.config["bootstrap.servers"], "--topic", topics.names["frame"]]
    command += ["--num-records", str(count), "--record-size", str(size), "--throughput", "-1", "--command-property"]
    command += [f"{name}={value}" for name, value in settings.items()]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
    return Rate(float(re.findall(r"([\d.]+) records/sec", said)[-1]))


if __name__ == "__main__":
    raise SystemExit(main())
