"""How a detector is read out: which amplifier reads a pixel, and when in the frame.

Holds: :class:`Readout` and how it follows from a product's keywords. Keep out where pixels lie on the
detector in x and y, and what happens to them on the way (``perturb.effects``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product

    Integers = NDArray[np.int64]

__all__ = ["Readout", "find_readout"]

#: Width of a full frame along the fast axis, from which on four outputs are taken where NOUTPUTS is not said.
_FULL = 1024
_OUTPUTS = 4
#: Clocks between rows of a near-infrared detector (NGHXRG v2.6: 12), and seconds per clock (10 us).
ROW_OVERHEAD = 12
CLOCK_S = 1e-5


@dataclass(frozen=True)
class Readout:
    """The order in which the pixels of a frame are read.

    Attributes
    ----------
    rows, columns : int
        Shape of the frame.
    fast, slow : int
        FASTAXIS and SLOWAXIS: 1 along x, 2 along y, negative against it.
    outputs : int
        Amplifiers.
    interleaved : bool
        Whether neighbours along the fast axis belong to different amplifiers (MIRI); else each reads a stripe,
        every other one in the opposite direction (near-infrared detectors).
    method : str
        ``keywords``, or ``assumed`` where FASTAXIS and SLOWAXIS do not stand in the header.
    """

    rows: int
    columns: int
    fast: int
    slow: int
    outputs: int
    interleaved: bool
    method: str

    def record(self) -> dict[str, Any]:
        """Return it for the truth record."""
        return asdict(self)

    @property
    def width(self) -> int:
        """Pixels that one amplifier reads in a row."""
        along = self.columns if abs(self.fast) == 1 else self.rows
        return along // self.outputs

    @property
    def lines(self) -> int:
        """Rows along the slow axis."""
        return self.rows if abs(self.fast) == 1 else self.columns

    def places(self, start: int, count: int) -> tuple[Integers, Integers, Integers]:
        """Return (amplifier, line, place in the line as the amplifier reads it) of consecutive flat pixels.

        Parameters
        ----------
        start, count : int
            First flat pixel of the frame and how many.
        """
        y, x = np.divmod(np.arange(start, start + count, dtype=np.int64), self.columns)
        along, across = (x, y) if abs(self.fast) == 1 else (y, x)
        if self.fast < 0:
            along = self.width * self.outputs - 1 - along
        if self.slow < 0:
            across = self.lines - 1 - across
        if self.interleaved:
            place, amplifier = np.divmod(along, self.outputs)
            return amplifier, across, place
        amplifier, place = np.divmod(along, self.width)
        return amplifier, across, np.where(amplifier % 2 == 1, self.width - 1 - place, place)

    def clock(self, start: int, count: int) -> Integers:
        """Return how many clocks after the first pixel of its frame each of consecutive flat pixels is read."""
        _, line, place = self.places(start, count)
        return line * (self.width + ROW_OVERHEAD) + place


def find_readout(product: Product, measurement: Measurement) -> Readout | None:
    """Return the readout of a measurement, or ``None`` where its pixels are not those of a detector."""
    if measurement.sci.column or measurement.resampled or len(measurement.frame) < 2:
        return None
    rows, columns = measurement.frame
    fast, slow = (int(product.number(name) or 0) for name in ("FASTAXIS", "SLOWAXIS"))
    known = {abs(fast), abs(slow)} == {1, 2}
    if not known:
        fast, slow = 1, 2
    along = columns if abs(fast) == 1 else rows
    outputs = product.count("NOUTPUTS") or (_OUTPUTS if along >= _FULL else 1)
    if along % outputs:
        outputs = 1
    interleaved = str(product.keyword("INSTRUME") or "").strip().upper() == "MIRI"
    return Readout(rows, columns, fast, slow, outputs, interleaved, "keywords" if known else "assumed")
