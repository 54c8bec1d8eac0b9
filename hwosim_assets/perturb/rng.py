"""Random numbers that have an address: any draw of any product can be made alone, on any machine.

Holds: :class:`Stream` (Philox counters addressed by plane and pixel under a key of seed, effect,
label, product and stream name), and the transforms from bits to normal and Poisson deviates. They
use integers, tables, +, -, x, / and square roots only, which are the same on every processor,
thread count and numpy version. The tables are computed on first use and compared with a hash in
this file. Keep out what is drawn and for what; that stands in ``perturb.effects``.

All pixels of a chunk are drawn from words of 16 bits, because words are what a draw costs; the few
whose word does not decide (the ends of a distribution, the steps of a discrete one) get more bits from
SplitMix64 at the same address. Single events and single pixels are drawn from words of 32 bits.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import sys
import threading
from decimal import Context, Decimal
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwosim_assets.errors import HwosimError
from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.exact import log

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CHUNK", "RNG", "TILE", "Draws", "Stream", "normal", "poisson", "threshold"]

#: Name and version of the scheme. A change of any bit needs a new one.
RNG = "philox-table-2"

#: What begins the key of every stream: words of 32 bits are still those of the first scheme.
_FAMILY = "philox-table-1"

#: Pixels of one tile of the address space: consecutive flat pixels of a frame.
TILE = 65536

#: Pixels that are worked on at once. Smaller arrays cost calls, larger ones leave the cache: a frame of 2048 x 2048
#: takes 112 ms with 32768, 105 with 65536, 100 with 131072 (with numpy alone 176, 169 and 168). The numbers drawn do
#: not depend on it.
CHUNK = 131072

#: Up to this mean, Poisson counts are drawn exactly from their distribution.
EXACT_POISSON = 20.0
#: The same where all pixels have one mean, whose distribution is then made once.
_EXACT_OF_ONE_MEAN = 500.0

#: Pixels whose words are looked through at once, where few of them are wanted.
_SOME = 1 << 20

_CELLS = 4096
#: Short words whose place in the ends of the normal distribution takes more bits: 16 of each end.
_ENDS = 32
_FINE_BITS = 12
_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
#: SplitMix64's constants as arrays: of the few words of a chunk, making them anew would take as long as using them.
_STEP = np.array(_GOLDEN, np.uint64)
_SHIFTS = np.array(30, np.uint64), np.array(27, np.uint64), np.array(31, np.uint64)
_FACTORS = np.array(0xBF58476D1CE4E5B9, np.uint64), np.array(0x94D049BB133111EB, np.uint64)
#: Added to an address: short words, and what makes them finer, are other words than those of 32 bits.
_SHORT, _FINER = 1 << 63, 1 << 62
_TABLE_SHA256 = "def806fe89fd1f542cabb16eb35a997dddcf1e583c570f22dee991b31ca478bb"


class Draws(NamedTuple):
    """Draws of consecutive pixels that a compiled loop makes as it uses them.

    First flat pixel of the frame; where words come from; what is made of them, and of the few that need more bits.
    """

    start: int
    address: NDArray[np.uint64]
    key: NDArray[np.uint64]
    table: NDArray[np.float32]
    finer: NDArray[Any]


class Stream:
    """The random bits of one use of one effect on one product.

    Parameters
    ----------
    seed : int
        Root seed of the scenario.
    effect, label : str
        The effect and the label of this use.
    uid : str
        What the draws belong to: the product's archive file name, or a detector for fixed patterns.
    name : str
        Which stream of the effect, for example the name of the plane group.

    Notes
    -----
    Neither scenario, severity nor the version of the severity table is part of the key, so that
    sweeps share their random numbers and effects never disturb each other.
    """

    def __init__(self, seed: int, effect: str, label: str, uid: str, name: str) -> None:
        text = "\x1f".join((_FAMILY, str(seed), effect, label, uid, name))
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        self.key = digest.hex()
        self._key = np.frombuffer(digest, "<u8").astype(np.uint64)

    def bits(self, plane: int, start: int, count: int, sub: int = 0) -> NDArray[np.uint32]:
        """Return the random 32-bit words of consecutive pixels; a pixel's word is the same in any cut.

        Parameters
        ----------
        plane : int
            Address of the frame: integration, group, wavelength.
        start, count : int
            First flat pixel of the frame and how many.
        sub : int
            Further independent sets of words of the same pixels.
        """
        parts = []
        while count > 0:
            tile, offset = divmod(start, TILE)
            here = min(count, TILE - offset)
            parts.append(self._of_tile(plane, tile, offset, here, sub))
            start, count = start + here, count - here
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.uint32), *parts])

    def bits_at(self, plane: int, places: NDArray[np.intp], sub: int = 0) -> NDArray[np.uint32]:
        """Return random 32-bit words of single pixels, which are others than those of :meth:`bits`."""
        return (self._mixed(plane, places, sub) >> np.uint64(32)).astype(np.uint32)

    def _mixed(self, plane: int, places: NDArray[np.intp], sub: int) -> NDArray[np.uint64]:
        """Return a 64-bit word for each place: the output of SplitMix64, begun at this address, after so many steps."""
        begin = self._begin(plane, sub)
        word = places.astype(np.uint64)
        word *= _STEP
        word += np.array((begin + _GOLDEN) & _WORD, np.uint64)
        word ^= word >> _SHIFTS[0]
        word *= _FACTORS[0]
        word ^= word >> _SHIFTS[1]
        word *= _FACTORS[1]
        word ^= word >> _SHIFTS[2]
        return word

    def _begin(self, plane: int, sub: int) -> int:
        """Return where SplitMix64 begins."""
        return _begin(int(self._key[1]), plane, sub)

    def normals(self, plane: int, start: int, sub: int = 0) -> Draws:
        """Return what compiled loops need to draw what :meth:`normal` returns."""
        return Draws(start, self._address(plane, sub), self._key, *_short_tables())

    def counts(self, mean: float, plane: int, start: int, sub: int = 0) -> Draws | None:
        """Return what compiled loops need to draw Poisson counts; ``None`` where they are not drawn of short words."""
        if mean > _EXACT_OF_ONE_MEAN:
            return None
        below, guide = _short_distribution(mean)
        return Draws(start, self._address(plane, sub), self._key, guide, below)

    def _address(self, plane: int, sub: int) -> NDArray[np.uint64]:
        """Return where the short words of pixels come from, and what makes them finer, as compiled loops ask for it."""
        return _address(int(self._key[1]), plane, sub)

    def addresses(self, plane: int, sub: int, count: int) -> NDArray[np.uint64]:
        """Return what :meth:`normals` has as address, for so many sets of words from one on, (count, 3)."""
        subs = np.arange(count, dtype=np.uint64) + np.uint64(sub)
        inner = _mix_all(subs + np.uint64(_FINER + _GOLDEN & _WORD))
        begin = _mix_all(inner ^ np.uint64(int(self._key[1]) ^ _mix(plane + 1)))
        return np.stack([np.full(count, plane, np.uint64), subs + np.uint64(_SHORT), begin], axis=1)

    def _of_tile(self, plane: int, tile: int, offset: int, count: int, sub: int) -> NDArray[np.uint32]:
        """Return words of one tile; each step of the counter gives eight."""
        step, skip = divmod(offset, 8)
        raw = self._raw(step, tile, plane, sub, (skip + count + 1) // 2)
        if sys.byteorder == "big":
            raw = raw.byteswap()
            return raw.view(np.uint32).byteswap()[skip : skip + count]
        return raw.view(np.uint32)[skip : skip + count]

    def _short(self, plane: int, start: int, count: int, sub: int) -> NDArray[np.uint16]:
        """Return the random 16-bit words of consecutive pixels; each step of the counter gives sixteen."""
        parts = []
        while count > 0:
            tile, offset = divmod(start, TILE)
            here = min(count, TILE - offset)
            step, skip = divmod(offset, 16)
            raw = self._raw(step, tile, plane, sub + _SHORT, (skip + here + 3) // 4)
            words = raw.view(np.uint16) if sys.byteorder == "little" else raw.byteswap().view(np.uint16).byteswap()
            parts.append(words[skip : skip + here])
            start, count = start + here, count - here
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.uint16), *parts])

    def _raw(self, step: int, tile: int, plane: int, sub: int, count: int) -> NDArray[np.uint64]:
        """Return Philox's 64-bit words from a counter on; the generator of a thread is set rather than made anew."""
        if not hasattr(_generators, "philox"):
            _generators.philox = np.random.Philox(key=0)
        counter = np.array([step, tile, plane, sub], np.uint64)
        state = {"counter": counter, "key": self._key}
        _generators.philox.state = {"bit_generator": "Philox", "state": state, "buffer": _EMPTY, "buffer_pos": 4,
                                    "has_uint32": 0, "uinteger": 0}  # fmt: skip
        raw: NDArray[np.uint64] = _generators.philox.random_raw(count)
        return raw

    def normal(self, plane: int, start: int, count: int, sub: int = 0) -> NDArray[np.float32]:
        """Return standard normal deviates of consecutive pixels, float32; see :meth:`bits`.

        The middle takes 65 504 values, each as probable as the other; beyond 3.49 standard deviations each of them is
        parted into 4096.
        """
        if compiled.on():
            from hwosim_assets.perturb.compiled.draws import normals

            drawn: NDArray[np.float32] = normals(count, self.normals(plane, start, sub))
            return drawn
        return self._deviates(self._short(plane, start, count, sub), plane, start, sub)

    def _deviates(self, words: NDArray[np.uint16], plane: int, start: int, sub: int) -> NDArray[np.float32]:
        """Return the standard normal deviates of short words."""
        middle, ends = _short_tables()
        # Words cannot miss their table; "wrap" spares the check of each.
        out = middle.take(words, mode="wrap")
        outer = (words < _ENDS).nonzero()[0]
        if outer.size:
            fine = self._mixed(plane, outer + start, sub + _FINER) >> np.uint64(64 - _FINE_BITS)
            out[outer] = ends.take((words.take(outer).astype(np.intp) << _FINE_BITS) + fine.astype(np.intp))
        return out

    def normal_at(self, plane: int, places: NDArray[np.intp], sub: int = 0) -> NDArray[np.float32]:
        """Return standard normal deviates of single pixels, float32; see :meth:`bits_at`."""
        if compiled.on():
            from hwosim_assets.perturb.compiled.draws import normals_at

            drawn: NDArray[np.float32] = normals_at(places, np.uint64(self._begin(plane, sub)), _tables())
            return drawn
        return normal(self.bits_at(plane, places, sub))

    def below(
        self, limit: int, plane: int, start: int, count: int, sub: int = 0
    ) -> tuple[NDArray[np.intp], NDArray[np.uint32]]:
        """Return which of consecutive pixels have words below a limit, and these words of 32 bits.

        The words are others than those of :meth:`bits`. Those chosen by the :func:`threshold` of a probability are
        among those chosen by any larger one.

        Returns
        -------
        places : int array
            Ascending, counted from ``start``.
        words : uint32 array
        """
        found = [(np.empty(0, np.intp), np.empty(0, np.uint32))]
        for begin in range(0, count, _SOME):
            places, words = self._some_below(limit, plane, start + begin, min(_SOME, count - begin), sub)
            found.append((places + begin, words))
        return np.concatenate([places for places, _ in found]), np.concatenate([words for _, words in found])

    def _some_below(
        self, limit: int, plane: int, start: int, count: int, sub: int
    ) -> tuple[NDArray[np.intp], NDArray[np.uint32]]:
        """Return :meth:`below` of so few pixels that room for all of them does no harm."""
        high, low = divmod(limit, 1 << 16)
        if compiled.on():
            from hwosim_assets.perturb.compiled.draws import below

            chosen: tuple[NDArray[np.intp], NDArray[np.uint32]] = below(
                start, count, self._address(plane, sub), self._key, high, low
            )
            return chosen
        words = self._short(plane, start, count, sub)
        found = (words <= min(high, 0xFFFF)).nonzero()[0]
        fine = (self._mixed(plane, found + start, sub + _FINER) >> np.uint64(48)).astype(np.uint32)
        finer = (words.take(found).astype(np.uint32) << np.uint32(16)) + fine
        good = finer < np.uint64(limit)
        return found[good], finer[good]

    def uniform(self, plane: int, start: int, count: int, sub: int = 0) -> NDArray[np.float64]:
        """Return numbers between 0 and 1, neither included, float64; see :meth:`bits`."""
        return (self.bits(plane, start, count, sub).astype(np.float64) + 0.5) / 4294967296.0

    def exponential(self, plane: int, start: int, count: int, sub: int = 0) -> NDArray[np.float64]:
        """Return exponential deviates of mean 1, float64; see :meth:`bits`."""
        return -log(self.uniform(plane, start, count, sub))

    def poisson(
        self, mean: float | NDArray[np.float64], plane: int, start: int, count: int, sub: int = 0
    ) -> NDArray[np.float32]:
        """Return Poisson counts of one mean or of each its own, float32; see :meth:`bits` and :func:`poisson`.

        Those of one mean grow with it, pixel by pixel, up to a rounding where the way to draw them changes: a larger
        word is a larger count in both.
        """
        if not isinstance(mean, float | int):
            return poisson(self.bits(plane, start, count, sub), mean)
        if mean > _EXACT_OF_ONE_MEAN:
            words = self._short(plane, start, count, sub)
            words += np.uint16(_ENDS // 2)  # the word that stands at this place among the deviates
            return _many(self._deviates(words, plane, start, sub), np.float64(mean))
        if compiled.on():
            from hwosim_assets.perturb.compiled.draws import poissons

            drawn: NDArray[np.float32] = poissons(count, self.counts(float(mean), plane, start, sub))
            return drawn
        below, guide = _short_distribution(float(mean))
        words = self._short(plane, start, count, sub)
        counts = guide.take(words, mode="wrap")
        near = (counts < 0).nonzero()[0]
        if near.size:
            fine = self._mixed(plane, near + start, sub + _FINER) >> np.uint64(32)
            place = (words.take(near).astype(np.float64) * 4294967296.0 + fine + 0.5) / 281474976710656.0
            counts[near] = np.searchsorted(below, place, side="right")
        return counts


_generators = threading.local()
_EMPTY = np.zeros(4, np.uint64)


def _mix(value: int) -> int:
    """Return the output function of SplitMix64 (Steele, Lea and Flood 2014) of a number."""
    value = (value * _GOLDEN) & _WORD
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _WORD
    return value ^ (value >> 31)


def _mix_all(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return :func:`_mix` of each word."""
    words = words * _STEP
    words = (words ^ words >> _SHIFTS[0]) * _FACTORS[0]
    words = (words ^ words >> _SHIFTS[1]) * _FACTORS[1]
    return words ^ words >> _SHIFTS[2]


def _begin(key: int, plane: int, sub: int) -> int:
    """Return where SplitMix64 begins, from the second word of a stream's key."""
    return _mix(key ^ _mix(plane + 1) ^ _mix(sub + _GOLDEN))


@lru_cache(maxsize=256)
def _address(key: int, plane: int, sub: int) -> NDArray[np.uint64]:
    """Return :meth:`Stream._address`, which each chunk of a frame asks for."""
    return np.array([plane, sub + _SHORT, _begin(key, plane, sub + _FINER)], np.uint64)


@lru_cache(maxsize=64)
def threshold(probability: float) -> int:
    """Return t such that a random 32-bit word is below t with this probability (0 to 1)."""
    return min(max(int(Decimal(probability) * (1 << 32)), 0), 1 << 32)


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return (first values and slopes of the cells, the lower tail) of the normal quantile function.

    The 32-bit word's upper 12 bits choose a cell of the quantile function, the lower 20 the place in
    it. The two end cells are cut once more into 1024 cells, and the outermost of these into single
    words. All is scaled by one factor that makes the variance of the scheme exactly 1.
    """
    quantile = NormalDist().inv_cdf
    half = [quantile(index / _CELLS) for index in range(1, _CELLS // 2)] + [0.0]
    nodes = np.array([math.nan, *half, *(-value for value in reversed(half[:-1])), math.nan])
    tail = np.array([quantile(index / (1 << 22)) for index in range(1, 1025)])
    last = np.array([quantile((index + 0.5) / (1 << 32)) for index in range(1024)])
    inner = math.fsum((lo * lo + lo * hi + hi * hi) / 3 for lo, hi in itertools.pairwise(nodes[1:-1]))
    outer = math.fsum((lo * lo + lo * hi + hi * hi) / 3 for lo, hi in itertools.pairwise(tail))
    outermost = math.fsum(value * value for value in last)
    variance = inner / _CELLS + 2 * (outer / (1 << 22) + outermost / (1 << 32))
    scale = 1 / math.sqrt(variance)
    width = 1 << 20
    slopes = np.diff(nodes) / width * scale
    firsts = nodes[:-1] * scale + slopes / 2
    firsts[[0, -1]] = slopes[[0, -1]] = 0.0  # the end cells have the tail's table
    tail_slopes = np.diff(tail) / 1024 * scale
    tail_firsts = tail[:-1] * scale + tail_slopes / 2
    lower = np.concatenate([last * scale, tail_firsts, tail_slopes])
    tables = firsts.astype(np.float32), slopes.astype(np.float32), lower.astype(np.float32)
    found = hashlib.sha256(b"".join(table.astype("<f4").tobytes() for table in tables)).hexdigest()
    if found != _TABLE_SHA256:
        raise HwosimError(
            "normal deviates", f"this machine computes another table ({found[:12]})", "report it as a bug"
        )
    return tables


def normal(bits: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return standard normal deviates from random 32-bit words.

    Parameters
    ----------
    bits : uint32 array, 1-D
        One word per deviate; a larger word gives a larger deviate.

    Returns
    -------
    float32 array
        Same length, between -6.3 and 6.3.
    """
    firsts, slopes, _ = _tables()
    cells = (bits >> np.uint32(20)).astype(np.intp)
    out = (bits & np.uint32(0xFFFFF)).astype(np.float32)
    out *= slopes.take(cells)
    out += firsts.take(cells)
    ends = np.flatnonzero((bits + np.uint32(1 << 20)) < np.uint32(2 << 20))
    if ends.size:
        out[ends] = _tail(bits[ends])
    return out


def _tail(bits: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return the deviates of words in the first or the last cell."""
    lower = _tables()[2]
    upper_side = bits >= np.uint32(1 << 31)
    word = np.where(upper_side, ~bits, bits).astype(np.intp)
    cell = np.maximum((word >> 10) - 1, 0)
    inside = (word & 1023).astype(np.float32)
    value = inside * lower[1024 + 1023 + cell] + lower[1024 + cell]
    value = np.where(word < 1024, lower[np.minimum(word, 1023)], value)
    return np.where(upper_side, -value, value).astype(np.float32)


@lru_cache(maxsize=1)
def _short_tables() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the deviates of 16-bit words, and those of the words of the ends parted further.

    The first 16 words stand for the upper end, the next 16 for the lower one, the rest for the middle in ascending
    order. What parting the middle into so many values takes from the variance is 1e-8 of it.
    """
    words = np.arange(1 << 16, dtype=np.uint32) - np.uint32(_ENDS // 2) & np.uint32(0xFFFF)
    middle = normal((words << np.uint32(16)) + np.uint32(1 << 15))
    parts = np.arange(1 << _FINE_BITS, dtype=np.uint32) << np.uint32(16 - _FINE_BITS)
    ends = (words[:_ENDS, None] << np.uint32(16)) + parts + np.uint32(1 << 15 - _FINE_BITS)
    return middle, normal(ends.reshape(-1))


@lru_cache(maxsize=16)
def _short_distribution(mean: float) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return (cumulative Poisson distribution, count of each 16-bit word or -1 where the word does not decide it)."""
    chance = float(Context(prec=40).exp(Decimal(-mean)))
    steps = [chance]
    for count in range(1, int(mean + 12.0 * math.sqrt(mean)) + 40):
        chance = chance * (mean / count)
        steps.append(steps[-1] + chance)
    below = np.array(steps)
    edges = np.arange((1 << 16) + 1, dtype=np.float64) / 65536.0
    low, high = (np.searchsorted(below, part, side="right") for part in (edges[:-1], edges[1:]))
    return below, np.where(low == high, low, -1).astype(np.float32)


@lru_cache(maxsize=1)
def _exp_tables() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return exp(-i) for i = 0..20 and exp(-j/1024) for j = 0..1023."""
    exact = Context(prec=40)
    whole = np.array([float(exact.exp(Decimal(-index))) for index in range(21)])
    parts = np.array([float(exact.exp(exact.divide(Decimal(-index), Decimal(1024)))) for index in range(1024)])
    return whole, parts


def _exp_negative(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return exp(-mean) for 0 <= mean <= 20 with tables and a short polynomial."""
    whole, parts = _exp_tables()
    index = np.floor(mean * 1024.0)
    rest = mean - index / 1024.0
    steps = index.astype(np.intp)
    poly = 1.0 - rest * (1.0 - rest * (0.5 - rest * (1.0 / 6.0 - rest * (1.0 / 24.0))))
    return np.asarray(whole[steps >> 10] * parts[steps & 1023] * poly)


def poisson(bits: NDArray[np.uint32], mean: float | NDArray[np.float64]) -> NDArray[np.float32]:
    """Return Poisson counts from random 32-bit words.

    Exact (to 2^-32) for means up to 20 by inversion; above, from the normal deviate w of the same
    word as floor(m + sqrt(m) w + 1/3 + w^2/6 - (w/36 + w^3/72)/sqrt(m)) (Giles 2016, the normal
    asymptotic expansion of the inverse). Counts never fall when the mean grows, within either range.

    Parameters
    ----------
    bits : uint32 array, 1-D
        One word per count.
    mean : float or float64 array
        Mean of all counts, or of each.

    Returns
    -------
    float32 array
        Counts as whole numbers.
    """
    if isinstance(mean, float | int):
        if mean <= EXACT_POISSON:
            return _few_of_one_mean(bits, float(mean))
        return _many(normal(bits), np.float64(mean))
    if compiled.on() and mean.dtype == np.float64:
        from hwosim_assets.perturb.compiled.draws import counts_of

        counts: NDArray[np.float32] = counts_of(bits, mean, EXACT_POISSON, _exp_tables(), _tables())
        return counts
    out = np.empty(bits.shape, np.float32)
    few = mean <= EXACT_POISSON
    out[few] = _few(bits[few], mean[few])
    out[~few] = _many(normal(bits[~few]), mean[~few])
    return out


def _many(w: NDArray[np.float32], mean: np.float64 | NDArray[np.float64]) -> NDArray[np.float32]:
    """Return counts of a large mean from normal deviates."""
    m = np.asarray(mean).astype(np.float32)
    root = np.sqrt(m)
    square = w * w
    value = (square + np.float32(2.0)) * np.float32(1.0 / 6.0)
    value += root * w
    value += m
    value -= w * (square + np.float32(2.0)) * np.float32(1.0 / 72.0) / root
    return np.asarray(np.floor(value))


def _few(bits: NDArray[np.uint32], mean: NDArray[np.float64]) -> NDArray[np.float32]:
    """Invert the distribution of each mean by summing it up until it passes the word."""
    counts = np.zeros(bits.shape, np.float32)
    chance = _exp_negative(mean)
    place = (bits.astype(np.float64) + 0.5) / 4294967296.0
    below = chance.copy()
    left = np.flatnonzero(place >= below)
    for count in range(1, 100):
        if not left.size:
            break
        chance[left] *= mean[left] / count
        below[left] += chance[left]
        counts[left] = count
        left = left[place[left] >= below[left]]
    return counts


@lru_cache(maxsize=64)
def _distribution(mean: float) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.bool_]]:
    """Return (cumulative distribution, count of each 12-bit cell, cells that hold a step)."""
    chance = float(_exp_negative(np.array([mean]))[0])
    steps = [chance]
    for count in range(1, 100):
        chance = chance * (mean / count)
        steps.append(steps[-1] + chance)
    below = np.array(steps)
    first = (np.arange(_CELLS, dtype=np.float64) * (1 << 20) + 0.5) / 4294967296.0
    final = (np.arange(1, _CELLS + 1, dtype=np.float64) * (1 << 20) - 0.5) / 4294967296.0
    low = np.searchsorted(below, first, side="right")
    return below, low.astype(np.float32), low != np.searchsorted(below, final, side="right")


def _few_of_one_mean(bits: NDArray[np.uint32], mean: float) -> NDArray[np.float32]:
    """As :func:`_few` for one mean, through a guide table: the same counts, faster."""
    below, guide, stepped = _distribution(mean)
    cells = (bits >> np.uint32(20)).astype(np.intp)
    counts = guide.take(cells)
    near = np.flatnonzero(stepped.take(cells))
    if near.size:
        place = (bits[near].astype(np.float64) + 0.5) / 4294967296.0
        counts[near] = np.searchsorted(below, place, side="right")
    return counts
