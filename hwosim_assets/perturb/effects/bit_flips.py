"""Bits that particles flip: in the numbers that a detector sends, and in files.

Holds: the effect B5 in both forms. The second breaks files, so that a scenario must say ``valid_only: false``. Keep
out other damage to files (``damage``), and packets that are lost (``telemetry``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwosim_assets.perturb.effect import Effect, NotApplicableError
from hwosim_assets.perturb.effects.axes import on_detector
from hwosim_assets.perturb.effects.damage import BLOCK
from hwosim_assets.perturb.effects.frames import FrameCache
from hwosim_assets.perturb.effects.particles import layers
from hwosim_assets.perturb.parameters import Parameter, rounded
from hwosim_assets.perturb.published import detector_of
from hwosim_assets.perturb.registry import register
from hwosim_assets.perturb.spec import EffectSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.rng import Stream

__all__ = ["BitFlips", "FileBitFlips", "Flips", "flips"]

#: Bits of the numbers that JWST's detectors send.
WIDTH = 16
#: The rate of the lowest layer of nested flips, per bit.
_LEAST = 1e-9
_RATE = Parameter(
    "rate",
    "flips for each bit",
    unit="/bit",
    high=1e-3,
    severities=(1e-9, 1e-8, 1e-7, 1e-6, 1e-5),
    source="a proposal: 1e-9 to 1e-5",
)


class Flips(NamedTuple):
    """Flipped bits among words of one width.

    Attributes
    ----------
    place : int64 array
        Which word.
    bit : int64 array
        Which bit of it, 0 the least.
    sign : float64 array
        1 or -1, for numbers whose bits are not there any more.
    """

    place: NDArray[np.int64]
    bit: NDArray[np.int64]
    sign: NDArray[np.float64]


def flips(stream: Stream, plane: int, rate: float, words: int, width: int) -> Flips:
    """Return the bits that flip; those of a smaller rate are among those of a larger one.

    Parameters
    ----------
    stream : Stream
        Of the product.
    plane : int
        Address of the frame.
    rate : float
        Flips for each bit.
    words, width : int
        How many numbers, of how many bits.
    """
    found = [np.empty((3, 0))]
    for sub, count, kept in layers(stream, plane, rate / _LEAST, words * width * _LEAST):
        place, bit, sign = (stream.uniform(plane, 0, count, sub + which)[kept] for which in (2, 3, 4))
        found.append(np.array([np.floor(place * words), np.floor(bit * width), np.where(sign < 0.5, -1.0, 1.0)]))
    place, bit, sign = np.concatenate(found, axis=1)
    return Flips(place.astype(np.int64), bit.astype(np.int64), sign)


@register(
    EffectSpec(
        name="bit_flips",
        title="Bits flipped by particles",
        code="B5",
        stage="digitization",
        model="a bit b of the 16-bit DN of a pixel flips: in a ramp the bit itself, in slopes +-2^b DN over the "
        "exposure, S += +-2^b g/k with the published gain g",
        planes=("SCI",),
        parameters=(_RATE,),
        source="single-event upsets in memory between detector and ground",
        test="flips are as many as the binomial distribution says, of every bit as often, anywhere; nested in the rate",
    )
)
class BitFlips(Effect):
    """Numbers that are wrong by a power of two; nothing in flags and uncertainties tells of it.

    Whether and what a flip changes shows in its pixel, so that each band tells of its own; in the truth they stand as
    they are drawn.
    """

    per_frame = True

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._per_dn: dict[int, float] = {}
        self._found = FrameCache(self._of_frame)

    def prepare(self, measurement: Measurement, budget: Budget) -> dict[str, Any]:
        """Find science units per DN."""
        detector = on_detector(self.task.product, measurement)
        words = (str(self.task.product.keyword(name) or "") for name in ("INSTRUME", "CHANNEL", "DETECTOR"))
        published = detector_of(*words)
        if measurement.ramp:
            per_dn = 1.0
        elif budget.k is None or published is None:
            raise NotApplicableError("electrons per science unit, or the gain of the detector, are not known")
        else:
            per_dn = rounded(published.gain / budget.k)
        self._per_dn[id(measurement)] = per_dn
        return {"detector": detector, "units_per_dn": per_dn, "bits": measurement.pixels * measurement.groups * WIDTH}

    def reach(self, measurement: Measurement) -> int:
        """Look at no neighbours."""
        return 0

    def on_frame(self, block: Block) -> None:
        """Flip."""
        pixels, order, found = self._found.of(block)
        here = block.here(pixels)
        order = order[here]
        group, pixel = found.place[order] // block.measurement.pixels, pixels[here] - block.start
        there = np.isfinite(block.sci[group, pixel])
        if block.inert is not None:
            there &= ~block.inert[pixel]
        order, group, pixel = order[there], group[there], pixel[there]
        bit = found.bit[order]
        change = found.sign[order] * np.ldexp(self._per_dn[id(block.measurement)], bit.astype(np.int32))
        if block.measurement.ramp:
            change = self._of_ramp(block, group, pixel, bit)
        np.add.at(block.sci, (group, pixel), change.astype(block.sci.dtype))
        block.record(self.use, order=order, group=group, pixel=pixel + block.start, bit=bit, change=change)

    def _of_frame(self, block: Block) -> tuple[NDArray[np.int64], NDArray[np.int64], Flips]:
        """Return (pixels of the flips of a block's frame, ascending; which flip each is; the flips as drawn)."""
        measurement = block.measurement
        stream, rate = self.task.stream(measurement.key), self.task.number("rate", block)
        found = flips(stream, block.frame, rate, measurement.pixels * measurement.groups, WIDTH)
        pixels = found.place % measurement.pixels
        order = np.argsort(pixels, kind="stable")
        return pixels[order], order, found

    @staticmethod
    def _of_ramp(
        block: Block, group: NDArray[np.int64], pixel: NDArray[np.int64], bit: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return what each flip changes in a ramp, whose numbers still have their bits."""
        whole = np.clip(np.floor(block.sci[group, pixel].astype(np.float64) + 0.5), 0, (1 << WIDTH) - 1)
        return np.where((whole.astype(np.int64) >> bit) & 1, -1.0, 1.0) * np.ldexp(1.0, bit.astype(np.int32))


@register(
    EffectSpec(
        name="file_bit_flips",
        title="Flipped bits of files",
        code="B5",
        steady="it belongs to the file",
        stage="file",
        model="bits of the file flip, headers included, its first 2880 bytes excepted; CHECKSUM stays as it was",
        planes=("file",),
        parameters=(_RATE,),
        source="decay of storage and errors of transfer that no check found",
        test="as many as the binomial distribution says, anywhere; the recorded bits differ; CHECKSUM fails",
        breaks_format=True,
    )
)
class FileBitFlips(Effect):
    """Damage to the finished file; readers may fail, or not notice."""

    def on_bytes(self, content: bytes) -> tuple[bytes, list[dict[str, Any]]]:
        """Flip bits behind the first block: a file that does not begin as FITS is no FITS file to anybody."""
        found = flips(self.task.stream("file"), 0, self.task.number("rate"), max(len(content) - BLOCK, 0), 8)
        if not found.place.size:
            return content, []
        damaged = bytearray(content)
        for place, bit in zip(found.place.tolist(), found.bit.tolist(), strict=True):
            damaged[BLOCK + place] ^= 1 << bit
        order = np.argsort(found.place, kind="stable")
        events = [{"offset": BLOCK + int(found.place[each]), "bit": int(found.bit[each])} for each in order]
        return bytes(damaged), events
