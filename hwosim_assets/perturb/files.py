"""One file perturbed into another without either being in memory.

Holds: :func:`perturb_file`, and a product and its edited copy whose bytes stay in files, looked at a band of rows at a
time. The bytes are those of :func:`~hwosim_assets.perturb.run.perturb_product`. Keep out what is done to a band
(``perturb.run``) and products that came as bytes (``perturb.product``).
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.fits.blocks import GZIP_MAGIC, Scan, scan
from hwosim_assets.perturb.effect import Earlier, Effect, Task
from hwosim_assets.perturb.fitsfile import BandedViews, FitsFile, written
from hwosim_assets.perturb.product import Product
from hwosim_assets.perturb.registry import effect_class
from hwosim_assets.perturb.run import perturb_product, remembered_by, work_on
from hwosim_assets.perturb.stamp import stamp
from hwosim_assets.perturb.transfer import Kept, Views, fill
from hwosim_assets.perturb.truth import Truth, make_truth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.plan import Plan
    from hwosim_assets.perturb.planes import Plane

__all__ = ["open_in_place", "perturb_file"]

#: Bytes that are copied at once.
_COPIED = 1 << 22
#: Bytes of a file that may be in memory as a whole while it is perturbed.
_HELD = 1 << 28


class _Mapping:
    """The bytes of a file as memory that the system fills on demand and may take back.

    Parameters
    ----------
    path : Path
        The file.
    writable : bool
        Whether bytes may be written.
    held : bool
        Whether all of it is looked at more than once, so that a small file is better filled in at once and kept:
        each page that comes on demand costs as much as perturbing it.
    """

    def __init__(self, path: Path, *, writable: bool = False, held: bool = False) -> None:
        with path.open("r+b" if writable else "rb") as file:
            self._held = held and os.fstat(file.fileno()).st_size <= _HELD
            flags = mmap.MAP_SHARED | (getattr(mmap, "MAP_POPULATE", 0) if self._held else 0)  # Linux only
            access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            self._map = mmap.mmap(file.fileno(), 0, flags=flags, prot=access)
        self.view = memoryview(self._map)

    def release(self) -> None:
        """Give the memory back, unless it is held; the bytes stay in the file."""
        if not self._held:
            self._map.madvise(mmap.MADV_DONTNEED)


class MappedProduct(Product):
    """A plain FITS file that is read where it lies; it must not change meanwhile."""

    def __init__(self, path: Path, name: str, *, held: bool = False) -> None:
        super().__init__(name, b"")
        self.path = path
        self._mapping = _Mapping(path, held=held)

    @cached_property
    def sha256(self) -> str:
        """Hash of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def _unpacked(self) -> tuple[memoryview, Scan]:
        return self._mapping.view, scan(self.path, self.name)

    def release(self) -> None:
        """Give back the memory of what was looked at."""
        self._mapping.release()


class MappedFile(FitsFile):
    """An edited copy of a file that is itself a file.

    Parameters
    ----------
    product : MappedProduct
        The input.
    path : Path
        Where the copy is made.
    """

    def __init__(self, product: MappedProduct, path: Path) -> None:
        super().__init__(product.payload, product.scan)
        self._product = product
        self._path = path
        self._file = path.open("w+b", buffering=0)
        if hasattr(os, "posix_fallocate"):  # not on macOS; writing a file whose place is settled takes half as long
            try:
                os.posix_fallocate(self._file.fileno(), 0, len(self.content))
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # some network file systems settle nothing
                    raise

    def _whole(self) -> memoryview:
        self._mapping = _Mapping(self._path, writable=True)
        return self._mapping.view

    def _copy(self, start: int, stop: int) -> None:
        for place in range(start, stop, _COPIED):
            self.put(place, memoryview(self.content)[place : min(place + _COPIED, stop)])
            self._product.release()

    def put(self, offset: int, content: memoryview) -> None:
        """Write bytes by the file rather than by its mapping, whose pages would each fault."""
        while content:
            done = os.pwrite(self._file.fileno(), content, offset)
            content, offset = content[done:], offset + done

    def _views(self, item: Measurement, whole: set[int]) -> Views:
        return _FileViews(self, item, whole)

    def release(self) -> None:
        """Give back the memory of what was looked at."""
        self._product.release()
        if "data" in self.__dict__:
            self._mapping.release()

    def save(self) -> None:
        """Let the file hold the edited product."""
        parts = self.parts(self.data)
        if not self.in_place(parts, self.data):
            longer = self._path.with_suffix(".longer")
            try:
                with longer.open("wb") as out:
                    for part in written(parts):
                        for place in range(0, len(part), _COPIED):
                            out.write(memoryview(part)[place : place + _COPIED])
                            self.release()
                longer.replace(self._path)
            finally:
                longer.unlink(missing_ok=True)
        self._file.close()


class _FileViews(BandedViews):
    """Arrays of a file and of its copy that is a file."""

    def __init__(self, file: MappedFile, measurement: Measurement, whole: set[int]) -> None:
        super().__init__(file, measurement, whole)
        self._file = file

    def _put(self, plane: Plane, frame: int, part: slice, values: NDArray[Any], kept: Kept | None) -> None:
        stored = np.empty(values.shape, plane.stored)
        fill(plane, stored, values, kept)
        self._write(plane, frame, part, stored)

    def keep(self, plane: Plane, frame: int, part: slice) -> None:
        if plane.offset in self._whole:
            self._write(plane, frame, part, self[plane][frame, :, part])

    def _write(self, plane: Plane, frame: int, part: slice, stored: NDArray[Any]) -> None:
        _, groups, pixels = self.shape
        for group in range(groups):
            place = (frame * groups + group) * pixels + part.start
            self._file.put(plane.offset + place * plane.stored.itemsize, memoryview(stored[group].view(np.uint8)))


def perturb_file(source: Path, target: Path, plan: Plan, *, threads: int = 1, earlier: Sequence[Earlier] = ()) -> Truth:
    """Apply a plan to a file and write the result.

    The memory this takes is that of the input, or of a few bands of rows where the input is large, if effects allow it
    (``Effect.reach``) and no effect damages the finished file; a file that is compressed is perturbed in memory.

    Parameters
    ----------
    source, target : Path
        Input, under whose name random numbers are drawn, and output; the output appears when it is complete.
    plan : Plan
        What to do.
    threads, earlier
        As for :func:`~hwosim_assets.perturb.run.perturb_product`.

    Raises
    ------
    BadInputError
        When the input is no FITS file, or holds nothing that can be perturbed.
    HwosimError
        When the output cannot be written.
    """
    kinds = [effect_class(step.effect) for step in plan.effects]
    whole_at_once = not plan.effects or any(kind.on_bytes is not Effect.on_bytes for kind in kinds)
    product = open_in_place(source, held=not whole_at_once)
    if whole_at_once or not isinstance(product, MappedProduct):
        out, truth = perturb_product(Product.open(source), plan, threads=threads, earlier=earlier)
        out.write(target)
        return truth
    with _beside(target) as part:
        remembered = remembered_by(plan, earlier)
        file = MappedFile(product, part)
        effects = [
            kind(Task(step, product, plan.seed, plan.uid, remembered))
            for kind, step in zip(kinds, plan.effects, strict=True)
        ]
        steps, budgets, side = work_on(file, product, effects, threads)
        stamp(file, plan, steps)
        file.save()
        whole = MappedProduct(part, product.name)
        return make_truth(product, whole, plan, steps, budgets, side, remembered)


def open_in_place(source: Path, *, held: bool = False) -> Product:
    """Return a product that stays in its file, which must not change meanwhile; in memory where it is compressed.

    Parameters
    ----------
    source : Path
        The file.
    held : bool
        Whether all of it will be looked at more than once: one that is not large is then kept in memory.

    Raises
    ------
    BadInputError
        When the file cannot be read.
    """
    try:
        with source.open("rb") as file:
            plain = file.read(2) not in (GZIP_MAGIC, b"")
        return MappedProduct(source, source.name, held=held) if plain else Product.open(source)
    except OSError as error:
        raise BadInputError(str(source), error.strerror or "cannot be read", "check the path") from error


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Yield a file that becomes the target when all went well, and vanishes otherwise."""
    if target.exists() and not target.is_file():
        raise HwosimError(str(target), "is no regular file, which alone can be replaced", "give the path of a file")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(target)
    except OSError as error:
        raise HwosimError(str(target), error.strerror or "cannot be written", "check path and free space") from error
    finally:
        part.unlink(missing_ok=True)
