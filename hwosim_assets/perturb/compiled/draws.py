"""Draws in one pass: random words, the table that makes deviates of them, and more bits for the few that need them.

Holds: Philox 4x64-10 as numpy has it, and the loops of :class:`hwosim_assets.perturb.rng.Stream`, whose numpy code says
what each of them returns. Keep out the tables and the keys, which are made there, and what effects do with deviates.

Sixteen pixels share a step of the counter, so loops work on whole steps and cut off what was not asked for. ``draws``
are :class:`hwosim_assets.perturb.rng.Draws`; an ``address`` is (plane, set of words, where SplitMix64 begins for words
that need more bits). Who uses deviates at once draws a few thousand at a time: then they, and the table, stay in the
cache (a plane takes 5.4 ms where they leave it, 3.5 where not). Numba compiles such loops anew when their own file has
changed, not when this one has. The words alone take two thirds of the time, and a branch for
each pixel as much as its look-up; so whole steps are asked whether any of their words needs more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["MORE", "below", "counts_into", "normals", "normals_at", "normals_into", "poissons"]

_FIRST, _SECOND = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_FIRST_KEY, _SECOND_KEY = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
_STEP, _FACTOR, _LAST_FACTOR = (
    np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_ONE, _12, _16, _27, _30, _31, _32, _48, _52 = (np.uint64(number) for number in (1, 12, 16, 27, 30, 31, 32, 48, 52))
#: Steps of the counter in a tile of 65536 pixels, as a mask and a shift.
_IN_TILE, _TILE = np.uint64(4095), _12
_WORD = np.uint64(0xFFFF)
#: Words of the ends of the normal distribution. Where their number is taken from a word whose top bit was set, that bit
#: stays but for a word of the ends (and for one of as few others).
_ENDS = np.uint64(32)
_FOUR_TOPS, _FOUR_ENDS, _FOUR_ONES = (np.uint64(word * 0x0001000100010001) for word in (0x8000, 32, 1))
_HALF = np.uint64(0x8000)
#: Pixels of whole steps beside those that are asked for, at the most.
MORE = 30
#: Steps whose counts are looked through while they are near.
_SOME = 64


@intrinsic
def _product(context: Any, left: Any, right: Any) -> Any:
    """Return the upper and the lower 64 bits of the product of two words, for which numba has no type."""

    def made(context: Any, builder: Any, signature: Any, words: Any) -> Any:
        wide, word = ir.IntType(128), ir.IntType(64)
        product = builder.mul(*(builder.zext(factor, wide) for factor in words))
        upper = builder.lshr(product, ir.Constant(wide, 64))
        halves = [builder.trunc(upper, word), builder.trunc(product, word)]
        return context.make_tuple(builder, signature.return_type, halves)

    return types.UniTuple(types.uint64, 2)(types.uint64, types.uint64), made


@njit(cache=True, nogil=True)
def _philox(step: Any, plane: Any, sub: Any, first: Any, second: Any) -> Any:
    """Return the four words of a step of the counter under a key of two; numpy counts on before it makes them."""
    x0, x1, x2, x3 = (step & _IN_TILE) + _ONE, step >> _TILE, plane, sub
    for _ in range(10):
        high, low = _product(_FIRST, x0)
        other_high, other_low = _product(_SECOND, x2)
        x0, x1, x2, x3 = other_high ^ x1 ^ first, other_low, high ^ x3 ^ second, low
        first += _FIRST_KEY
        second += _SECOND_KEY
    return x0, x1, x2, x3


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def normals_into(out: Any, draws: Any, begin: int, count: int) -> Any:
    """Write standard normal deviates of pixels, ``begin`` after the first of the draws, into ``out``; return them.

    ``out`` has room for :data:`MORE` others. See :meth:`hwosim_assets.perturb.rng.Stream.normal`.
    """
    start, (plane, sub, mixed), (key0, key1), middle, ends = draws
    first, skip = (start + begin) >> 4, (start + begin) & 15
    steps = (skip + count + 15) >> 4
    near, size = np.empty(steps, np.intp), 0
    for step in range(steps):
        x0, x1, x2, x3 = _philox(np.uint64(first + step), plane, sub, key0, key1)
        at = step << 4
        _look_up(out, at, x0, middle)
        _look_up(out, at + 4, x1, middle)
        _look_up(out, at + 8, x2, middle)
        _look_up(out, at + 12, x3, middle)
        left = ((x0 | _FOUR_TOPS) - _FOUR_ENDS) & ((x1 | _FOUR_TOPS) - _FOUR_ENDS)
        left &= ((x2 | _FOUR_TOPS) - _FOUR_ENDS) & ((x3 | _FOUR_TOPS) - _FOUR_ENDS)
        if left & _FOUR_TOPS != _FOUR_TOPS:
            near[size] = step
            size += 1
    for step in near[:size]:
        words = _philox(np.uint64(first + step), plane, sub, key0, key1)
        for lane in range(16):
            word = words[lane >> 2] >> np.uint64((lane & 3) << 4) & _WORD
            if word < _ENDS:
                fine = _finer((first + step << 4) + lane, mixed) >> _52
                out[(step << 4) + lane] = ends[(word << _12) + fine]
    return out[skip : skip + count]


@njit(cache=True, nogil=True)
def counts_into(out: Any, draws: Any, begin: int, count: int) -> Any:
    """Write Poisson counts of one mean into ``out`` and return them; see :func:`normals_into`."""
    start, (plane, sub, mixed), (key0, key1), guide, cumulative = draws
    first, skip = (start + begin) >> 4, (start + begin) & 15
    steps = (skip + count + 15) >> 4
    signs = out.view(np.int32)
    for part in range(0, steps, _SOME):
        end = min(part + _SOME, steps)
        for step in range(part, end):
            x0, x1, x2, x3 = _philox(np.uint64(first + step), plane, sub, key0, key1)
            at = step << 4
            _look_up(out, at, x0, guide)
            _look_up(out, at + 4, x1, guide)
            _look_up(out, at + 8, x2, guide)
            _look_up(out, at + 12, x3, guide)
        for step in range(part, end):
            sign = np.int32(0)
            for lane in range(16):
                sign |= signs[(step << 4) + lane]
            if sign < 0:
                words = _philox(np.uint64(first + step), plane, sub, key0, key1)
                for lane in range(16):
                    if out[(step << 4) + lane] < 0:
                        word = words[lane >> 2] >> np.uint64((lane & 3) << 4) & _WORD
                        fine = np.float64(_finer((first + step << 4) + lane, mixed) >> _32)
                        chance = (np.float64(word) * 4294967296.0 + fine + 0.5) / 281474976710656.0
                        out[(step << 4) + lane] = np.searchsorted(cumulative, chance, side="right")
    return out[skip : skip + count]


@njit(cache=True, nogil=True)
def normals(count: int, draws: Any) -> Any:
    """Return standard normal deviates, float32."""
    return normals_into(np.empty(count + MORE, np.float32), draws, 0, count)


@njit(cache=True, nogil=True)
def poissons(count: int, draws: Any) -> Any:
    """Return Poisson counts of one mean, float32; see :meth:`hwosim_assets.perturb.rng.Stream.poisson`."""
    return counts_into(np.empty(count + MORE, np.float32), draws, 0, count)


@njit(cache=True, nogil=True)
def below(start: int, count: int, address: Any, key: Any, high: Any, low: Any) -> Any:
    """Return which pixels have words below (high, low); see :meth:`hwosim_assets.perturb.rng.Stream.below`."""
    first, steps = start >> 4, ((start + count + 15) >> 4) - (start >> 4)
    plane, sub, begin = address
    key0, key1 = key
    high, low = np.uint64(high), np.uint64(low)
    # A word up to ``high`` shows as those of the ends do, beside as many others; beyond half all are looked at.
    four = min(high + _ONE, _HALF) * _FOUR_ONES
    raw, near, size = np.empty(steps << 2, np.uint64), np.empty(steps, np.intp), 0
    for step in range(steps):
        x0, x1, x2, x3 = _philox(np.uint64(first + step), plane, sub, key0, key1)
        at = step << 2
        raw[at], raw[at + 1], raw[at + 2], raw[at + 3] = x0, x1, x2, x3
        left = ((x0 | _FOUR_TOPS) - four) & ((x1 | _FOUR_TOPS) - four)
        left &= ((x2 | _FOUR_TOPS) - four) & ((x3 | _FOUR_TOPS) - four)
        if left & _FOUR_TOPS != _FOUR_TOPS or high >= _HALF:
            near[size] = step
            size += 1
    found, many = np.empty(count, np.intp), 0
    for step in near[:size]:
        for lane in range(16):
            word = raw[(step << 2) + (lane >> 2)] >> np.uint64((lane & 3) << 4) & _WORD
            place = (first + step << 4) + lane
            chosen = word < high or (word == high and _finer(place, begin) >> _48 < low)
            if chosen and start <= place < start + count:
                found[many] = place - start
                many += 1
    return found[:many]


@njit(cache=True, nogil=True)
def normals_at(places: Any, begin: Any, firsts: Any, slopes: Any, lower: Any) -> Any:
    """Return standard normal deviates of single pixels, float32; see :func:`hwosim_assets.perturb.rng.normal`."""
    out = np.empty(places.size, np.float32)
    for index in range(places.size):
        word: Any = np.int64(_finer(places[index], begin) >> _32)
        cell = word >> 20
        if 0 < cell < 4095:
            out[index] = np.float32(word & 0xFFFFF) * slopes[cell] + firsts[cell]
            continue
        word = 0xFFFFFFFF - word if cell else word
        part = max((word >> 10) - 1, 0)
        value = lower[word] if word < 1024 else np.float32(word & 1023) * lower[2047 + part] + lower[1024 + part]
        out[index] = -value if cell else value
    return out
