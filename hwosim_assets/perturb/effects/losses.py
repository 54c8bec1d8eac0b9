"""Whole parts of an exposure that are missing or coarser: blocks, integrations, groups, bits.

Holds: effects F2, F4 and F9. Keep out packets and single pixels (``telemetry``) and header cards (``headers``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import noise_level
from hwosim_assets.perturb.effects.references import card_number, scale_card
from hwosim_assets.perturb.fitsfile import Pieces
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.readout import Readout, find_readout
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.rng import threshold
from hwosim_assets.perturb.spec import EffectSpec
from hwosim_assets.perturb.times import segment_start

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.fitsfile import FitsFile, Hdu
    from hwosim_assets.perturb.measurements import Measurement

__all__ = ["CompressionLoss", "DroppedGroups", "DroppedIntegrations", "MissingBlocks"]

_LOST = ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "DQ")
#: Tables of one row for each integration.
_TIMES = ("INT_TIMES", "INT_TIMES_TDB")


@register(
    EffectSpec(
        name="missing_blocks",
        title="Missing rows, columns, amplifiers",
        code="F2",
        steady="the block is the same in all frames",
        stage="loss",
        model="a block of the frame is lost: rows, columns, what an amplifier reads in a run of lines, or a rectangle",
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
                source="units of detector readout; of several amplifiers (NOUTPUTS) each reads a stripe along FASTAXIS "
                "or, on MIRI, every fourth pixel",
            ),
        ),
        source="JWST's rule for invalid pixels: NaN in SCI, ERR and VAR, DROPOUT and DO_NOT_USE in DQ",
        test="lost area; it is one block, or of an amplifier on MIRI every fourth column",
        dq=True,
    )
)
class MissingBlocks(Effect):
    """A block around a random place, the same in all frames; a larger one holds all smaller ones."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._box: dict[int, tuple[int, int, int, int]] = {}
        self._lines: dict[int, tuple[Readout, int, int, int]] = {}

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Choose the block; refuse spectra, and an amplifier where there are not several."""
        if len(measurement.frame) < 2 or measurement.sci.column:
            raise NotApplicableError("a spectrum in a table has no rows and columns of pixels")
        words = [int(word) for word in self.task.stream(measurement.key).bits(0, 0, 2)]
        shape, area = str(self.task.word("shape")), self.task.number("area")
        if shape == "amplifier":
            return self._prepare_amplifier(measurement, area, words)
        found = block_of(measurement.frame, area, shape, (words[0], words[1]))
        self._box[id(measurement)] = found
        return dict(zip(("y0", "y1", "x0", "x1"), found, strict=True))

    def _prepare_amplifier(self, measurement: Measurement, area: float, words: list[int]) -> dict[str, Any]:
        readout = find_readout(self.task.product, measurement)
        if readout is None:
            raise NotApplicableError("its pixels are resampled and read by no amplifier")
        if readout.outputs < 2:
            raise NotApplicableError("all of it is read by one amplifier")
        amplifier = (words[1] * readout.outputs) >> 32
        line0, line1 = _run(readout.lines, min(readout.outputs * area, 1.0), words[0])
        self._lines[id(measurement)] = readout, amplifier, line0, line1
        return {"amplifier": amplifier, "line0": line0, "line1": line1, **readout.record()}

    def on_chunk(self, block: Block) -> None:
        """Lose the pixels of this chunk that lie in the block."""
        index = np.flatnonzero(self._inside(block))
        for group in range(block.groups):
            block.lose(self.use, group, index, self.task.dq_honest)

    def _inside(self, block: Block) -> NDArray[np.bool_]:
        if id(block.measurement) in self._lines:
            readout, lost, line0, line1 = self._lines[id(block.measurement)]
            amplifier, line, _ = readout.places(block.start, block.size)
            return np.asarray((amplifier == lost) & (line >= line0) & (line < line1))
        y0, y1, x0, x1 = self._box[id(block.measurement)]
        y, x = np.divmod(np.arange(block.start, block.start + block.size), block.measurement.frame[1])
        return np.asarray((y >= y0) & (y < y1) & (x >= x0) & (x < x1))


def block_of(frame: tuple[int, ...], area: float, shape: str, words: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return (y0, y1, x0, x1) of a block of a frame.

    Parameters
    ----------
    frame : tuple of int
        Shape (rows, columns).
    area : float
        Share of the frame.
    shape : str
        ``rows``, ``columns`` or ``rectangle``.
    words : tuple of int
        Two random 32-bit words for the place.
    """
    rows, columns = frame
    if shape == "rows":
        return (*_run(rows, area, words[0]), 0, columns)
    if shape == "columns":
        return (0, rows, *_run(columns, area, words[1]))
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

    per_frame = True

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Refuse what does not come from one ramp."""
        if measurement.resampled or measurement.sci.column:
            raise NotApplicableError("it is combined from many ramps")
        if measurement.ramp:
            kept = min(self._kept(measurement, share) for share in self.task.numbers("fraction", measurement))
            if kept == measurement.groups:
                raise NotApplicableError("the share is less than one of its groups")
            return {"groups_kept": kept}
        return {"noise_from": budget.read_method}

    def _kept(self, measurement: Measurement, share: float) -> int:
        return max(1, measurement.groups - int(share * measurement.groups + 0.5))

    def on_chunk(self, block: Block) -> None:
        """Lose groups of a ramp, or add the noise that fewer groups leave."""
        honest, share = self.task.err_honest, self.task.number("fraction", block)
        if share == 0:
            return
        if block.measurement.ramp:
            for group in range(self._kept(block.measurement, share), block.groups):
                block.lose(self.use, group, np.arange(block.size), self.task.dq_honest)
            return
        left = 1.0 - share
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
        model="integrations are taken out of all planes, of INT_TIMES and GROUP, each with the given probability",
        planes=(*_LOST, "INT_TIMES", "GROUP", "header"),
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
                "whether NINTS, INTEND and EFFEXPTM tell of it (honest) or stay (stale)",
                default="honest",
                choices=("honest", "stale"),
                source="the honesty switches, for headers",
            ),
        ),
        source="gaps of time series in archived products",
        test="row counts of all planes; what remains is unchanged",
        once=True,
    )
)
class DroppedIntegrations(Effect):
    """Integrations that never came; what is lost at a severity is lost at any higher."""

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._lost: NDArray[np.int64] = np.empty(0, np.int64)
        self._frames = 0

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Draw which are lost; refuse what has no integrations."""
        if measurement.resampled or measurement.frames < 2:
            raise NotApplicableError("it has no integrations to lose")
        if self._frames not in (0, measurement.frames):
            raise NotApplicableError("it has another number of integrations than the first")
        words = self.task.stream("integrations").bits(0, 0, measurement.frames)
        limits = [threshold(share) for share in self.task.numbers("fraction", measurement)]
        lost = np.flatnonzero(words < np.array(limits, np.uint64))
        self._frames = measurement.frames
        self._lost = lost if lost.size < words.size else np.delete(lost, words.argmax())
        return {"integrations": measurement.frames, "lost": [int(place) for place in self._lost]}

    def on_file(self, file: FitsFile) -> list[dict[str, Any]]:
        """Take the rows out of every array that has one for each integration, and of the tables of times."""
        if not self._lost.size:
            return []
        events = []
        for hdu, extname in {plane.hdu: plane.extname for plane in self.task.product.planes}.items():
            lost = self._lost_rows(hdu)
            if lost is None:
                events.append(
                    {"hdu": hdu, "table": extname, "left_alone": "its rows are not those of the integrations"}
                )
            elif lost.size:
                events.append(_lose_rows(file, hdu, lost))
        return events + (self._told(file) if self.task.word("header") == "honest" else [])

    def _lost_rows(self, hdu: int) -> NDArray[np.int64] | None:
        """Return which rows of an HDU are those of the lost integrations; ``None`` where a table does not tell."""
        planes = [plane for plane in self.task.product.planes if plane.hdu == hdu and plane.shape]
        plane, rows = planes[0], planes[0].shape[0]
        if plane.extname in _TIMES:
            return self._lost_of(rows)
        number = next((each for each in planes if each.column.lower() == "integration_number"), None)
        if plane.extname == "GROUP" and number is not None:
            numbers = number.read(self.task.product.payload).reshape(-1)
            told = np.unique(numbers)
            lost = self._lost_of(told.size)
            return None if lost is None else np.flatnonzero(np.isin(numbers, told[lost]))
        own = plane.column and hdu in {item.sci.hdu for item in self.task.product.measurements}
        image = not plane.column and len(plane.shape) > 2
        return self._lost if (own or image) and rows == self._frames else self._lost[:0]

    def _lost_of(self, integrations: int) -> NDArray[np.int64] | None:
        """Return the places of the lost among the integrations of a table; ``None`` where it has not all of the file's.

        Numbers do not give them: those of a file that lost some before have gaps.
        """
        first = segment_start(self.task.product, integrations, self._frames)
        return self._lost + first if first + self._frames <= integrations else None

    def _told(self, file: FitsFile) -> list[dict[str, Any]]:
        """Let the header tell of fewer integrations: those of the exposure, the last of the file's, the exposure time.

        INTSTART stays: what became of the exposure's other files is not known. So does a card that an earlier effect
        spoilt.
        """
        lost, total = self._lost.size, self.task.product.count("NINTS")
        events = []
        for keyword in ("NINTS", "INTEND"):
            card, number = file.hdus[0].find(keyword), self.task.product.count(keyword)
            if card is not None and number is not None and number > lost and card_number(card) == number:
                file.hdus[0].replace_value(keyword, str(number - lost))
                before = card.decode("latin-1").rstrip()
                events.append({"hdu": 0, "keyword": keyword, "before": before, "value": number - lost})
        exposed = card_number(file.hdus[0].find("EFFEXPTM") or b"")
        if total and total > lost and exposed is not None and exposed == self.task.product.number("EFFEXPTM"):
            time = scale_card(file, 0, "EFFEXPTM", 1.0 - lost / total)
            events += [time] if time else []
        return events


def _lose_rows(file: FitsFile, index: int, lost: NDArray[np.intp]) -> dict[str, Any]:
    """Take rows of the slowest axis out of an HDU."""
    hdu = file.hdus[index]
    table = b"BINTABLE" in (hdu.find("XTENSION") or b"")
    axis = f"NAXIS{2 if table else _size(hdu, 'NAXIS')}"
    rows = _size(hdu, axis)
    body = np.frombuffer(bytes(file.data[hdu.data_offset : hdu.data_offset + hdu.data_bytes]), np.uint8)
    width = _size(hdu, "NAXIS1") if table else body.size // rows
    kept = np.delete(body[: rows * width].reshape(rows, width), lost, axis=0)
    # Behind the rows of a table may lie the heap of its columns of variable length.
    hdu.new_data = Pieces.of(kept.tobytes() + body[rows * width :].tobytes())
    hdu.replace_value(axis, str(rows - lost.size))
    if hdu.find("THEAP"):
        hdu.replace_value("THEAP", str(_size(hdu, "THEAP") - width * lost.size))
    return {"hdu": index, "keyword": axis, "rows_before": rows, "rows": rows - int(lost.size)}


def _size(hdu: Hdu, keyword: str) -> int:
    return int((hdu.find(keyword) or b"")[10:30].split(b"/")[0])


@register(
    EffectSpec(
        name="compression_loss",
        title="Lossy compression",
        code="F9",
        steady="its step belongs to the file",
        stage="digitization",
        model="S -> step (floor(S/step + u) - u + 1/2) with a dither u, or step floor(S/step) where it is truncated; "
        "step = coarseness times the typical noise",
        planes=("SCI", "ERR", "VAR_RNOISE"),
        parameters=(
            Parameter(
                "coarseness",
                "step of the values in units of the noise of a typical pixel (1/q)",
                severities=(0.0625, 0.125, 0.25, 0.5, 2.0),
                high=100.0,
                source="q = 16 to 2 of the FITS tile compression; level 5 is a proposal",
            ),
            Parameter(
                "way",
                "rounded with a subtractive dither, or what is below the step cut off, which takes half a step away on "
                "average and says so nowhere",
                default="dither",
                choices=("dither", "truncation"),
                source="SUBTRACTIVE_DITHER_1 of the FITS tile compression; low bits that are dropped",
            ),
        ),
        source="subtractive dither: the error is uniform and independent of the signal; truncation: uniform below it",
        test="added variance is step^2 / 12; the error is uniform; its mean is 0, of truncation -step / 2",
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
        """Round to the step with a dither, or down to it."""
        step = self._steps[id(block.measurement)]
        values = block.sci[0].astype(np.float64) / step
        if self.task.word("way") == "truncation":
            block.sci[0] = step * np.floor(values)
        else:
            words = self.task.stream(block.measurement.key).bits(block.plane(0), block.start, block.size)
            dither = words.astype(np.float64) / 4294967296.0
            block.sci[0] = step * (np.floor(values + dither) - dither + 0.5)
        block.add_variance("read", step * step / 12.0, self.task.err_honest)
