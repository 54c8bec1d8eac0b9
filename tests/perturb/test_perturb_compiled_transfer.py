"""Loading and storing with the compiled loops: the bits of numpy, for planes of every kind and numbers of every kind.

Holds: blocks loaded and stored both ways, with nothing done between but what marks planes as changed. Keep out effects
(``test_perturb_compiled``).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from hwosim_assets.perturb import Product, compiled, transfer
from hwosim_assets.perturb.block import Block
from hwosim_assets.perturb.budget import Budget, infer_budget
from hwosim_assets.perturb.fitsfile import FitsFile
from hwosim_assets.perturb.measurements import Measurement

pytestmark = pytest.mark.skipif(find_spec("numba") is None, reason="numba (extra fast) is not installed")

Make = Callable[..., Product]
KINDS = ("cal", "calints", "multislit", "uncal", "s3d", "i2d", "x1d", "x1dints", "bare")
#: What a variance or an uncertainty may hold.
ODD = (np.nan, np.inf, -np.inf, -0.0, 0.0, -1.0, -1e-30, 1e-42, 1e30, 3e38, 0.25)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], tuple[Any, Any]]:
    """Return a function that does some work with numpy and with the loops."""

    def both(work: Callable[[], Any]) -> tuple[Any, Any]:
        found = []
        for wanted in (False, True):
            monkeypatch.setattr(compiled, "_wanted", wanted)
            found.append(work())
        return found[0], found[1]

    return both


def bits(values: Any) -> Any:
    """Return arrays as something that compares bit by bit."""
    if isinstance(values, np.ndarray):
        return values.dtype.str, values.shape, values.tobytes()
    if isinstance(values, dict):
        return {name: bits(value) for name, value in values.items()}
    return [bits(value) for value in values] if isinstance(values, list) else values


def seen(block: Block) -> dict[str, Any]:
    """Return all arrays of a block, and which of them are one."""
    names = ("sci", "err", "true", "stated", "claimed", "claimed_change", "dq", "zeroed", "blanked", "inert")
    one = [
        block.claimed.get(name) is block.true[kind]
        for kind, name in (("poisson", "VAR_POISSON"), ("read", "VAR_RNOISE"))
    ]
    return {name: bits(getattr(block, name)) for name in names} | {"one": [*one, block.stated is block.true]}


def through(product: Product, item: Measurement, budget: Budget, apart: bool) -> tuple[list[dict[str, Any]], bytes]:
    """Return what was loaded of each frame of a measurement, and the file after it was stored with changes."""
    file = FitsFile(product.payload, product.scan)
    views, original = file.views(item), transfer.Views(file.content, item)
    loaded = []
    for frame in range(item.frames):
        for start in range(0, item.pixels, 1000):
            part = slice(start, min(start + 1000, item.pixels))
            with np.errstate(all="ignore"):
                block = transfer.load(views, item, budget, frame, part, apart=apart)
                loaded.append(seen(block))
                block.sci[:, ::2] += 1
                if block.claimed_change is not None:
                    block.claimed_change[:, ::3] -= block.claimed_change.dtype.type(0.3)
                    block.claimed_change[:, 1::3] += block.claimed_change.dtype.type(0.3)
                for plane in block.claimed.values():
                    plane *= plane.dtype.type(1.7)
                block.dirty |= {"variance", "flags", "invalid"}
                transfer.store(block, views, original)
    return loaded, file.assemble()


def both(product: Product, ways: Callable[..., tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """Yield what numpy and the loops make of each measurement; the file is then another one."""
    for item in product.measurements:
        budget = infer_budget(product, item)
        for apart in (False, True):
            plain, looped = ways(lambda item=item, budget=budget, apart=apart: through(product, item, budget, apart))
            assert plain[1] != product.content
            yield plain, looped


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_product_is_loaded_and_stored_with_the_same_bits(
    make: Make, ways: Callable[..., tuple[Any, Any]], kind: str
) -> None:
    found = list(both(make(kind), ways))
    assert found
    assert all(plain == looped for plain, looped in found)


def _odd(make: Make, change: Callable[[fits.HDUList], None]) -> Product:
    """Return a product whose uncertainties hold numbers of every kind, after a further change."""
    with fits.open(io.BytesIO(make("cal").content)) as hdus:
        rng = np.random.default_rng(3)
        for name in ("ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"):
            data = hdus[name].data
            where = rng.random(data.shape) < 0.2
            data[where] = rng.choice(ODD, np.count_nonzero(where))
        hdus["ERR"].data[:50] = np.sqrt(sum(hdus[name].data[:50] for name in ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")))
        change(hdus)
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    return Product(make("cal").name, buffer.getvalue())


def _without(*names: str) -> Callable[[fits.HDUList], None]:
    def change(hdus: fits.HDUList) -> None:
        for name in names:
            del hdus[name]

    return change


def _stored_as(kind: str, *names: str) -> Callable[[fits.HDUList], None]:
    def change(hdus: fits.HDUList) -> None:
        for name in names:
            data = hdus[name].data
            if np.dtype(kind).kind != "f":
                data = np.nan_to_num(data, nan=0, posinf=9, neginf=0).clip(0, 200)
            place = hdus.index_of(name)
            header = hdus[place].header
            hdus[place] = fits.ImageHDU(data.astype(kind), name=name)
            hdus[place].header["EXTVER"] = header.get("EXTVER", 1)

    return change


def _inert(hdus: fits.HDUList) -> None:
    hdus["DQ"].data[10:20, 3:40] |= np.uint32(512)
    hdus["SCI"].data[10:15] = np.nan


ALL = ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_without(), id="odd numbers"),
        pytest.param(_inert, id="pixels without data"),
        pytest.param(_stored_as("u1", "DQ"), id="8-bit flags"),
        pytest.param(_stored_as("i2", "SCI"), id="integers"),
        pytest.param(_stored_as("f8", *ALL), id="double precision"),
        pytest.param(_stored_as("f8", "ERR", "VAR_RNOISE"), id="some in double precision"),
        pytest.param(_without("ERR"), id="no ERR"),
        pytest.param(_without("DQ"), id="no DQ"),
        pytest.param(_without("VAR_FLAT"), id="no VAR_FLAT"),
        pytest.param(_without("VAR_POISSON"), id="no VAR_POISSON"),
        pytest.param(_without("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"), id="no VAR"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numbers_and_types_of_every_kind_are_the_same(
    make: Make, ways: Callable[..., tuple[Any, Any]], change: Callable[[fits.HDUList], None]
) -> None:
    found = list(both(_odd(make, change), ways))
    assert found
    assert all(plain == looped for plain, looped in found)


@settings(deadline=None)  # the loops are compiled by the first call
@given(st.data(), st.sampled_from([np.float32, np.float64]), st.booleans())
def test_any_numbers_give_the_same_bits(data: st.DataObject, kind: type[np.floating[Any]], flat: bool) -> None:
    """Without a file between: the sum of variances, and ERR of any numbers at all."""
    length = data.draw(st.integers(1, 40))
    numbers = st.floats(width=32 if kind is np.float32 else 64) | st.sampled_from([kind(value) for value in ODD])
    err, poisson, read, rest, change = (data.draw(arrays(kind, (1, length), elements=numbers)) for _ in range(5))
    claimed = {"VAR_POISSON": poisson, "VAR_RNOISE": read} | ({"VAR_FLAT": rest} if flat else {})
    found = []
    for wanted in (False, True):
        with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
            patch.setattr(compiled, "_wanted", wanted)
            block = _block(err.copy(), claimed, change)
            transfer._update_err(block)
            found.append([transfer._summed(err, claimed), bits(block.err)])
    assert found[0] == found[1]


@settings(deadline=None)
@given(arrays(np.uint32, (1, 20), elements=st.integers(0, (1 << 32) - 1) | st.sampled_from([0, 1 << 31, 0x7F800000])))
def test_a_variance_of_any_bits_is_read_and_cleaned(bits_of: NDArray[np.uint32]) -> None:
    stored = bits_of.view(np.float32).astype(">f4").reshape(1, -1)
    variance, valid = transfer._read_valid(stored)
    with np.errstate(all="ignore"):
        clean = transfer._clean(variance)
    assert bits(variance) == bits(bits_of.view(np.float32))
    assert bits(valid) == bits(clean)
    assert (valid is variance) == (clean is variance)


def _block(err: Any, claimed: dict[str, Any], change: Any) -> Any:
    return SimpleNamespace(err=err, claimed=claimed, claimed_change=change, budget=SimpleNamespace(sums=True))
