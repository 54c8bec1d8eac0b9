"""Convolution of what a detector saw: blur, charge that moves to a neighbour.

Holds: :func:`convolve_signal`, the convolution rule: the signal and its photon noise are spread, the read noise,
which came after, is not. Keep out kernels; they belong to the effects.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwosim_assets.perturb import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.compiled.convolution import Known, Pass, Room, Taps, Window
    from hwosim_assets.perturb.rng import Stream

__all__ = ["convolve_signal", "rows_reached"]

#: Pixels that are worked on at once, so that they stay in the cache.
_BAND = 65536
#: The same for compiled loops, which keep what they need in the cache by themselves, where they return a change.
_APART = 131072
#: Weights below this are not missed where they fall on an invalid pixel, and squared ones change no variance: single
#: precision does not see them.
_LEAST, _LEAST_SQUARED = 2.0**-22, 1e-10
#: Up to so many weights, what invalid pixels take away is looked up for their neighbours only.
_FEW = 25
#: Up to so many weights, what their patterns of invalid pixels leave of them stands in a table.
_TABLED = 12
#: Margins of rows for compiled loops are multiples of so many numbers: a line of the cache.
_LINE = 16


class _Pass(NamedTuple):
    """One pass of a convolution.

    Attributes
    ----------
    taps : tuple of (weight, tuple of (dy, dx))
        Weights in a fixed order, each with the shifts that have it.
    y, x : int
        How many rows and columns away it reaches.
    """

    taps: tuple[tuple[float, tuple[tuple[int, int], ...]], ...]
    y: int
    x: int

    @property
    def shifts(self) -> list[tuple[int, int]]:
        """All shifts in their order."""
        return [shift for _, shifts in self.taps for shift in shifts]

    def squared(self) -> _Pass:
        """Return the pass with squared weights."""
        return self._replace(taps=tuple((w * w, shifts) for w, shifts in self.taps if w * w > _LEAST_SQUARED))

    def seen(self) -> _Pass:
        """Return the pass without weights that are not missed."""
        return self._replace(taps=tuple((w, shifts) for w, shifts in self.taps if abs(w) > _LEAST))


def convolve_signal(
    block: Block,
    kernel: NDArray[np.float64] | tuple[Sequence[float], Sequence[float]],
    stream: Stream,
    honest: float,
    sub: int = 0,
) -> None:
    """Convolve the signal of whole rows, of each group of a ramp.

    S becomes K*S + sqrt((1 - sum K^2) VAR_RNOISE) z, VAR_POISSON becomes K^2*VAR_POISSON. Invalid pixels
    and those beyond the edge take no part; what is left of the kernel is normalised.

    Parameters
    ----------
    block : Block
        Whole rows of a frame with two axes (of ``on_frame``); rows near its ends are right only where the frame ends.
    kernel : float64 array, or two sequences
        Of odd sides and sum 1; or its factors along y and x.
    stream : Stream
        Of the noise that keeps the read noise as large as it was.
    honest : float
        ``task.err_honest``.
    sub : int
        Which words of the stream.
    """
    passes = _passes(kernel)
    stated = block.as_stated("poisson", honest)
    if stated is None:
        _convolve(block, passes, stream, honest, sub)
        return
    # Planes state another variance than there is, and that one is spread as well.
    _convolve(stated, passes, stream, 0.0, sub)
    _convolve(block, passes, stream, 0.0, sub)
    block.state("poisson", stated, honest)


def _convolve(block: Block, passes: list[_Pass], stream: Stream, honest: float, sub: int) -> None:
    """Do what :func:`convolve_signal` does where what planes state changes by what the true variance does."""
    if compiled.on():
        _convolve_by_loops(block, passes, stream, honest, sub)
        return
    y, x = (sum(getattr(one, axis) for one in passes) for axis in ("y", "x"))
    columns = block.measurement.frame[1]
    rows, height = block.size // columns, max(_BAND // columns, 1)
    for group in range(block.groups):
        padded = _padded(block, group, y, x)
        for top in range(0, rows, height):
            bottom = min(top + height, rows)
            noise = stream.normal(block.plane(group), block.start + top * columns, (bottom - top) * columns, sub)
            part = block.part(slice(top * columns, bottom * columns))
            _convolve_part(part, group, [plane[top : bottom + 2 * y] for plane in padded], passes, noise, honest)


def _convolve_by_loops(block: Block, passes: list[_Pass], stream: Stream, honest: float, sub: int) -> None:
    """Do what :func:`_convolve_part` does, by compiled loops."""
    from hwosim_assets.perturb.compiled.convolution import HEIGHT, convolve_rows

    kind, columns = block.sci.dtype, block.measurement.frame[1]
    rows = block.size // columns
    kernel = _steps(tuple(passes), kind)
    window, room = _room(tuple(passes), kind, columns, threading.get_ident())
    inert = np.empty((0, columns), bool) if block.inert is None else block.inert.reshape(rows, columns)
    accounts = block.accounts("poisson", honest)
    apart = not 1 <= len(accounts) <= 2  # all that loops change alike are these
    height = max(_APART // columns // HEIGHT, 1) * HEIGHT if apart else rows
    said = accounts[1].reshape(rows, columns) if len(accounts) == 2 else np.empty((0, columns), kind)
    for group in range(block.groups):
        planes = (block.sci, block.true["poisson"], block.true["read"])
        frame = (*(plane[group].reshape(rows, columns) for plane in planes), inert, said)
        for top in range(0, rows, height):
            here = slice(top * columns, min(top + height, rows) * columns)
            draws = stream.normals(block.plane(group), block.start + here.start, sub)
            change = np.zeros((block.groups, here.stop - here.start if apart else 0), kind)
            after, place = change[group].reshape(-1, columns), (top, here.stop // columns - top)
            convolve_rows(frame, draws, after, place, window, room, kernel)
            if apart:
                block.part(here).add_variance("poisson", change, honest)


def _two(passes: tuple[_Pass, ...]) -> tuple[_Pass, _Pass]:
    """Return two passes, of which the second changes nothing where there is none."""
    return passes[0], passes[1] if len(passes) > 1 else _pass(np.ones((1, 1)))


@lru_cache(maxsize=32)
def _steps(passes: tuple[_Pass, ...], kind: np.dtype[Any]) -> tuple[Pass, Pass, Known, Any]:
    """Return two passes as arrays, what invalid pixels leave of them, and what the read noise is multiplied with."""
    from hwosim_assets.perturb.compiled.convolution import Pass

    few = sum(len(one.seen().shifts) for one in passes) <= _FEW

    def arrays(one: _Pass) -> Pass:
        squares, seen = one.squared(), one.seen()
        types = (one, kind, False), (squares, kind, False), (seen, np.float32, few), (squares, np.float32, few)
        return Pass(*(_taps(*each) for each in types))

    first, second = (arrays(one) for one in _two(passes))
    left = kind.type(math.sqrt(max(1.0 - _total(one.squared() for one in passes), 0.0)))
    return first, second, _known(*_two(passes), few), left


def _known(first: _Pass, second: _Pass, few: bool) -> Known:
    """Return what each pattern of invalid pixels leaves of two passes; nothing where patterns are too many."""
    from hwosim_assets.perturb.compiled.convolution import Known

    inner, outer = first.seen(), second.seen()
    size, taps = len(inner.shifts), len(inner.shifts) * len(outer.shifts)
    if not few or taps > _TABLED:
        first_alike, second_alike = (np.ones(len(one.shifts), np.uint16) for one in (inner, outer))
        return Known(few, first_alike, second_alike, np.empty((0, 3), np.float32))
    patterns = np.arange(1 << taps, dtype=np.uint32)
    weight, share = np.zeros(patterns.shape, np.float32), np.zeros(patterns.shape, np.float32)
    for total, one, other in ((weight, inner, outer), (share, first.squared(), second.squared())):
        factors = {shift: factor for factor, shifts in other.taps for shift in shifts}
        for place, shift in enumerate(outer.shifts):
            if shift in factors:
                part = patterns >> np.uint32(place * size) & np.uint32((1 << size) - 1)
                total += np.float32(factors[shift]) * _summed(part, inner, one)
    empty = weight == 0
    weight[empty] = share[empty] = 1
    square = weight * weight
    bits = np.uint16(1) << np.arange(taps, dtype=np.uint16)
    return Known(
        few, bits[:size], bits[::size].copy(), np.stack([weight, square, np.maximum(1.0 - share / square, 0.0)], axis=1)
    )


@lru_cache(maxsize=8)
def _room(passes: tuple[_Pass, ...], kind: np.dtype[Any], columns: int, thread: int) -> tuple[Window, Room]:
    """Return a thread's room for rows within reach of passes, with invalid margins, and for what is made of them."""
    from hwosim_assets.perturb.compiled.convolution import HEIGHT, Room, Window

    def of(height: int, width: int, *kinds: Any) -> list[NDArray[Any]]:
        return [_aligned(height, width, np.dtype(one)) for one in kinds]

    first, second = (-(-one.x // _LINE) * _LINE for one in _two(passes))
    rows, between = HEIGHT + 2 * sum(one.y for one in passes), columns + 2 * second
    single, flag, pattern = np.float32, np.uint8, np.uint16
    window = Window(*of(rows, between + 2 * first, kind, kind, single, flag))
    own, near = of(HEIGHT, columns, kind, kind, single, single), of(HEIGHT, -(-columns // 8) * 8, pattern)
    room = Room(*of(HEIGHT, between, kind, single, pattern), *own, *near)
    for plane in (*window, room.near):
        plane[:] = 0
    window.bad[:] = room.near[:, :columns] = 1
    return window, room


def _aligned(height: int, width: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """Return an array that begins with a line of the cache: rows that lie across two take half as long again to sum."""
    size = height * width * kind.itemsize
    memory = np.empty(size + 64, np.uint8)
    begin = -memory.ctypes.data % 64
    return memory[begin : begin + size].view(kind).reshape(height, width)


def _taps(one: _Pass, kind: Any, apart: bool) -> Taps:
    """Return a pass as arrays, each shift a group of its own or not."""
    from hwosim_assets.perturb.compiled.convolution import Taps

    groups = [(weight, part) for weight, shifts in one.taps for part in (zip(shifts) if apart else (shifts,))]
    weights, parts = zip(*groups, strict=True)
    down, across = np.array(one.shifts, np.intp).T.copy()
    return Taps(np.array([*weights, 0, 0], kind), np.array([*map(len, parts), 0, 0, 0], np.intp), down, across)


def _total(passes: Iterable[_Pass]) -> float:
    """Return the sum of all weights."""
    return math.prod(sum(weight * len(shifts) for weight, shifts in one.taps) for one in passes)


def _padded(block: Block, group: int, y: int, x: int) -> list[NDArray[Any]]:
    """Return signal and photon variance, 0 where invalid, and what is invalid, with margins that are."""
    columns = block.measurement.frame[1]
    rows = block.size // columns
    inner = (slice(y, y + rows), slice(x, x + columns))
    values, shot = (np.zeros((rows + 2 * y, columns + 2 * x), block.sci.dtype) for _ in range(2))
    bad = np.ones(values.shape, bool)
    values[inner] = block.sci[group].reshape(rows, columns)
    shot[inner] = block.true["poisson"][group].reshape(rows, columns)
    np.logical_not(np.isfinite(values[inner]), out=bad[inner])
    if block.inert is not None:
        bad[inner] |= block.inert.reshape(rows, columns)
    places = np.flatnonzero(bad)
    values.reshape(-1)[places] = shot.reshape(-1)[places] = 0
    return [values, shot, bad]


def _convolve_part(
    part: Block, group: int, window: list[NDArray[Any]], passes: list[_Pass], noise: NDArray[np.float32], honest: float
) -> None:
    """Convolve the rows of ``part``, of which ``window`` has margins."""
    values, shot, bad = window
    squares = [one.squared() for one in passes]
    moved, after = _applied(values, passes).reshape(-1), _applied(shot, squares).reshape(-1)
    near, weight, share = _lacking(bad, [one.seen() for one in passes], squares)
    moved[near] /= weight
    after[near] /= weight * weight
    read = part.true["read"][group]
    added = np.sqrt(read)
    added *= noise
    added *= added.dtype.type(math.sqrt(max(1.0 - _total(squares), 0.0)))
    share = np.maximum(1.0 - share / (weight * weight), 0.0)
    added[near] = np.sqrt(read[near] * share) * noise[near]
    moved += added
    y, x = (sum(getattr(one, axis) for one in passes) for axis in ("y", "x"))
    invalid = near[bad[y : bad.shape[0] - y, x : bad.shape[1] - x].reshape(-1)[near]]
    moved[invalid] = part.sci[group, invalid]
    part.sci[group] = moved
    after -= part.true["poisson"][group]
    after[invalid] = 0
    change = after[None] if part.groups == 1 else np.zeros_like(part.sci)
    change[group if part.groups > 1 else 0] = after
    part.add_variance("poisson", change, honest)


def _lacking(
    bad: NDArray[np.bool_], passes: list[_Pass], squares: list[_Pass]
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Return the pixels that miss a part of the kernel, and for them the sums of the weights and squares that are left.

    1 for pixels without any.
    """
    y, x = (sum(getattr(one, axis) for one in passes) for axis in ("y", "x"))
    rows, columns = bad.shape[0] - 2 * y, bad.shape[1] - 2 * x
    if sum(len(one.shifts) for one in passes) > _FEW:
        near, valid = np.arange(rows * columns), (~bad).astype(np.float32)
        weight, share = (_applied(valid, steps).reshape(-1) for steps in (passes, squares))
    else:
        first, *others = passes
        lacks = _lacks(bad, first)
        spread = lacks
        for one in others:
            spread = reduce(np.bitwise_or, [_moved(spread, one, dy, dx) for dy, dx in one.shifts])
        near = (spread.reshape(-1) != 0).nonzero()[0]
        line, column = np.divmod(near, columns)
        places = line * lacks.shape[1] + column + (lacks.shape[1] - columns) // 2
        weight, share = (_left(lacks, places, first, steps) for steps in (passes, squares))
    empty = weight == 0
    weight[empty] = share[empty] = 1
    return near, weight, share


def _lacks(bad: NDArray[np.bool_], one: _Pass) -> NDArray[Any]:
    """Return as one bit for each shift of a pass, in order, which of them meet invalid pixels."""
    kind = np.uint8 if len(one.shifts) <= 8 else np.uint16 if len(one.shifts) <= 16 else np.uint32
    bits = bad.view(np.uint8).astype(kind, copy=False)
    found: NDArray[Any] | None = None
    for place, (dy, dx) in enumerate(one.shifts):
        bit = _moved(bits, one, dy, dx) << kind(place)
        found = bit if found is None else np.bitwise_or(found, bit, out=found)
    if found is None:
        raise ValueError("a kernel has a weight")
    return found


def _left(lacks: NDArray[Any], places: NDArray[np.intp], seen: _Pass, passes: Sequence[_Pass]) -> NDArray[np.float32]:
    """Return the sums of the weights of passes that meet valid pixels, for some places.

    ``lacks`` is :func:`_lacks` of ``seen``, the first pass, of whose shifts that of ``passes`` has the same or fewer.
    """
    first, *others = passes
    table = _table(seen, first) if len(seen.shifts) <= _TABLED else None

    def looked_up(where: NDArray[np.intp]) -> NDArray[np.float32]:
        patterns = lacks.reshape(-1).take(where)
        return _summed(patterns, seen, first) if table is None else table.take(patterns)

    if not others:
        return looked_up(places)
    total = np.zeros(places.size, np.float32)
    (last,) = others
    for weight, shifts in last.taps:
        for _, dx in shifts:
            total += np.float32(weight) * looked_up(places - dx)
    return total


@lru_cache(maxsize=32)
def _table(seen: _Pass, one: _Pass) -> NDArray[np.float32]:
    """Return :func:`_summed` of all patterns."""
    return _summed(np.arange(1 << len(seen.shifts), dtype=np.uint32), seen, one)


def _summed(patterns: NDArray[Any], seen: _Pass, one: _Pass) -> NDArray[np.float32]:
    """Return the sums of the weights of a pass that patterns of invalid pixels, as bits of ``seen``, leave."""
    weights = {shift: weight for weight, shifts in one.taps for shift in shifts}
    total = np.zeros(patterns.shape, np.float32)
    for place, shift in enumerate(seen.shifts):
        if shift in weights:
            total += np.float32(weights[shift]) * ((patterns >> patterns.dtype.type(place)) & 1 == 0)
    return total


def rows_reached(kernel: NDArray[np.float64] | tuple[Sequence[float], Sequence[float]]) -> int:
    """Return how many rows away a kernel takes its signal from."""
    return sum(one.y for one in _passes(kernel))


def _passes(kernel: NDArray[np.float64] | tuple[Sequence[float], Sequence[float]]) -> list[_Pass]:
    """Return the passes of a convolution: one along y and one along x where it can be parted, else one."""
    if isinstance(kernel, tuple):
        return [*_parted(*map(tuple, kernel))]
    return [_pass(kernel)]


@lru_cache(maxsize=32)
def _parted(along_y: tuple[float, ...], along_x: tuple[float, ...]) -> tuple[_Pass, _Pass]:
    """Return a pass along y and one along x; every band of a frame asks for the same."""
    return _pass(np.array(along_y)[:, None]), _pass(np.array(along_x)[None, :])


def _pass(kernel: NDArray[np.float64]) -> _Pass:
    height, width = kernel.shape
    groups: dict[float, list[tuple[int, int]]] = {}
    for y, x in zip(*np.nonzero(kernel), strict=True):
        groups.setdefault(float(kernel[y, x]), []).append((int(y) - height // 2, int(x) - width // 2))
    taps = tuple((weight, tuple(shifts)) for weight, shifts in groups.items())
    reach = (max((abs(shift[axis]) for _, shifts in taps for shift in shifts), default=0) for axis in (0, 1))
    return _Pass(taps, *reach)


def _moved(values: NDArray[Any], one: _Pass, dy: int, dx: int) -> NDArray[Any]:
    """Return values moved by a shift, without the margins of the pass."""
    rows, columns = values.shape[0] - 2 * one.y, values.shape[1] - 2 * one.x
    return values[one.y - dy : one.y - dy + rows, one.x - dx : one.x - dx + columns]


def _applied(values: NDArray[Any], passes: Sequence[_Pass]) -> NDArray[Any]:
    """Return values spread by the passes, each of which takes its margins away."""
    for one in passes:
        out = None
        for weight, shifts in one.taps:
            first, *others = (_moved(values, one, dy, dx) for dy, dx in shifts)
            if others:
                together = first + others[0]
                for other in others[1:]:
                    together += other
                together *= values.dtype.type(weight)
            else:
                together = first * values.dtype.type(weight)
            out = together if out is None else np.add(out, together, out=out)
        values = values if out is None else out
    return values
