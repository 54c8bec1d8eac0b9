"""Whole parts of an exposure that are missing or coarser: blocks, integrations, groups, bits.

Holds: effects F2, F4 and F9. Keep out packets and single pixels (``telemetry``) and header cards (``headers``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import noise_level
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.rng import threshold
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.fitsfile import FitsFile
    from hwosim_assets.perturb.measurements import Measurement

__all__ = ["CompressionLoss", "DroppedGroups", "DroppedIntegrations", "MissingBlocks"]

_LOST = ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "DQ")


@register(
    EffectSpec(
        name="missing_blocks",
        title="Missing rows, columns, amplifiers",
        code="F2",
        stage="loss",
        model="a contiguous block of the frame is lost: rows, columns, the columns of an amplifier, or a rectangle",
        planes=_LOST,
        parameters=(
            Parameter(
                "area",
                "share of the frame that is lost; at least one row or column",
                severities=(0.0005, 0.002, 0.01, 0.05, 0.25),
                source="one row of 2048 to a quarter of the frame; levels between are a proposal",
            ),
            Parameter(
                "shape",
                "what is lost",
                default="rows",
                choices=("rows", "columns", "amplifier", "rectangle"),
                source="units of detector readout; an amplifier has a quarter of the columns",
            ),
        ),
        source="JWST's rule for invalid pixels: NaN in SCI, ERR and VAR, DROPOUT and DO_NOT_USE in DQ",
        test="lost area; it is one block",
        dq=True,
    )
)
class MissingBlocks(Effect):
    """A block around a random place, the same in all frames; a larger one holds all smaller ones."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._box: dict[int, tuple[int, int, int, int]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Choose the block; refuse spectra."""
        if len(measurement.frame) < 2 or measurement.sci.column:
            raise NotApplicableError("a spectrum in a table has no rows and columns of pixels")
        words = [int(word) for word in self.task.stream(measurement.key).bits(0, 0, 2)]
        shape = str(self.task.word("shape"))
        found = block_of(measurement.frame, self.task.number("area"), shape, (words[0], words[1]))
        self._box[id(measurement)] = found
        return dict(zip(("y0", "y1", "x0", "x1"), found, strict=True))

    def on_chunk(self, block: Block) -> None:
        """Lose the pixels of this chunk that lie in the block."""
        y0, y1, x0, x1 = self._box[id(block.measurement)]
        y, x = np.divmod(np.arange(block.start, block.start + block.size), block.measurement.frame[1])
        index = np.flatnonzero((y >= y0) & (y < y1) & (x >= x0) & (x < x1))
        for group in range(block.groups):
            block.lose(self.use, group, index, self.task.dq_honest)


def block_of(frame: tuple[int, ...], area: float, shape: str, words: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return (y0, y1, x0, x1) of a block of a frame.

    Parameters
    ----------
    frame : tuple of int
        Shape (rows, columns).
    area : float
        Share of the frame.
    shape : str
        ``rows``, ``columns``, ``amplifier`` or ``rectangle``.
    words : tuple of int
        Two random 32-bit words for the place.
    """
    rows, columns = frame
    if shape == "rows":
        return (*_run(rows, area, words[0]), 0, columns)
    if shape == "columns":
        return (0, rows, *_run(columns, area, words[1]))
    if shape == "amplifier":
        amp = (words[1] * 4) >> 32
        x0, x1 = columns * amp // 4, columns * (amp + 1) // 4
        return (*_run(rows, min(4 * area, 1.0), words[0]), x0, x1)
    side = area**0.5
    return (*_run(rows, side, words[0]), *_run(columns, side, words[1]))


def _run(length: int, share: float, word: int) -> tuple[int, int]:
    """Return a run around a fixed place, moved inside where it sticks out."""
    size = min(max(round(share * length), 1), length)
    start = min(max(((word * length) >> 32) - size // 2, 0), length - size)
    return start, start + size


@register(
    EffectSpec(
        name="dropped_groups",
        title="Dropped groups",
        code="F4",
        stage="loss",
        model="the last share f of the groups is lost: VAR_POISSON / (1-f), VAR_RNOISE / (1-f)^3, with the noise; "
        "of a ramp, the groups themselves",
        planes=_LOST,
        parameters=(
            Parameter(
                "fraction",
                "share of the groups that is lost",
                severities=(0.05, 0.1, 0.25, 0.5, 0.75),
                high=0.9,
                source="levels are a proposal",
            ),
        ),
        source="variances of the ramp fit: var_P ~ 1/t, var_R ~ 1/n^3 (stcal)",
        test="ratios of the variances; scatter of the difference",
        err=True,
        dq=True,
    )
)
class DroppedGroups(Effect):
    """Ramps that ended early."""

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse what does not come from one ramp."""
        if measurement.resampled or measurement.sci.column:
            raise NotApplicableError("it is combined from many ramps")
        if measurement.ramp:
            kept = self._kept(measurement)
            if kept == measurement.groups:
                raise NotApplicableError("the share is less than one of its groups")
            return {"groups_kept": kept}
        return {"noise_from": budget.read_method}

    def _kept(self, measurement: Measurement) -> int:
        return max(1, measurement.groups - int(self.task.number("fraction") * measurement.groups + 0.5))

    def on_chunk(self, block: Block) -> None:
        """Lose groups of a ramp, or add the noise that fewer groups leave."""
        honest = self.task.err_honest
        if block.measurement.ramp:
            for group in range(self._kept(block.measurement), block.groups):
                block.lose(self.use, group, np.arange(block.size), self.task.dq_honest)
            return
        left = 1.0 - self.task.number("fraction")
        more = (1.0 / left - 1.0, 1.0 / left**3 - 1.0)
        sigma = np.sqrt(block.true["poisson"] * more[0] + block.true["read"] * more[1])
        sigma[0] *= self.task.stream(block.measurement.key).normal(block.plane(0), block.start, block.size)
        block.sci += sigma
        block.scale_variance("poisson", 1.0 / left, honest)
        block.scale_variance("read", 1.0 / left**3, honest)


@register(
    EffectSpec(
        name="dropped_integrations",
        title="Dropped integrations",
        code="F4",
        stage="file",
        model="integrations are taken out of all planes and of INT_TIMES, each with the given probability",
        planes=(*_LOST, "INT_TIMES", "header"),
        parameters=(
            Parameter(
                "fraction",
                "probability of an integration to be lost",
                severities=(0.001, 0.01, 0.05, 0.15, 0.4),
                high=0.95,
                source="severity table 2026.1; levels are a proposal",
            ),
            Parameter(
                "header",
                "whether NINTS tells of it (honest) or stays (stale)",
                default="honest",
                choices=("honest", "stale"),
                source="the honesty switches, for headers",
            ),
        ),
        source="gaps of time series in archived products",
        test="row counts of all planes; what remains is unchanged",
    )
)
class DroppedIntegrations(Effect):
    """Integrations that never came; what is lost at a severity is lost at any higher."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._keep: NDArray[np.int64] | None = None
        self._frames = 0

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Draw which are lost; refuse what has no integrations."""
        if measurement.resampled or measurement.frames < 2:
            raise NotApplicableError("it has no integrations to lose")
        if self._frames not in (0, measurement.frames):
            raise NotApplicableError("it has another number of integrations than the first")
        words = self.task.stream("integrations").bits(0, 0, measurement.frames)
        keep = np.flatnonzero(words >= np.uint64(threshold(self.task.number("fraction"))))
        self._frames = measurement.frames
        self._keep = keep.astype(np.int64) if keep.size else np.array([int(words.argmax())])
        lost = np.setdiff1d(np.arange(measurement.frames), self._keep)
        return {"integrations": measurement.frames, "lost": [int(place) for place in lost]}

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Take the rows out of every array that has one for each integration."""
        if self._keep is None or self._keep.size == self._frames:
            return []
        events: list[dict[str, Any]] = []
        for hdu in sorted({plane.hdu for plane in self.task.product.planes if self._has_integrations(plane)}):
            events.append(_keep_rows(file, hdu, self._frames, self._keep))
        card = file.hdus[0].find("NINTS")
        if card is not None and self.task.word("header") == "honest":
            file.hdus[0].replace_value("NINTS", str(self._keep.size))
            before = card.decode("latin-1").rstrip()
            events.append({"hdu": 0, "keyword": "NINTS", "before": before, "value": int(self._keep.size)})
        return events

    def _has_integrations(self, plane: Any) -> bool:
        own = {item.sci.hdu for item in self.task.product.measurements}
        table = plane.column and (plane.hdu in own or plane.extname in ("INT_TIMES", "INT_TIMES_TDB"))
        image = not plane.column and len(plane.shape) > 2
        return bool(table or image) and bool(plane.shape) and plane.shape[0] == self._frames


def _keep_rows(file: FitsFile, index: int, rows: int, keep: NDArray[np.int64]) -> dict[str, Any]:
    """Keep some rows along the slowest axis of an HDU."""
    hdu = file.hdus[index]
    body = np.frombuffer(bytes(file.data[hdu.data_offset : hdu.data_offset + hdu.data_bytes]), np.uint8)
    hdu.new_data = body.reshape(rows, -1)[keep].tobytes()
    axis = "NAXIS2" if hdu.find("XTENSION") and b"BINTABLE" in (hdu.find("XTENSION") or b"") else ""
    if not axis:
        axes = int((hdu.find("NAXIS") or b"")[10:30].split(b"/")[0])
        axis = f"NAXIS{axes}"
    hdu.replace_value(axis, str(keep.size))
    return {"hdu": index, "keyword": axis, "rows_before": rows, "rows": int(keep.size)}


@register(
    EffectSpec(
        name="compression_loss",
        title="Lossy compression",
        code="F9",
        stage="digitization",
        model="S -> step (floor(S/step + u) - u + 1/2) with a dither u, step = coarseness times the typical noise",
        planes=("SCI", "ERR", "VAR_RNOISE"),
        parameters=(
            Parameter(
                "coarseness",
                "step of the values in units of the noise of a typical pixel (1/q)",
                severities=(0.0625, 0.125, 0.25, 0.5, 2.0),
                high=100.0,
                source="q = 16 to 2 of the FITS tile compression; level 5 is a proposal",
            ),
        ),
        source="subtractive dither: the error is uniform and independent of the signal",
        test="added variance is step^2 / 12; the error is uniform",
        err=True,
    )
)
class CompressionLoss(Effect):
    """Values that went through a lossy compression and back; integers stay whole numbers."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._steps: dict[int, float] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find the step."""
        if measurement.ramp:
            raise NotApplicableError("raw counts are compressed without loss")
        step = rounded(self.task.number("coarseness") * noise_level(self.task.product, measurement, budget))
        self._steps[id(measurement)] = step
        return {"step": step}

    def on_chunk(self, block: Block) -> None:
        """Round to the step with a dither."""
        step = self._steps[id(block.measurement)]
        words = self.task.stream(block.measurement.key).bits(block.plane(0), block.start, block.size)
        dither = words.astype(np.float64) / 4294967296.0
        block.sci[0] = step * (np.floor(block.sci[0].astype(np.float64) / step + dither) - dither + 0.5)
        block.add_variance("read", step * step / 12.0, self.task.err_honest)
