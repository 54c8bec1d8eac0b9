"""Draws in one pass: random words, the table that makes deviates of them, and more bits for the few that need them.

Holds: Philox 4x64-10 as numpy has it, and the loops of :class:`hwosim_assets.perturb.rng.Stream`, whose numpy code says
what each of them returns. Keep out the tables and the keys, which are made there, and what effects do with deviates.

Sixteen pixels share a step of the counter, so loops work on whole steps and cut off what was not asked for. ``draws``
are :class:`hwosim_assets.perturb.rng.Draws`; an ``address`` is (plane, set of words, where SplitMix64 begins for words
that need more bits). Who uses deviates at once draws a few thousand at a time, so that they need no room of their own.

The words take half of the time, and a branch for each pixel as much as its look-up; so whole steps are asked whether
any of their words needs more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hwosim_assets.perturb.compiled.loop import loop

__all__ = [
    "MORE",
    "below",
    "counts_into",
    "counts_of",
    "normals",
    "normals_at",
    "normals_into",
    "octaves",
    "poissons",
]

_FIRST, _SECOND = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_FIRST_KEYS, _SECOND_KEYS = (
    tuple(np.uint64(turn * step & 0xFFFFFFFFFFFFFFFF) for turn in range(10))
    for step in (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
)
_LOW = np.uint64(0xFFFFFFFF)
_FIRST_LOW, _SECOND_LOW = _FIRST & _LOW, _SECOND & _LOW
_FIRST_HIGH, _SECOND_HIGH = _FIRST >> np.uint64(32), _SECOND >> np.uint64(32)
_STEP, _FACTOR, _LAST_FACTOR = (
    np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_ONE, _12, _16, _27, _30, _31, _32, _48, _52 = (np.uint64(number) for number in (1, 12, 16, 27, 30, 31, 32, 48, 52))
#: Steps of the counter in a tile of 65536 pixels, as a mask and a shift.
_IN_TILE, _TILE = np.uint64(4095), _12
_WORD = np.uint64(0xFFFF)
#: Words of the ends of the normal distribution.
_ENDS = np.uint64(32)
_FOUR_TOPS, _FOUR_ENDS, _FOUR_ONES = (np.uint64(word * 0x0001000100010001) for word in (0x8000, 32, 1))
_HALF = np.uint64(0x8000)
#: Pixels of whole steps beside those that are asked for, at the most.
MORE = 30
#: Steps whose words are made at once, so that they are near when they are used.
_SOME = 256


@njit(inline="always")
def _product(word: Any, factor: Any, factor_low: Any, factor_high: Any) -> Any:
    """Return the upper and the lower 64 bits of the product of two words, from the halves of both.

    Processors multiply eight such halves at once, and whole words with a product of 128 bits one by one: words for a
    plane take 1.4 ms in place of 2.3.
    """
    low, high = word & _LOW, word >> _32
    cross = low * factor_high
    middle = (low * factor_low >> _32) + (cross & _LOW) + high * factor_low
    return high * factor_high + (cross >> _32) + (middle >> _32), word * factor


@njit(inline="always")
def _round(x0: Any, x1: Any, x2: Any, x3: Any, first: Any, second: Any) -> Any:
    """Return the words after a round of Philox."""
    high, low = _product(x0, _FIRST, _FIRST_LOW, _FIRST_HIGH)
    other, other_low = _product(x2, _SECOND, _SECOND_LOW, _SECOND_HIGH)
    return other ^ x1 ^ first, other_low, high ^ x3 ^ second, low


@loop()
def _write(w0: Any, w1: Any, w2: Any, w3: Any, begin: Any, address: Any, key: Any) -> None:
    """Write the four words of consecutive steps of the counter; numpy counts on before it makes them.

    The ten rounds are written out, for a loop within a loop is not compiled to vectors.
    """
    (plane, sub), (a, b) = address, key
    for index in range(w0.size):
        step = begin + np.uint64(index)
        x0, x1, x2, x3 = _round((step & _IN_TILE) + _ONE, step >> _TILE, plane, sub, a, b)
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, a + _FIRST_KEYS[1], b + _SECOND_KEYS[1])
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, a + _FIRST_KEYS[2], b + _SECOND_KEYS[2])
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, a + _FIRST_KEYS[3], b + _SECOND_KEYS[3])
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, a + _FIRST_KEYS[4], b + _SECOND_KEYS[4])
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, a + _FIRST_KEYS[5], b + _SECOND_KEYS[5])
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, a + _FIRST_KEYS[6], b + _SECOND_KEYS[6])
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, a + _FIRST_KEYS[7], b + _SECOND_KEYS[7])
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, a + _FIRST_KEYS[8], b + _SECOND_KEYS[8])
        w0[index], w1[index], w2[index], w3[index] = _round(x0, x1, x2, x3, a + _FIRST_KEYS[9], b + _SECOND_KEYS[9])


@loop()
def _words(room: Any, begin: Any, end: Any, address: Any, key: Any) -> Any:
    """Return the four words of steps of the counter under a key of two, each an array, in a room of (5, steps)."""
    size, (plane, sub, _), (first, second) = end - begin, address, key
    words = room[0, :size], room[1, :size], room[2, :size], room[3, :size]
    _write(words[0], words[1], words[2], words[3], np.uint64(begin), (plane, sub), (first, second))
    return words


@njit(inline="always")
def _below(words: Any, four: Any) -> Any:
    """Return the top bits of those of four short words that are below a number up to half, ``four`` of it.

    Where the number is taken from a word whose top bit was set, that bit stays but for a word below it.
    """
    return ~(((words | _FOUR_TOPS) - four) | words) & _FOUR_TOPS


@loop()
def _any_below(out: Any, w0: Any, w1: Any, w2: Any, w3: Any, four: Any) -> Any:
    """Return where one of the sixteen short words of a step is below a number up to half, ``four`` of it; else 0."""
    near = out[: w0.size]
    for step in range(w0.size):
        near[step] = _below(w0[step], four) | _below(w1[step], four) | _below(w2[step], four) | _below(w3[step], four)
    return near


@loop()
def _finer(place: Any, begin: Any) -> Any:
    """Return the 64 bits that SplitMix64 adds to the word of a pixel."""
    word = np.uint64(place) * _STEP + begin + _STEP
    word = (word ^ (word >> _30)) * _FACTOR
    word = (word ^ (word >> _27)) * _LAST_FACTOR
    return word ^ (word >> _31)


@njit(inline="always")
def _look_up(out: Any, at: Any, words: Any, table: Any) -> None:
    """Write what a table says of the four short words in a long one."""
    out[at] = table[words & _WORD]
    out[at + 1] = table[words >> _16 & _WORD]
    out[at + 2] = table[words >> _32 & _WORD]
    out[at + 3] = table[words >> _48]


@loop()
def normals_into(out: Any, draws: Any, begin: int, count: int) -> Any:
    """Write standard normal deviates of pixels, ``begin`` after the first of the draws, into ``out``; return them.

    ``out`` has room for :data:`MORE` others. See :meth:`hwosim_assets.perturb.rng.Stream.normal`.
    """
    start, address, key, middle, ends = draws
    first, skip, mixed = (start + begin) >> 4, (start + begin) & 15, address[2]
    steps = (skip + count + 15) >> 4
    room = np.empty((5, _SOME), np.uint64)
    for part in range(0, steps, _SOME):
        w0, w1, w2, w3 = _words(room, first + part, first + min(part + _SOME, steps), address, key)
        for step in range(w0.size):
            at = part + step << 4
            _look_up(out, at, w0[step], middle)
            _look_up(out, at + 4, w1[step], middle)
            _look_up(out, at + 8, w2[step], middle)
            _look_up(out, at + 12, w3[step], middle)
        near = _any_below(room[4], w0, w1, w2, w3, _FOUR_ENDS)
        for step in range(near.size):
            if near[step]:
                for lane in range(16):
                    word = room[lane >> 2, step] >> np.uint64((lane & 3) << 4) & _WORD
                    if word < _ENDS:
                        fine = _finer((first + part + step << 4) + lane, mixed) >> _52
                        out[(part + step << 4) + lane] = ends[(word << _12) + fine]
    return out[skip : skip + count]


@loop()
def counts_into(out: Any, draws: Any, begin: int, count: int) -> Any:
    """Write Poisson counts of one mean into ``out`` and return them; see :func:`normals_into`."""
    start, address, key, guide, cumulative = draws
    first, skip, mixed = (start + begin) >> 4, (start + begin) & 15, address[2]
    steps = (skip + count + 15) >> 4
    signs, room = out.view(np.int32), np.empty((5, _SOME), np.uint64)
    for part in range(0, steps, _SOME):
        w0, w1, w2, w3 = _words(room, first + part, first + min(part + _SOME, steps), address, key)
        for step in range(w0.size):
            at = part + step << 4
            _look_up(out, at, w0[step], guide)
            _look_up(out, at + 4, w1[step], guide)
            _look_up(out, at + 8, w2[step], guide)
            _look_up(out, at + 12, w3[step], guide)
        for step in range(w0.size):
            at, sign = part + step << 4, np.int32(0)
            for lane in range(16):
                sign |= signs[at + lane]
            if sign < 0:
                for lane in range(16):
                    if out[at + lane] < 0:
                        word = room[lane >> 2, step] >> np.uint64((lane & 3) << 4) & _WORD
                        fine = np.float64(_finer((first + part + step << 4) + lane, mixed) >> _32)
                        chance = (np.float64(word) * 4294967296.0 + fine + 0.5) / 281474976710656.0
                        out[at + lane] = np.searchsorted(cumulative, chance, side="right")
    return out[skip : skip + count]


@loop()
def normals(count: int, draws: Any) -> Any:
    """Return standard normal deviates, float32."""
    return normals_into(np.empty(count + MORE, np.float32), draws, 0, count)


@loop()
def poissons(count: int, draws: Any) -> Any:
    """Return Poisson counts of one mean, float32; see :meth:`hwosim_assets.perturb.rng.Stream.poisson`."""
    return counts_into(np.empty(count + MORE, np.float32), draws, 0, count)


@loop()
def octaves(cells: Any, weights: Any, addresses: Any, draws: Any) -> Any:
    """Return a series that holds the deviates of each octave over cells of twice as many steps, float32.

    Parameters
    ----------
    cells : int64 array, (octaves, 3)
        The first cell of each octave, how many, and how many before it the cells of the octave above begin.
    weights : float32 array, (octaves,)
        Standard deviations.
    addresses : uint64 array, (octaves, 3)
        Where the words of each come from.
    draws : Draws
        The rest that deviates are drawn with.
    """
    _, _, key, middle, ends = draws
    above = np.empty(0, np.float32)
    for octave in range(weights.size - 1, -1, -1):
        first, size, before = cells[octave]
        draw = first, addresses[octave], key, middle, ends
        values, weight = normals_into(np.empty(size + MORE, np.float32), draw, 0, size), weights[octave]
        if above.size:
            for place in range(size):
                values[place] = values[place] * weight + above[(before + place) >> 1]
        else:
            for place in range(size):
                values[place] *= weight
        above = values
    return above


@loop()
def below(start: int, count: int, address: Any, key: Any, high: Any, low: Any) -> Any:
    """Return which pixels have words below (high, low), and these; see ``perturb.rng.Stream.below``."""
    first, end, mixed = start >> 4, (start + count + 15) >> 4, address[2]
    high, low = np.uint64(high), np.uint64(low)
    # A word up to ``high`` shows as those of the ends do; beyond half all are looked at.
    four = min(high + _ONE, _HALF) * _FOUR_ONES
    room, found, words, many = np.empty((5, _SOME), np.uint64), np.empty(count, np.intp), np.empty(count, np.uint32), 0
    for part in range(first, end, _SOME):
        w0, w1, w2, w3 = _words(room, part, min(part + _SOME, end), address, key)
        near = _any_below(room[4], w0, w1, w2, w3, four)
        for step in range(near.size):
            if near[step] or high >= _HALF:
                for lane in range(16):
                    long = room[lane >> 2, step]
                    if high < _HALF and not _below(long, four):
                        continue
                    word, place = long >> np.uint64((lane & 3) << 4) & _WORD, (part + step << 4) + lane
                    if word <= high and start <= place < start + count:
                        fine = _finer(place, mixed) >> _48
                        if word < high or fine < low:
                            found[many], words[many] = place - start, (word << _16) + fine
                            many += 1
    return found[:many].copy(), words[:many].copy()


@njit(inline="always")
def _deviate(word: Any, firsts: Any, slopes: Any, lower: Any) -> Any:
    """Return the standard normal deviate of a word of 32 bits; see :func:`hwosim_assets.perturb.rng.normal`."""
    cell = word >> 20
    value = np.float32(word & 0xFFFFF) * slopes[cell] + firsts[cell]
    if not 0 < cell < 4095:
        word = 0xFFFFFFFF - word if cell else word
        part = max((word >> 10) - 1, 0)
        value = lower[word] if word < 1024 else np.float32(word & 1023) * lower[2047 + part] + lower[1024 + part]
        value = -value if cell else value
    return value


@loop()
def normals_at(places: Any, begin: Any, tables: Any) -> Any:
    """Return standard normal deviates of single pixels, float32."""
    out, (firsts, slopes, lower) = np.empty(places.size, np.float32), tables
    for index in range(places.size):
        out[index] = _deviate(np.int64(_finer(places[index], begin) >> _32), firsts, slopes, lower)
    return out


@loop()
def counts_of(bits: Any, means: Any, few: float, powers: Any, tables: Any) -> Any:
    """Return Poisson counts of a mean each, float32; see :func:`hwosim_assets.perturb.rng.poisson`.

    ``few`` is the largest mean that is drawn exactly, ``powers`` are those of e, ``tables`` those of the deviates.
    """
    out, (whole, parts), (firsts, slopes, lower) = np.empty(bits.size, np.float32), powers, tables
    two, sixth, small = np.float32(2.0), np.float32(1.0 / 6.0), np.float32(1.0 / 72.0)
    for index in range(bits.size):
        mean = means[index]
        if mean <= few:
            step = np.floor(mean * 1024.0)
            rest, at = mean - step / 1024.0, np.intp(step)
            poly = 1.0 - rest * (1.0 - rest * (0.5 - rest * (1.0 / 6.0 - rest * (1.0 / 24.0))))
            chance = whole[at >> 10] * parts[at & 1023] * poly
            place, below, count = (np.float64(bits[index]) + 0.5) / 4294967296.0, chance, 0
            while place >= below and count < 99:
                count += 1
                chance *= mean / np.float64(count)
                below += chance
            out[index] = np.float32(count)
        else:
            w, m = _deviate(np.int64(bits[index]), firsts, slopes, lower), np.float32(mean)
            root, square = np.sqrt(m), w * w
            value = (square + two) * sixth
            value += root * w
            value += m
            value -= w * (square + two) * small / root
            out[index] = np.floor(value)
    return out
