"""Pixels lost on the way from the detector to the archive.

Holds: effects of the stage ``loss``. Keep out what happens between messages; that is the transport's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.effect import Effect
from hwosim_assets.perturb.parameters import Parameter
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.rng import TILE, threshold
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.fitsfile import FitsFile
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.rng import Stream

__all__ = ["MissingValues", "PacketLoss"]


@register(
    EffectSpec(
        name="missing_values",
        title="Missing values",
        code="F3",
        stage="loss",
        model="pixels are lost at random: all alike (mcar), more in later rows (mar), more where it is bright (mnar)",
        planes=("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "DQ"),
        parameters=(
            Parameter(
                "fraction",
                "share of the pixels that is lost",
                severities=(1e-4, 1e-3, 1e-2, 5e-2, 0.2),
                high=0.5,
                source="severity table 2026.1; levels are a proposal",
            ),
            Parameter(
                "mechanism",
                "what the loss depends on: nothing, the row, the flux",
                default="mcar",
                choices=("mcar", "mar", "mnar"),
                source="Rubin (1976), the classes of missing data",
            ),
        ),
        source="JWST's rule for invalid pixels: NaN in SCI, ERR and VAR, DO_NOT_USE in DQ",
        test="lost fraction; correlation of mask and flux is 0 for mcar, above 0 for mnar",
        dq=True,
    )
)
class MissingValues(Effect):
    """Single pixels that never arrived.

    Every pixel has one random word, and is lost when it lies below its probability, so that the
    pixels lost at a severity are among those lost at any higher one.
    """

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._edges: dict[str, NDArray[np.float64]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """For ``mnar``, find the flux quantiles; losses follow the flux of the input."""
        if self.task.word("mechanism") == "mnar":
            self._edges[measurement.sci.name] = _quantiles(self.task.product.payload, measurement)
        return {}

    def on_chunk(self, block: Block) -> None:
        """Lose the pixels whose random word lies below their threshold."""
        stream = self.task.stream(block.measurement.key)
        for group in range(block.groups):
            place = block.plane(group), block.start, block.size
            if self.task.word("mechanism") == "mcar":
                index, _ = stream.below(threshold(self.task.number("fraction", block)), *place)
            else:
                index = np.flatnonzero(stream.bits(*place) < self._thresholds(block, group))
            block.lose(self.use, group, index, self.task.dq_honest)

    def _thresholds(self, block: Block, group: int) -> NDArray[np.uint64]:
        fraction = self.task.number("fraction", block)
        if self.task.word("mechanism") == "mar":
            frame = block.measurement.frame
            rows, width = (frame[0], frame[1]) if len(frame) > 1 else (frame[0], 1)
            table = [threshold(fraction * (2 * row + 1) / rows) for row in range(rows)]
            places = (block.start + np.arange(block.size)) // width
        else:
            edges = self._edges[block.measurement.sci.name]
            table = [threshold(fraction * (2 * rank + 1) / _RANKS) for rank in range(_RANKS)]
            plane = block.measurement.sci
            shape = (block.measurement.frames, block.groups, block.measurement.pixels)
            raw = plane.raw(self.task.product.payload).reshape(shape)
            part = raw[block.frame, group, block.start : block.start + block.size]
            places = np.searchsorted(edges, plane.decode(part).astype(np.float64), side="right")
        return np.array(table, np.uint64)[places]


_RANKS = 64


def _quantiles(content: bytes | memoryview, measurement: Measurement) -> NDArray[np.float64]:
    """Return the values that part the pixels' flux into 64 ranks, from at most 65 536 of them."""
    flat = measurement.sci.raw(content).reshape(-1)
    values = measurement.sci.decode(flat[:: max(1, flat.size // TILE)]).astype(np.float64)
    values = np.sort(values[np.isfinite(values)])
    if not values.size:
        return np.zeros(_RANKS - 1)
    return values[(np.arange(1, _RANKS) * values.size) // _RANKS]


@register(
    EffectSpec(
        name="packet_loss",
        title="Packet loss",
        code="F1",
        stage="loss",
        model="a two-state Gilbert-Elliott chain over packets of consecutive pixels in readout order",
        planes=("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "DQ", "header"),
        parameters=(
            Parameter(
                "loss",
                "share of the packets that is lost",
                severities=(1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
                high=0.9,
                source="severity table 2026.1; levels are a proposal",
            ),
            Parameter(
                "burst",
                "mean length of a run of lost packets",
                unit="packets",
                low=1.0,
                high=1e4,
                default=8.0,
                source="bursts of 1 to 50 packets; the default is a proposal",
            ),
            Parameter(
                "packet",
                "pixels in one packet",
                unit="px",
                low=1,
                high=1 << 20,
                default=1024,
                whole=True,
                source="CCSDS: a transfer frame of at most 2048 bytes is dropped whole, so 1024 pixels of 16 bits",
            ),
        ),
        source="Gilbert (1960), Elliott (1963); CCSDS 132.0-B; DQ bit DROPOUT of stdatamodels",
        test="lost fraction; geometric run lengths; alignment to packet boundaries",
        dq=True,
    )
)
class PacketLoss(Effect):
    """Runs of packets that never arrived.

    A frame's pixels are laid into packets in the order in which FASTAXIS and SLOWAXIS say they are
    read; resampled products and spectra have no readout and are taken in their own order. In a
    product made from a ramp, a lost packet stands for the same packet lost in every group. Runs of
    lost packets end with their frame.
    """

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._lost: dict[str, dict[int, NDArray[np.int64]]] = {}
        self._any = False

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Draw which packets of each frame and group are lost."""
        packet = int(self.task.number("packet"))
        count = -(-measurement.pixels // packet)
        stream = self.task.stream(measurement.key)
        order = _readout(self.task, measurement)
        lost: dict[int, NDArray[np.int64]] = {}
        packets, shares = 0, self.task.numbers("loss", measurement)
        for plane in range(measurement.frames * measurement.groups):
            gone = lost_packets(stream, plane, count, shares[plane // measurement.groups], self.task.number("burst"))
            if gone.size:
                packets += int(gone.size)
                places = (gone[:, None] * packet + np.arange(packet)).reshape(-1)
                lost[plane] = np.sort(order(places[places < measurement.pixels]))
        self._lost[measurement.sci.name] = lost
        self._any = self._any or bool(lost)
        total = count * measurement.frames * measurement.groups
        return {"packets": total, "packets_lost": packets}

    def on_chunk(self, block: Block) -> None:
        """Lose the pixels of this chunk that lie in lost packets."""
        lost = self._lost[block.measurement.sci.name]
        for group in range(block.groups):
            places = lost.get(block.plane(group))
            if places is None:
                continue
            block.lose(self.use, group, places[block.here(places)] - block.start, self.task.dq_honest)

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Set DATAPROB ("science telemetry indicated a problem") where the header has it."""
        card = file.hdus[0].find("DATAPROB")
        if not self._any or not self.task.dq_honest or card is None:
            return []
        file.hdus[0].replace_value("DATAPROB", "T")
        return [{"hdu": 0, "keyword": "DATAPROB", "before": card.decode("latin-1").rstrip(), "value": True}]


def lost_packets(stream: Stream, plane: int, count: int, loss: float, burst: float) -> NDArray[np.int64]:
    """Return which of ``count`` packets are lost.

    A Gilbert-Elliott chain with one random word u per packet: a good state turns bad when
    u < loss b / (1 - loss), a bad one stays bad when u < 1 - b. Both thresholds grow with the loss, so
    the packets lost at one loss are among those lost at any higher one. The chain starts in its
    stationary state: the first packet is bad when u < loss.

    Parameters
    ----------
    stream : Stream
        Random bits.
    plane : int
        Address of the frame and group.
    count : int
        Packets in it.
    loss : float
        Share of packets lost (0 to below 1).
    burst : float
        Mean length of a run of lost packets; no shorter than independent losses give.

    Returns
    -------
    int64 array
        Numbers of the lost packets, ascending.
    """
    stay = max(1.0 - 1.0 / burst, loss)
    words = stream.bits(plane, 0, count)
    turn = words < np.uint64(threshold(loss * (1.0 - stay) / (1.0 - loss)))
    end = words >= np.uint64(threshold(stay))
    turn[0] = words[0] < np.uint64(threshold(loss))
    end[0] = not turn[0]
    decided = np.where(turn | end, np.arange(count), 0)
    return np.flatnonzero(turn[np.maximum.accumulate(decided)]).astype(np.int64)


def _readout(task: Task, measurement: Measurement) -> Any:
    """Return the function from places in readout order to flat places in the frame."""
    frame = measurement.frame
    fast, slow = (int(task.product.number(name) or 0) for name in ("FASTAXIS", "SLOWAXIS"))
    if len(frame) < 2 or measurement.resampled or {abs(fast), abs(slow)} != {1, 2}:
        return lambda places: places
    rows, columns = frame

    def order(places: NDArray[np.int64]) -> NDArray[np.int64]:
        width = columns if abs(fast) == 1 else rows
        along_slow, along_fast = np.divmod(places, width)
        x, y = (along_fast, along_slow) if abs(fast) == 1 else (along_slow, along_fast)
        x_axis, y_axis = (fast, slow) if abs(fast) == 1 else (slow, fast)
        x = columns - 1 - x if x_axis < 0 else x
        y = rows - 1 - y if y_axis < 0 else y
        return np.asarray(y * columns + x)

    return order
