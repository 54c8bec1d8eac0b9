"""Pacing and latency: 1 kHz of 1 KiB messages for a minute, read by two readers beside it.

Holds: the run. It prints and asserts nothing. ``deliver()`` publishes a plan of a constant rate on the whole path,
in transactions where the broker has them. Two readers, processes of their own, ``poll()`` the frames' topic, one of
them with ``isolation.level=read_uncommitted``, and take the difference between the clock and the header ``ce_hwodue``:
latency from the intended time, so that a publisher that falls behind hides nothing. Lateness is sent minus due. The
player beside them sleeps the interval and flushes, as replay players do.

    python -m benchmarks.stream_pacing
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import numpy as np

from benchmarks.brokers import Broker, Messages, broker
from hwosim_streaming.delivery import deliver
from hwosim_streaming.publisher import CHECKPOINT_SECONDS
from hwosim_streaming.topics import ensure_topics

RATE, SIZE, SECONDS = 1000, 1024, 60
#: Seconds of the player, and after which a reader that hears nothing has read everything.
PLAYED, IDLE = 5, 5.0
#: Before the first message a reader is there.
AHEAD = 3.0
TOPIC = "hwosim.frames.v1"


def main() -> int:
    """Publish, read beside it, print; or be one of the readers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--read", metavar="CONFIG", help="be a reader with these properties")
    asked = parser.parse_args()
    if asked.read:
        return _read(json.loads(asked.read))
    messages = Messages(SIZE, RATE * asked.seconds, RATE)
    with broker() as found:
        _measure(found, messages)
        _player(found, messages.value())
    return 0


def _measure(found: Broker, messages: Messages) -> None:
    messages.plan.sends  # noqa: B018 - planned before the clock runs
    ensure_topics(found.config, "", 4)
    levels = ("read_uncommitted", "read_committed")
    readers = {level: _reader({**found.config, "isolation.level": level}) for level in levels}
    time.sleep(AHEAD)
    topics = ensure_topics(found.config, "", 4)
    with messages.packed_before():
        one = found.transactional_id("paced")
        done = deliver(messages.plan, [], messages.files, found.config, topics, transactional_id=one)
    sent = np.array([(each.due_ns, each.sent_ns) for each in done.sent.values()])
    took = (sent[-1, 1] - sent[0, 1]) / 1e9
    rate = (len(sent) - 1) / took
    print(f"{found.name}: {len(sent)} messages in {took:.3f} s, reconciled: {done.verification.verified}")
    print(f"rate        {rate:.3f}/s, error {abs(rate / RATE - 1):.4%} (goal at most 0.1 %)")
    _print("lateness", (sent[:, 1] - sent[:, 0]) / 1e6, "p99 at most 5 ms")
    goals = {
        "read_uncommitted": "p50 at most 2 ms, p99 at most 20 ms",
        "read_committed": f"at most {CHECKPOINT_SECONDS * 1000 + 50:.0f} ms",
    }
    for level, reader in readers.items():
        said, _ = reader.communicate(timeout=120)
        _print(level, np.array(json.loads(said)), goals[level])


def _print(name: str, milliseconds: np.ndarray[Any, Any], goal: str) -> None:
    p50, p99, most = np.percentile(milliseconds, (50, 99, 100))
    print(f"{name:<16} p50 {p50:9.3f} ms  p99 {p99:9.3f} ms  most {most:9.3f} ms  n {milliseconds.size} (goal {goal})")


def _reader(config: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.stream_pacing", "--read", json.dumps(config)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _read(config: dict[str, Any]) -> int:
    """Print the latencies of all frames that come, in milliseconds, until none comes any more."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({**config, "group.id": "bench", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100})
    consumer.assign([TopicPartition(TOPIC, number, 0) for number in range(4)])
    latencies, heard = [], None
    while heard is None or time.monotonic() - heard < IDLE:
        message = consumer.poll(0.1)
        if message is None or message.error():
            continue
        now, heard = time.time_ns(), time.monotonic()
        due = dict(message.headers())["ce_hwodue"]
        latencies.append((now - int(due)) / 1e6)
    consumer.close()
    sys.stdout.write(json.dumps(latencies))
    return 0


def _player(found: Broker, value: bytes) -> None:
    """Print the rate of a player that sleeps the interval and flushes each message."""
    from confluent_kafka import Producer

    producer = Producer(found.config)
    producer.list_topics(timeout=10)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < PLAYED:
        producer.produce(TOPIC, value)
        producer.flush()
        time.sleep(1 / RATE)
        count += 1
    rate = count / (time.perf_counter() - began)
    print(f"a player that sleeps 1/{RATE} s and flushes: {rate:.1f}/s, error {abs(rate / RATE - 1):.1%}")


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        raise SystemExit(main())
