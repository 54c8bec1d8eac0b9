"""The planned pieces as numpy arrays, read out of the delivered FITS files.

Holds: :class:`DeliveredFiles`, which keeps a few files open, from the lake or made on the fly, proves
each against its hash when it is opened, and cuts out what a message carries. Keep out which pieces
there are (``tiling``), the thread in which the next file is opened (``ahead``) and how pieces are sent (``compose``).
"""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwosim_assets.errors import HwosimError
from hwosim_streaming.ahead import Ahead

if TYPE_CHECKING:
    from hwosim_assets.lake.store import Lake
    from hwosim_streaming.plan import StreamPlan

__all__ = ["DeliveredFiles"]

#: Files held open: detectors that expose at the same time take turns. Those that are made on the fly lie in memory:
#: these few, and more of them up to so many bytes in all. One that was let go too early is made again.
OPEN_FILES = 24
OPEN_MADE = 3
MADE_BYTES = 1 << 30

#: An open file: what closes it, and its HDUs.
Opened = tuple[ExitStack, Any]


class DeliveredFiles:
    """The files of a plan, each opened while messages of the one before it are sent. Use as a context manager.

    Parameters
    ----------
    lake : Lake
        Where the files lie.
    plan : StreamPlan
        Its ``products`` (manifest rows: ``key``, ``size_bytes`` and ``out_sha256`` are used) and their order.
    make : callable
        Returns the bytes of a product whose row has no key: its scenario stores no files. Called in a thread.

    Attributes
    ----------
    waited_s : list of float
        Seconds that the reader waited for a file, for each time that one was opened since time started.
    """

    def __init__(self, lake: Lake, plan: StreamPlan, make: Callable[[str], bytes]) -> None:
        self._lake = lake
        self._products = plan.products
        self._make = make
        self._open: OrderedDict[str, Opened] = OrderedDict()
        self._ahead = Ahead(self._opened, plan.order, _close)
        self.waited_s = self._ahead.waited_s

    def __enter__(self) -> DeliveredFiles:
        self._ahead.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ahead.close()
        while self._open:
            _close(self._open.popitem()[1])

    def read(self, message: Mapping[str, Any]) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
        """Return the arrays of a planned message by name, and their units where the file states them.

        Parameters
        ----------
        message : mapping
            A row of the plan's messages.

        Raises
        ------
        HwosimError
            If the file is missing, is not the one that the manifest names, or does not hold what
            the plan expects.
        """
        name = message["product_name"]
        hdus = self._hdus(name)
        arrays, units = {}, {}
        for array_name, number in zip(message["arrays"], message["array_hdus"], strict=True):
            try:
                array, unit = _cut(hdus[number], array_name, message)
            except (IndexError, KeyError, ValueError, TypeError, OSError) as error:
                raise HwosimError(
                    name,
                    f"HDU {number} ({array_name}) cannot be read: {error}",
                    "materialize its perturbed product anew",
                ) from error
            arrays[array_name] = array
            if unit:
                units[array_name] = unit
        return arrays, units

    def _hdus(self, name: str) -> Any:
        if name not in self._open:
            self._open[name] = self._ahead.take(name)
            while self._too_many():
                _close(self._open.popitem(last=False)[1])
        self._open.move_to_end(name)
        return self._open[name][1]

    def _too_many(self) -> bool:
        """Whether the file that was not read for the longest time is to be closed."""
        made = [self._products[name]["size_bytes"] for name in self._open if self._products[name]["key"] is None]
        return len(self._open) > OPEN_FILES or (len(made) > OPEN_MADE and sum(made) > MADE_BYTES)

    def _opened(self, name: str) -> Opened:
        """Open a file that is the one of the manifest."""
        from hwosim_assets.fits.opening import open_fits

        row = self._products[name]
        with ExitStack() as stack:
            stored = row["key"] is not None
            source = stack.enter_context(self._lake.local_copy(row["key"])) if stored else self._make(name)
            _prove(source, row["out_sha256"], name)
            hdus = stack.enter_context(open_fits(source, name))
            return stack.pop_all(), hdus


def _close(opened: Opened) -> None:
    """Close an open file."""
    opened[0].close()


def _text(hdu: Any, name: str, rows: slice) -> npt.NDArray[Any]:
    """Return a text column as the bytes of the file, of the column's width in every block.

    Trailing blanks, which FITS gives no meaning, are taken off.
    """
    raw = hdu.data.view(np.ndarray)[name][rows]
    stripped: npt.NDArray[Any] = np.char.rstrip(raw, b" ").astype(raw.dtype)
    return stripped


def _prove(source: Path | bytes, sha256: str, name: str) -> None:
    """Compare a file with the hash the manifest has of it: the truth speaks of these bytes alone."""
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise HwosimError(
            name,
            f"has the hash {found[:12]}… and {sha256[:12]}… in the manifest",
            "materialize its perturbed product anew",
        )


def _cut(hdu: Any, name: str, message: Mapping[str, Any]) -> tuple[npt.NDArray[Any], str | None]:
    span = tuple(
        slice(start, start + length) for start, length in zip(message["origin"], message["shape"], strict=True)
    )
    if message["kind"] == "table":
        column = np.asarray(hdu.data.field(name)[span[0]])
        unit = hdu.columns[name].unit
        array = _text(hdu, name, span[0]) if column.dtype.kind == "U" else column
        expected = (message["shape"][0], *array.shape[1:])
    else:
        numbered = (message["integration"] is not None) + (message["group"] is not None)
        expected = tuple(message["shape"][numbered:])
        array = np.asarray(hdu.data[span])
        array = array.reshape(array.shape[numbered:])
        # The unit is the science array's; DQ flags have none.
        unit = None if name.endswith("DQ") else hdu.header.get("BUNIT")
    if array.shape != expected:
        raise ValueError(f"its part has the shape {array.shape} and not {expected}")
    return array, unit if isinstance(unit, str) else None
