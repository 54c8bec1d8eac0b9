"""Arrays of a FITS file where they lie: how stored bytes become native numbers and back.

Holds: :class:`Plane`, one image extension or one table column, read and written in place without
scaling anything twice. Keep out which planes belong together; that is ``perturb.measurements``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Plane"]


@dataclass(frozen=True)
class Plane:
    """One array inside the bytes of a FITS file.

    Attributes
    ----------
    hdu : int
        Index of its HDU.
    extname, extver : str, int
        Of its HDU.
    column : str
        Column name; empty for an image.
    shape : tuple of int
        Of the array in numpy order; the first axis of a column counts rows.
    dtype : str
        Native numpy type after the unsigned-integer convention (``uint32`` for DQ).
    offset : int
        Byte offset of the first element in the file.
    row_stride : int
        Bytes from one row of a table to the next; 0 for an image.
    unit : str
        BUNIT or TUNIT, empty when absent.
    """

    hdu: int
    extname: str
    extver: int
    column: str
    shape: tuple[int, ...]
    dtype: str
    offset: int
    row_stride: int = 0
    unit: str = ""

    @property
    def name(self) -> str:
        """``SCI,1`` for an image, ``EXTRACT1D,1/FLUX`` for a column."""
        return f"{self.extname},{self.extver}" + (f"/{self.column}" if self.column else "")

    @cached_property
    def stored(self) -> np.dtype[Any]:
        """Big-endian type of the stored elements (signed where FITS stores an offset)."""
        native = np.dtype(self.dtype)
        kind = "i" if native.kind == "u" and native.itemsize > 1 else native.kind
        return np.dtype(f">{kind}{native.itemsize}")

    @cached_property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def raw(self, content: bytes | bytearray | memoryview) -> NDArray[Any]:
        """Return the stored elements as a view of the file's bytes, in this plane's shape."""
        stored = self.stored
        strides = None
        if self.row_stride:
            inner = np.empty(self.shape[1:], stored).strides
            strides = (self.row_stride, *inner)
        return np.ndarray(self.shape, stored, content, self.offset, strides)

    def decode(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return stored elements as native numbers, in a new array."""
        native = np.dtype(self.dtype)
        if self.stored.kind == native.kind:
            return raw.astype(native)
        numbers = raw.astype(f"=i{native.itemsize}").view(native)
        numbers ^= _sign_bit(native)
        return np.asarray(numbers)

    def put(self, values: NDArray[Any], target: NDArray[Any]) -> None:
        """Write native numbers into stored elements of the same shape."""
        native = np.dtype(self.dtype)
        if self.stored.kind == native.kind:
            target[...] = values
            return
        unsigned = target.view(native.newbyteorder(">"))
        np.bitwise_xor(values.astype(native, copy=False), _sign_bit(native), out=unsigned)

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return native numbers as they are stored, in a new array."""
        stored = np.empty(values.shape, self.stored)
        self.put(values, stored)
        return stored

    def read(self, content: bytes | bytearray | memoryview) -> NDArray[Any]:
        """Return the whole array as native numbers."""
        return self.decode(self.raw(content))


def _sign_bit(native: np.dtype[Any]) -> Any:
    """Return the offset of FITS's unsigned integers, whose addition is a flip of the sign bit."""
    return native.type(1 << (8 * native.itemsize - 1))
