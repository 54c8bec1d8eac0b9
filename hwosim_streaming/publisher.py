"""Sending: paced by the plan's due times, counted by the broker's delivery reports.

Holds: :class:`Publisher` and the clocks it waits by. Keep out the producer it sends through (``sink``), what
is sent (``compose``), where a run resumes (``checkpoint``) and the proof of what arrived (``verify``).

Due times are absolute on a monotonic clock, so that lateness does not add up. What a full queue delays is
recorded as lateness, not hidden.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Protocol

from hwosim_assets.errors import BackendAbsentError
from hwosim_streaming.refusals import BrokerRefusesError, DroppedError
from hwosim_streaming.sink import Outgoing, PublishFailedError, Sink

__all__ = ["Clock", "Delivery", "MonotonicClock", "Publisher", "VirtualClock"]

#: A checkpoint is due after so many messages or seconds. Each empties the queue and, on an atomic sink, waits for a
#: commit: some 15 ms, in which nothing is sent.
CHECKPOINT_MESSAGES = 50_000
CHECKPOINT_SECONDS = 1.0
CHECKPOINT_NS = round(CHECKPOINT_SECONDS * 1e9)


@dataclass(slots=True, eq=False)
class Delivery:
    """What became of one send.

    Attributes
    ----------
    due_ns, sent_ns : int
        After the start of publishing; sent minus due is the lateness.
    refusals : list of BackendAbsentError
        Why sends were not taken, of all of them: noted here, too.
    offset : int
        Where the broker put it; -1 until it says so.
    left_out : bool
        Whether it was not sent at all, being too late.
    refused : BackendAbsentError or None
        Why the broker did not take it.
    """

    due_ns: int
    sent_ns: int
    refusals: list[BackendAbsentError]
    offset: int = -1
    left_out: bool = False
    refused: BackendAbsentError | None = None

    def __call__(self, offset: int | None, refused: BackendAbsentError | None) -> None:
        """Note what the sink says of it."""
        if offset is not None:
            self.offset = offset
        elif refused is not None:
            self.refused = refused
            self.refusals.append(refused)


class Clock(Protocol):
    """A clock to be paced by."""

    def now_ns(self) -> int:
        """Return the time in nanoseconds from an arbitrary start."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


class MonotonicClock:
    """The machine's monotonic clock."""

    now_ns = staticmethod(time.perf_counter_ns)
    sleep = staticmethod(time.sleep)


@dataclass
class VirtualClock:
    """A clock that passes when it is slept by: a plan of hours runs in no time."""

    time_ns: int = 0

    def now_ns(self) -> int:
        """Return the virtual time."""
        return self.time_ns

    def sleep(self, seconds: float) -> None:
        """Advance the virtual time."""
        self.time_ns += max(1, round(seconds * 1e9))


@dataclass
class Publisher:
    """Sends records at their due times and keeps count.

    Attributes
    ----------
    sink : Sink
        Where to.
    clock : Clock
        What to wait by.
    on_checkpoint : callable
        Called now and then with how many of the first deliveries are certain.
    stretches : bool
        Whether a delay shifts all that follows, instead of being caught up with.
    leaves_out : callable, optional
        Asked with the number of each record and how late it is (ns) before it is made: whether it is left out.
    on_sent : callable, optional
        Called with the number of each record that went out.
    deliveries : list of Delivery
        One for each record, in the order of sending.
    certain : int
        The first so many records are on the broker.
    """

    sink: Sink
    clock: Clock
    stretches: bool = False
    on_checkpoint: Callable[[int], None] = lambda _certain: None
    leaves_out: Callable[[int, int], bool] | None = None
    on_sent: Callable[[int], None] | None = None
    deliveries: list[Delivery] = field(default_factory=list)
    certain: int = 0
    _failed: list[BackendAbsentError] = field(default_factory=list)
    _marked: int = 0
    _marked_ns: int = 0

    def run(self, records: Iterable[tuple[int, Callable[[int], Outgoing]]]) -> None:
        """Send records, wait for every delivery report.

        Parameters
        ----------
        records : iterable of (int, callable)
            Due time in nanoseconds after the start, not decreasing, and what makes the record from
            the wall-clock time (ns since 1970) at which it is due. Records are made one by one.

        Raises
        ------
        PublishFailedError
            If the broker did not take a record; names the first, and how many there are.
        BrokerRefusesError
            The same, where the broker will never take it.
        """
        try:
            self._send_all(records)
        except BackendAbsentError as error:
            # What came of a refused message for its transaction may be told before it: all reports first. And what is
            # open would hide all that comes after it from read_committed readers for a minute.
            self.sink.abandon()
            refused = self._first_cause()
            if refused is None or (
                isinstance(error, BrokerRefusesError) and not isinstance(refused, BrokerRefusesError)
            ):
                raise
            raise refused from error
        except BaseException:
            # Also on Ctrl-C: what may still be on its way must not arrive after a later attempt has looked.
            self.sink.abandon()
            raise

    def _first_cause(self) -> BackendAbsentError | None:
        """Return what was said of the first message that was not taken, if one was not and it says why."""
        told = [
            (number, each.refused)
            for number, each in enumerate(self.deliveries)
            if each.refused is not None and not isinstance(each.refused, DroppedError)
        ]
        if not told:
            return None
        # What is final comes first: the others may have failed because of it.
        number, refused = min(told, key=lambda each: (not isinstance(each[1], BrokerRefusesError), each[0]))
        kind = BrokerRefusesError if isinstance(refused, BrokerRefusesError) else PublishFailedError
        reason = f"was not taken: {refused.thing} {refused.reason}; {len(told)} in all"
        return kind(f"message {number} of the run", reason, refused.mend)

    def _send_all(self, records: Iterable[tuple[int, Callable[[int], Outgoing]]]) -> None:
        now_ns, send, deliveries, failed = self.clock.now_ns, self.sink.send, self.deliveries, self._failed
        coming = iter(records)
        # Before time starts: where a run goes on, all that lies there is made again first, for its checksums.
        first = tuple(islice(coming, 1))
        start, start_wall = now_ns(), time.time_ns()
        self._marked, self._marked_ns = 0, start
        for number, (due, make) in enumerate(chain(first, coming)):
            if self.leaves_out is not None:
                late = now_ns() - start - due
                if self.leaves_out(number, late):
                    deliveries.append(Delivery(due, due + late, failed, left_out=True))
                    self.sink.serve()
                    continue
            record = make(start_wall + due)
            now = now_ns()
            if now < start + due or now >= self._marked_ns + CHECKPOINT_NS:
                now = self._wait(start + due)
            delivery = Delivery(due, now - start, failed)
            deliveries.append(delivery)
            if self.stretches:
                start += max(0, now - start - due)
            send(record, delivery)
            if self.on_sent is not None:
                self.on_sent(number)
            if failed:
                break
            if number + 1 - self._marked >= CHECKPOINT_MESSAGES:
                self._checkpoint()
        if not failed:
            self.sink.flush()
        self._settle()
        if failed:
            raise failed[0]

    def _wait(self, until_ns: int) -> int:
        """Wait for a due time, serving delivery reports and checkpoints meanwhile; return what the time is then."""
        while True:
            now = self.clock.now_ns()
            if len(self.deliveries) > self._marked and now >= self._marked_ns + CHECKPOINT_NS:
                self._checkpoint()
                now = self.clock.now_ns()
            left = until_ns - now
            if left <= 0:
                return now
            self.clock.sleep(min(left / 1e9, 0.1))
            self.sink.serve()

    def _checkpoint(self) -> None:
        """Say how far the run has come; where the sink is atomic, this and all before it are seen from now on."""
        if self.sink.atomic:
            self.sink.flush()
        else:
            self.sink.serve()
        if self._failed:
            return
        self.on_checkpoint(self._settle())
        self.sink.commit()
        self._marked, self._marked_ns = len(self.deliveries), self.clock.now_ns()

    def _settle(self) -> int:
        # Not by islice, which steps through all that was certain before: 15 ms a checkpoint after an hour of 1 kHz.
        for delivery in self.deliveries[self.certain :]:
            if delivery.offset < 0 and not delivery.left_out:
                break
            self.certain += 1
        return self.certain
