"""A plan put onto a broker and proved there: publish what is missing, read everything back.

Holds: :func:`deliver`, the part of a publication that knows Kafka and neither tables nor receipts.
Keep out each step's own rules (``compose``, ``publisher``, ``checkpoint``, ``verify``) and what is
written down afterwards (``publication``).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from hwosim_assets.errors import BackendAbsentError
from hwosim_streaming.arrivals import arrivals
from hwosim_streaming.checkpoint import DATA_FAMILIES, RunState, newest_state, state_record, still_holds
from hwosim_streaming.clients import Place, end_offsets, low_offsets
from hwosim_streaming.compose import Composed, Composer
from hwosim_streaming.continuing import where_to_continue
from hwosim_streaming.envelope import Header
from hwosim_streaming.faults import label_delay_ns
from hwosim_streaming.pixels import DeliveredFiles
from hwosim_streaming.plan import StreamPlan
from hwosim_streaming.publisher import Delivery, MonotonicClock, Publisher
from hwosim_streaming.refusals import BrokerRefusesError, DroppedError
from hwosim_streaming.sink import LINGER_MS, KafkaSink, Outgoing
from hwosim_streaming.skipping import Skipping, Truths
from hwosim_streaming.topics import Topics, partition_of
from hwosim_streaming.undecided import SETTLE_SECONDS, UndecidedError, end_what_is_undecided
from hwosim_streaming.verify import Expected, Verification, reconcile

__all__ = ["Delivered", "deliver"]

#: How often a run is taken up within one publication, after pauses of 1, 2, 3, … seconds.
ATTEMPTS = 5
#: Below so many messages per second each is sent at once, not after a wait for others.
UNHURRIED_PER_S = 2000


@dataclass(frozen=True)
class Delivered:
    """What a delivery did.

    Attributes
    ----------
    expected : dict of int to Expected
        Every send by its number, data first, then truth; those left out are not expected.
    sent : dict of int to Delivery
        The sends of this attempt by their number; the others lay on the topics already.
    left_out : dict of int to str
        Number and message id of the sends that were too late to be sent, in this attempt or an earlier one.
    verification : Verification
        What was found there.
    state : RunState
        Where the run lies.
    seconds : float
        Wall time of publishing, proof not included.
    """

    expected: dict[int, Expected]
    sent: dict[int, Delivery]
    left_out: dict[int, str]
    verification: Verification
    state: RunState
    seconds: float


@dataclass(slots=True)
class _Item:
    """One send with what makes its message, called with its number; and the value's checksums, once it was made.

    These stand here one by one: a pair of them for each message made the garbage collector look twice as often.
    """

    message_id: str
    family: str
    due_ns: int
    place: Place
    sequence: int
    compose: Callable[[int], Composed]
    number: int
    crc: int | None = None
    stated_crc: int | None = None

    def record(self, due_wall_ns: int) -> Outgoing:
        """Make the record that goes out at a time, nanoseconds since 1970."""
        made = self.compose(self.number)
        self.crc, self.stated_crc = made.crc, made.stated_crc
        made.headers[Header.DUE] = str(due_wall_ns)
        return made


@dataclass
class _Progress:
    """Turns delivery reports into states of the run."""

    state: RunState
    items: Sequence[_Item]
    todo: list[int]
    counted: int = 0
    lies: dict[Place, int] = field(default_factory=dict)

    def at(self, certain: int, deliveries: Sequence[Delivery]) -> RunState:
        """Return the state when the first so many sends of this attempt are certain."""
        since = slice(self.counted, certain)
        for number, each in zip(self.todo[since], deliveries[since], strict=True):
            if not each.left_out:
                self.lies[self.items[number].place] = each.offset + 1
        self.counted = certain
        position = self.todo[certain] if certain < len(self.todo) else len(self.items)
        return self.state.at(position, self.lies)


def deliver(
    plan: StreamPlan,
    truth: Sequence[Mapping[str, Any]],
    files: DeliveredFiles,
    config: dict[str, Any],
    topics: Topics,
    *,
    transactional_id: str | None = None,
    on_message: Callable[[int, int], None] | None = None,
) -> Delivered:
    """Publish what of a plan is not on the topics yet, then read all of it back and compare.

    Parameters
    ----------
    plan : StreamPlan
        What to publish.
    truth : sequence of mapping
        Rows of the table ``truth``.
    files : DeliveredFiles
        The products' files.
    config : dict
        See :func:`hwosim_streaming.clients.client_config`.
    topics : Topics
        Where to.
    transactional_id : str, optional
        Publish in transactions under this id, the same for all attempts at this run.
    on_message : callable, optional
        Called with (number, how many) for each send.

    Raises
    ------
    BackendAbsentError
        If the broker is not there, or goes away for long; what it took stays, and a later call continues.
    UndecidedError
        If a transaction without an end hides what comes behind it.
    BrokerRefusesError
        If the broker will never take it: a message too large for the topic, a user without the right.
    HwosimError
        If a file cannot be read as planned.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            delivered = _attempt(plan, truth, files, config, topics, transactional_id, on_message)
            break
        except (BrokerRefusesError, UndecidedError):
            raise  # asking again changes nothing
        except BackendAbsentError:
            # A broker that restarts, moves a leader or loses the line is ridden through: what it took is found there.
            if attempt == ATTEMPTS:
                raise
            time.sleep(attempt)
        # What failed holds on to itself (700 bytes a message), and while the next attempt is made nothing is collected.
        gc.collect()
    return delivered


def _attempt(
    plan: StreamPlan,
    truth: Sequence[Mapping[str, Any]],
    files: DeliveredFiles,
    config: dict[str, Any],
    topics: Topics,
    transactional_id: str | None,
    on_message: Callable[[int, int], None] | None,
) -> Delivered:
    """Publish what is missing now, and prove the whole."""
    skipping = Skipping(plan.scenario_content.schedule)
    with _nothing_collected():
        items = _items(plan, truth, files, topics, skipping)
    began = time.monotonic()
    # The sink comes first: from then on no earlier publisher of this run adds anything to what is looked at.
    with closing(KafkaSink(config, transactional_id, _linger_ms(plan))) as sink:
        if sink.atomic:
            # Also where nothing of the run lies yet: what is sent would not be shown.
            places = {*topics.places("control"), *(item.place for item in items)}
            end_what_is_undecided(sink, config, plan.run_id, places)
        state = newest_state(config, topics, plan.run_id)
        state, todo = where_to_continue(config, topics, plan, state, items, skipping)
        if todo:
            # Before the first message: without it a later attempt would not know where to look.
            _confirm(sink, state_record(topics, state))
        progress = _Progress(state, items, todo)
        publisher = Publisher(sink, MonotonicClock(), stretches=plan.scenario_content.schedule.overload == "stretch")
        publisher.on_checkpoint = lambda certain: sink.send(
            state_record(topics, progress.at(certain, publisher.deliveries)), _ignore
        )
        if skipping.may_skip:
            publisher.leaves_out = lambda number, late: skipping.leaves_out(todo[number], items[todo[number]], late)
        if on_message is not None:
            publisher.on_sent = lambda number: on_message(todo[number] + 1, len(items))
        with _plan_not_collected():
            publisher.run(_records(items, todo, files, skipping))
        if todo:
            state = progress.at(len(todo), publisher.deliveries)
            _confirm(sink, state_record(topics, state))
    seconds = time.monotonic() - began
    expected = _expected(items)
    verification = _prove(plan, config, topics, state, expected, skipping)
    sent = {number: each for number, each in zip(todo, publisher.deliveries, strict=True) if not each.left_out}
    return Delivered(expected, sent, skipping.left_out, verification, state, seconds)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Do without the garbage collector while the block makes what stays anyhow: it was most of the time that took."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@contextmanager
def _plan_not_collected() -> Iterator[None]:
    """Keep the garbage collector away from what is there already, while the block runs.

    The plan's rows are hundreds of thousands of objects that stay; looking through them again and again was more
    than a quarter of the processor time of sending small messages. What the block makes is collected as ever.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _linger_ms(plan: StreamPlan) -> float:
    """Return how long messages wait for company: where they come one by one, not at all."""
    return 0.0 if len(plan.sends) < UNHURRIED_PER_S * plan.seconds else LINGER_MS


def _items(
    plan: StreamPlan, truth: Sequence[Mapping[str, Any]], files: DeliveredFiles, topics: Topics, skipping: Skipping
) -> list[_Item]:
    """Return every send in order: the data as planned, then the truth about it."""
    composer = Composer(plan, files, topics)
    items = []
    for send in plan.sends:
        row = plan.rows[send.index]
        family = row["family"]
        place = (topics.names[family], partition_of(row["key"], topics.partitions[family]))
        items.append(
            _Item(row["message_id"], family, send.due_ns, place, row["sequence"], composer.compose, send.index)
        )
    end = max((item.due_ns for item in items), default=0)
    late = plan.scenario_content.transport.late_label
    labels = []
    told = Truths(plan, truth, skipping, topics)
    for number, made in enumerate(told.planned):
        place, due = (made.topic, made.partition), end + label_delay_ns(plan.seed, made.key.decode(), late)
        labels.append(_Item(made.message_id, "truth", due, place, made.sequence, told.compose, number))
    return items + sorted(labels, key=lambda label: label.due_ns)


def _records(
    items: Sequence[_Item], todo: Sequence[int], files: DeliveredFiles, skipping: Skipping
) -> Iterator[tuple[int, Callable[[int], Outgoing]]]:
    """Make the missing records one by one, and the others for their checksums: all must be found on the topics."""
    missing = set(todo)
    start = items[todo[0]].due_ns if todo else 0
    frame = next((items[number] for number in todo if items[number].family == "frame"), None)
    for number, item in enumerate(items):
        if number in missing:
            if frame is not None:
                frame.compose(frame.number)  # so that its file is open before time starts
                frame = None
                files.waited_s.clear()
            yield item.due_ns - start, item.record
        elif number not in skipping.left_out:
            item.record(0)


def _expected(items: Sequence[_Item]) -> dict[int, Expected]:
    """Return what must be found on the topics, in the order of the sends: whatever was made."""
    return {
        number: Expected(item.message_id, item.family, item.place, item.sequence, item.crc, item.stated_crc)
        for number, item in enumerate(items)
        if item.crc is not None and item.stated_crc is not None
    }


def _prove(
    plan: StreamPlan,
    config: dict[str, Any],
    topics: Topics,
    state: RunState,
    expected: Mapping[int, Expected],
    skipping: Skipping,
) -> Verification:
    ends = _settled_ends(config, topics, state)
    lows = low_offsets(config, ends)
    starts = {place: max(first, lows[place]) for place, first in state.first.items()}
    due = list(expected.values())
    # What nobody gets: lost on the way as planned, or left out with all its copies.
    gone = frozenset(skipping.left_out.values()) - {send.message_id for send in due}
    lost = gone | {row["message_id"] for row in plan.rows if row["copies"] == 0}
    return reconcile(due, lost, arrivals(config, plan.run_id, starts, ends), topics.names["truth"])


def _settled_ends(config: dict[str, Any], topics: Topics, state: RunState) -> dict[Place, int]:
    """Return where the topics end, once they show all that was confirmed.

    A broker answers a commit when it is decided, and shows the messages of each partition a moment later.

    Raises
    ------
    BackendAbsentError
        If it does not show them in time; another attempt finds out what is missing.
    """
    until = time.monotonic() + SETTLE_SECONDS
    while True:
        ends = end_offsets(config, topics.places(*DATA_FAMILIES))
        if still_holds(state, ends):
            return ends
        if time.monotonic() > until:
            topic, partition = next(place for place, offset in state.next.items() if ends.get(place, -1) < offset)
            what = f"does not show what it confirmed in {topic} [{partition}]"
            raise BackendAbsentError(
                f"Kafka broker {config['bootstrap.servers']}", what, "see its log, then publish again"
            )
        time.sleep(0.05)


def _confirm(sink: KafkaSink, record: Outgoing) -> None:
    """Send a record and wait until the broker has it."""
    refused: list[BackendAbsentError] = []
    try:
        sink.send(record, lambda _offset, reason: refused.append(reason) if reason is not None else None)
        sink.flush()
        if not refused or isinstance(refused[0], DroppedError):  # why it was dropped is what the commit says
            sink.commit()
    except BackendAbsentError as error:
        sink.abandon()  # hands over what is told of the record, too
        told = [*(reason for reason in refused if not isinstance(reason, DroppedError)), error]
        # What is final comes first, then why the record was refused: the commit failed because of it.
        cause = min(told, key=lambda reason: not isinstance(reason, BrokerRefusesError))
        if cause is error:
            raise
        raise cause from error
    except BaseException:
        # Also on Ctrl-C: what is open hides what comes behind it.
        sink.abandon()
        raise
    if refused:
        sink.abandon()
        raise refused[0]


def _ignore(_offset: int | None, _refused: BackendAbsentError | None) -> None:
    """Take the report of a control record: without it a later attempt reads a little more, no harm done."""
