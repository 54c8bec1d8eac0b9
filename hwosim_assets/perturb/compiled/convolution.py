"""The loops of a convolution: a few rows at once, so that what they need of their neighbours stays in the cache.

Holds: :func:`convolve_rows`, which makes the bits that ``perturb.convolve`` makes with numpy, and the tables that it
is given. Every sum is taken in numpy's order and in the type that numpy takes it in. Keep out which weights there are
and how deviates are drawn.

Each loop goes over rows by itself: to hand arrays to a function costs more than a row of them. Types of numbers are
written out, for a plain 0 or 1 would turn single into double precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwosim_assets.perturb.compiled.draws import MORE, normals_into
from hwosim_assets.perturb.compiled.loop import loop

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HEIGHT", "Known", "Pass", "Room", "Taps", "Window", "convolve_rows"]

#: Rows that are worked on at once.
HEIGHT = 16

_ZERO, _ONE = np.float32(0), np.float32(1)
_KNOWN, _BAD = np.uint8(0), np.uint8(1)
_NONE = np.uint16(0)
_1, _2 = np.uintp(1), np.uintp(2)


class Taps(NamedTuple):
    """The weights of one pass as arrays.

    Attributes
    ----------
    weights : floating array
        Of each group of shifts, in the type of what is spread: the values of a group are summed, then weighed.
    counts : int array
        How many shifts each group has. It ends with three groups of none.
    down, across : int array
        Shifts along y and x.
    """

    weights: NDArray[Any]
    counts: NDArray[np.intp]
    down: NDArray[np.intp]
    across: NDArray[np.intp]


class Window(NamedTuple):
    """The rows that are worked on, with the rows and columns within reach of them, or more columns.

    Attributes
    ----------
    values, shot : floating array (``HEIGHT`` and twice the reach, columns and margins)
        Signal and photon variance, 0 where invalid.
    valid : float32 array of this shape
        0 where invalid, else 1; of rows whose kernels are summed.
    bad : uint8 array of this shape
        1 where invalid, else 0.
    """

    values: NDArray[Any]
    shot: NDArray[Any]
    valid: NDArray[np.float32]
    bad: NDArray[np.uint8]


class Room(NamedTuple):
    """Room for what is worked out of a window.

    Attributes
    ----------
    between, left, near_between : array (``HEIGHT``, columns and margins of the second pass)
        After the first pass: of signal or variance, of weights, of what is near invalid pixels.
    moved, after : floating array (``HEIGHT``, columns)
        The signal and the photon variance, spread.
    weight, share : float32 array (``HEIGHT``, columns)
        What is left of the kernel, and of its squares.
    near : uint16 array (``HEIGHT``, columns and what makes them a multiple of 8)
        Which invalid pixels the kernel meets, as a pattern; not 0 where it is normalised.
    """

    between: NDArray[Any]
    left: NDArray[np.float32]
    near_between: NDArray[np.uint16]
    moved: NDArray[Any]
    after: NDArray[Any]
    weight: NDArray[np.float32]
    share: NDArray[np.float32]
    near: NDArray[np.uint16]


class Known(NamedTuple):
    """What invalid pixels leave of a kernel of few weights, by which of its pixels are invalid.

    Attributes
    ----------
    few : bool
        Whether only pixels near invalid ones are normalised.
    first, second : uint16 array
        What each shift of a pass multiplies a pattern with, that it gets bits of its own; 1 where these are too many.
    left : float32 array (patterns, 3)
        What is left of the kernel, its square, and the share of the read noise that it lacks; empty where the patterns
        are too many.
    """

    few: bool
    first: NDArray[np.uint16]
    second: NDArray[np.uint16]
    left: NDArray[np.float32]


class Pass(NamedTuple):
    """Both passes of a convolution, as :class:`Taps`: of the signal, of its variance, and of what is missed.

    Attributes
    ----------
    signal, variance : Taps
        Weights and their squares, in the type of the signal.
    seen, squares : Taps
        Weights that are missed where they meet an invalid pixel, and squares, float32.
    """

    signal: Taps
    variance: Taps
    seen: Taps
    squares: Taps


#: Compiles a loop: no step of its arithmetic is reordered or fused, and a division by 0 is numpy's.
_loop = loop(error_model="numpy")


@_loop
def _take(window: Any, place: Any, number: Any, sci: Any, poisson: Any, inert: Any) -> None:
    """Take a row into a place of the window; one beyond the edge is invalid."""
    columns, zero = sci.shape[1], window.values.dtype.type(0)
    margin = (window.values.shape[1] - columns) // 2
    inner = slice(margin, margin + columns)
    values, shot, bad = window.values[place, inner], window.shot[place, inner], window.bad[place, inner]
    if number < 0 or number >= sci.shape[0]:
        values[:] = zero
        shot[:] = zero
        bad[:] = _BAD
        return
    signal, variance = sci[number], poisson[number]
    for i in range(columns):
        value = signal[i]
        finite = value - value == zero
        values[i] = value if finite else zero
        shot[i] = variance[i] if finite else zero
        bad[i] = _KNOWN if finite else _BAD
    if inert.size:
        for i in range(columns):
            if inert[number, i]:
                values[i] = shot[i] = zero
                bad[i] = _BAD


@_loop
def _copy(target: Any, rows: Any) -> None:
    """Copy rows: an assignment of arrays takes numba seconds to compile, with all that it might have to refuse."""
    for row in range(target.shape[0]):
        line, values = target[row], rows[row]
        for i in range(line.size):
            line[i] = values[i]


@_loop
def _forget(plane: Any) -> None:
    """Move the last rows of a window, which the next rows need, to its begin."""
    _copy(plane[: plane.shape[0] - HEIGHT], plane[HEIGHT:])


@loop(inline="always")
def _add_group(line: Any, flat: Any, at: Any, begin: Any, end: Any, weight: Any, together: Any) -> None:
    """Add a group of shifts of one weight to a row."""
    columns, a, b = np.uintp(line.size), at[begin], at[min(begin + 1, end - 1)]
    if end - begin == 1:
        for i in range(columns):
            line[i] += flat[a + i] * weight
    elif end - begin == 2:
        for i in range(columns):
            line[i] += (flat[a + i] + flat[b + i]) * weight
    elif end - begin == 4:
        c, d = at[begin + 2], at[begin + 3]
        for i in range(columns):
            line[i] += (((flat[a + i] + flat[b + i]) + flat[c + i]) + flat[d + i]) * weight
    else:
        for i in range(columns):
            together[i] = flat[a + i] + flat[b + i]
        for tap in range(begin + 2, end):
            c = at[tap]
            for i in range(columns):
                together[i] += flat[c + i]
        for i in range(columns):
            line[i] += together[i] * weight


@_loop
def _spread(out: Any, rows: Any, taps: Any) -> None:
    """Sum the neighbours by the weights of a pass, small groups together; ``rows`` has margins that ``out`` has not."""
    (height, size), width, flat = out.shape, rows.shape[1], rows.reshape(-1)
    weights, counts, down, across = taps.weights, taps.counts, taps.down, taps.across
    y, x, columns = (rows.shape[0] - height) // 2, (width - size) // 2, np.uintp(size)
    # Places without sign cannot count from the end, which would have to be asked for each.
    at, together = np.empty(down.size, np.uintp), np.empty(size, rows.dtype)
    for number in range(height):
        for tap in range(down.size):
            at[tap] = (y + number - down[tap]) * width + x - across[tap]
        line = out[number]
        line[:] = -rows.dtype.type(0)  # to which anything may be added and keep its sign
        group = begin = 0
        while counts[group]:
            first, second, third = weights[group], weights[group + 1], weights[group + 2]
            if counts[group] == counts[group + 1] == counts[group + 2] == 1:
                a, b, c = at[begin], at[begin + 1], at[begin + 2]
                for i in range(columns):
                    line[i] = ((line[i] + flat[a + i] * first) + flat[b + i] * second) + flat[c + i] * third
                group, begin = group + 3, begin + 3
            elif counts[group] == 2 and counts[group + 1] == 1:
                a, b, c = at[begin], at[begin + 1], at[begin + 2]
                for i in range(columns):
                    line[i] = (line[i] + (flat[a + i] + flat[b + i]) * first) + flat[c + i] * second
                group, begin = group + 2, begin + 3
            elif counts[group] == counts[group + 1] == 2 and counts[group + 2] == 1:
                a, b, c, d, e = at[begin], at[begin + 1], at[begin + 2], at[begin + 3], at[begin + 4]
                for i in range(columns):
                    pair, other = (flat[a + i] + flat[b + i]) * first, (flat[c + i] + flat[d + i]) * second
                    line[i] = ((line[i] + pair) + other) + flat[e + i] * third
                group, begin = group + 3, begin + 5
            elif counts[group] == counts[group + 1] == 2:
                a, b, c, d = at[begin], at[begin + 1], at[begin + 2], at[begin + 3]
                for i in range(columns):
                    line[i] = (line[i] + (flat[a + i] + flat[b + i]) * first) + (flat[c + i] + flat[d + i]) * second
                group, begin = group + 2, begin + 4
            else:
                end = begin + counts[group]
                _add_group(line, flat, at, begin, end, first, together)
                group, begin = group + 1, end


@_loop
def _spread_twice(out: Any, between: Any, rows: Any, first: Any, second: Any) -> None:
    """Sum the neighbours by the weights of two passes."""
    _spread(between, rows, first)
    _spread(out, between, second)


@_loop
def _see(valid: Any, bad: Any) -> None:
    """Write as weights which pixels are valid."""
    for row in range(bad.shape[0]):
        line, invalid = valid[row], bad[row]
        for i in range(line.size):
            line[i] = _ZERO if invalid[i] else _ONE


@_loop
def _near(out: Any, bad: Any, taps: Any, factors: Any, columns: Any) -> None:
    """Find where a pass meets which invalid pixels."""
    y, x = (bad.shape[0] - out.shape[0]) // 2, (bad.shape[1] - columns) // 2
    for number in range(out.shape[0]):
        line = out[number, :columns]  # of a plane cut before, numba would not know that pixels of a row touch
        line[:] = _NONE
        for tap in range(taps.down.size):
            at, factor = x - taps.across[tap], factors[tap]
            row = bad[y + number - taps.down[tap], at : at + line.size]
            for i in range(line.size):
                line[i] |= row[i] * factor


@_loop
def _finish(sci: Any, poisson: Any, read: Any, noise: Any, scale: Any, bad: Any, room: Any) -> None:
    """Normalise what is left of the kernel, add noise for what it took of the read noise, and leave what shot gains."""
    moved, after, weight, share, near = room.moved, room.after, room.weight, room.share, room.near
    for row in range(sci.shape[0]):
        for i in range(sci.shape[1]):
            left, squares = weight[row, i], share[row, i]
            if left == _ZERO:
                left = squares = _ONE
            square = left * left
            lacking = _ONE - squares / square
            lacking = _ZERO if lacking < _ZERO else lacking
            whole = moved[row, i] + np.sqrt(read[row, i]) * noise[row, i] * scale
            part = moved[row, i] / left + np.sqrt(read[row, i] * lacking) * noise[row, i]
            value = part if near[row, i] else whole
            later = after[row, i] / square if near[row, i] else after[row, i]
            keeps = (near[row, i] != _NONE) & (bad[row, i] != _KNOWN)
            after[row, i] = after.dtype.type(0) if keeps else later - poisson[row, i]
            sci[row, i] = sci[row, i] if keeps else value


@_loop
def _finish_far(sci: Any, poisson: Any, read: Any, noise: Any, scale: Any, room: Any) -> None:
    """Do what :func:`_finish` does where no invalid pixel is near, and leave the others."""
    for row in range(sci.shape[0]):
        light, shot, still, deviates = sci[row], poisson[row], read[row], noise[row]
        moved, after, near = room.moved[row], room.after[row], room.near[row]
        for i in range(light.size):
            whole = moved[i] + np.sqrt(still[i]) * deviates[i] * scale
            light[i] = light[i] if near[i] else whole
            after[i] = after[i] if near[i] else after[i] - shot[i]


@_loop
def _seldom(near: Any, known: Any) -> Any:
    """Return whether it pays to go to the pixels near invalid ones one by one."""
    words, found = near.view(np.uint64), 0
    for row in range(words.shape[0]):
        for word in range(words.shape[1]):
            found += words[row, word] != 0
    return known.left.size > 0 and found * 3 < words.size


@_loop
def _finish_near(sci: Any, poisson: Any, read: Any, noise: Any, bad: Any, room: Any, known: Any) -> None:
    """Do what :func:`_finish` does where an invalid pixel is near, of which there are few."""
    words, places = room.near.view(np.uint64), np.empty(room.near.shape[1], np.uintp)
    table = known.left.reshape(-1)
    for row in range(sci.shape[0]):
        size, near = 0, room.near[row]
        for word in range(words.shape[1]):
            if words[row, word]:
                for i in range(word << 2, (word << 2) + 4):
                    places[size] = i
                    size += near[i] != _NONE
        light, shot, still, deviates, invalid = sci[row], poisson[row], read[row], noise[row], bad[row]
        moved, after = room.moved[row], room.after[row]
        for place in range(size):
            i = places[place]
            if invalid[i]:
                after[i] = after.dtype.type(0)
                continue
            pattern = np.uintp(near[i]) * np.uintp(3)
            left, square, lacking = table[pattern], table[pattern + _1], table[pattern + _2]
            light[i] = moved[i] / left + np.sqrt(still[i] * lacking) * deviates[i]
            after[i] = after[i] / square - shot[i]


@_loop
def _add(plane: Any, change: Any) -> None:
    """Add to rows."""
    for row in range(plane.shape[0]):
        for i in range(plane.shape[1]):
            plane[row, i] += change[row, i]


@_loop
def convolve_rows(group: Any, draws: Any, change: Any, place: Any, window: Any, room: Any, kernel: Any) -> None:
    """Convolve rows from a place on, where those above have been convolved.

    Parameters
    ----------
    group : tuple of array (rows, columns)
        Signal, which is changed in place, photon and read variance of a frame; as bool which pixels hold no data; and
        what else keeps the photon variance. The last two may be empty.
    draws : Draws
        Normal deviates of these rows.
    change : floating array (n, columns) or empty
        Takes what is to be added to the photon variance; where it is empty, that is added.
    place : (int, int)
        First row, and how many.
    window : Window
        Kept from call to call: its first rows are those above ``top``.
    room : Room
        To work in.
    kernel : tuple of Pass, Pass, Known, floating
        Along y and x, or all of the kernel and what changes nothing; where it is normalised and by what; and what read
        noise is multiplied with where all of it is known.
    """
    (sci, poisson, read, inert, said), (top, count), (first, second, known, scale) = group, place, kernel
    columns, reach = sci.shape[1], (window.values.shape[0] - HEIGHT) // 2
    margin = (window.values.shape[1] - columns) // 2
    for row in range(2 * reach if top == 0 else 0):
        _take(window, row, row - reach, sci, poisson, inert)
    drawn = np.empty(HEIGHT * columns + MORE, np.float32)
    for begin in range(0, count, HEIGHT):
        rows = min(HEIGHT, count - begin)
        part, here, near = slice(begin, begin + rows), slice(top + begin, top + begin + rows), slice(rows + 2 * reach)
        for row in range(2 * reach, 2 * reach + rows):
            _take(window, row, top + begin + row - reach, sci, poisson, inert)
        # Loops in place of calls one after the other are compiled once, which takes seconds.
        for out, seen, one, two in (
            (room.moved, window.values, first.signal, second.signal),
            (room.after, window.shot, first.variance, second.variance),
        ):
            _spread_twice(out[:rows], room.between[:rows], seen[near], one, two)
        noise = normals_into(drawn, draws, begin * columns, rows * columns).reshape(rows, columns)
        if known.few:
            met = room.near_between[:rows]
            _near(met, window.bad[near], first.seen, known.first, met.shape[1])
            _near(room.near[:rows], met, second.seen, known.second, columns)
        bad = window.bad[reach : reach + rows, margin : margin + columns]
        if _seldom(room.near, known):
            _finish_far(sci[here], poisson[here], read[here], noise, scale, room)
            _finish_near(sci[here], poisson[here], read[here], noise, bad, room, known)
        else:
            left, valid = room.left[:rows], window.valid[near]
            _see(valid, window.bad[near])
            for total, one, two in (
                (room.weight, first.seen, second.seen),
                (room.share, first.squares, second.squares),
            ):
                _spread_twice(total[:rows], left, valid, one, two)
            _finish(sci[here], poisson[here], read[here], noise, scale, bad, room)
        if change.size:
            _copy(change[part], room.after)
        else:
            _add(poisson[here], room.after)
            _add(said[here], room.after)
        _forget(window.values)
        _forget(window.shot)
        _forget(window.bad)
