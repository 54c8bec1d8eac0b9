"""Convolution by compiled loops makes the bits that numpy makes: invalid pixels, edges, ramps, all kinds of kernels."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.block import Block
from hwosim_assets.perturb.convolve import convolve_signal
from hwosim_assets.perturb.effects.kernels import gaussian_taps, shift_kernel
from hwosim_assets.perturb.rng import Stream

pytestmark = pytest.mark.skipif(find_spec("numba") is None, reason="numba (extra fast) is not installed")

IPC = np.array([[0.001, 0.006, 0.001], [0.006, 0.972, 0.006], [0.001, 0.006, 0.001]])
LOPSIDED = ([0.1, 0.7, 0.2], [0.05, 0.6, 0.3, 0.04, 0.01])
KERNELS = {
    "blur 0.02": (gaussian_taps(0.02), gaussian_taps(0.02)),
    "blur 0.08": (gaussian_taps(0.08), gaussian_taps(0.08)),
    "blur 0.6": (gaussian_taps(0.6), gaussian_taps(0.6)),
    "blur 2": (gaussian_taps(2.0), gaussian_taps(2.0)),
    "lopsided": LOPSIDED,
    "lopsided, few": ([0.1, 0.7, 0.2], [0.05, 0.6, 0.35]),
    "negative": ([-0.1, 1.2, -0.1], [-0.3, 1.0, 0.3]),
    "along y": (gaussian_taps(2.2), [1.0]),
    "along x": ([1.0], gaussian_taps(0.3)),
    "ipc": IPC,
    "shift": shift_kernel(0.3, -0.2),
    "smear": shift_kernel(0.3, 0.2, 2.5, 3.5),
    "lacks its centre": np.array([[0.0, 0.3, 0.0], [0.0, 0.0, 0.5], [0.0, 0.2, 0.0]]),
}


def made(
    seed: int, shape: tuple[int, int], kind: str, groups: int = 1, dead: float = 0.01, inert: float = 0.0
) -> Block:
    """Return a block of noise with invalid pixels, whose photon variance is claimed by a plane of its own."""
    rng = np.random.default_rng(seed)
    pixels = shape[0] * shape[1]

    def plane(values: NDArray[Any]) -> NDArray[Any]:
        return values.astype(kind)

    sci = plane(rng.normal(5, 3, (groups, pixels)))
    sci[rng.random(sci.shape) < dead] = np.nan
    sci[:, ::97] = -0.0
    sci[:, 5::331], sci[:, 9::433] = np.inf, -np.inf
    poisson, read = plane(rng.exponential(0.1, sci.shape)), plane(rng.exponential(0.02, sci.shape))
    read[:, 3::57] = poisson[:, 4::61] = 0
    measurement = SimpleNamespace(frame=shape)
    true = {"poisson": poisson, "read": read}
    planes = {"VAR_POISSON": poisson.copy(), "VAR_RNOISE": read}
    empty = rng.random(pixels) < inert if inert else None
    change = np.zeros_like(sci) if inert else None
    return Block(measurement, None, 2, 0, sci, None, true, true, planes, change, None, [], [], empty)  # type: ignore[arg-type]


def convolved(
    monkeypatch: pytest.MonkeyPatch, loops: bool, block: Block, kernel: Any, honest: float = 1.0
) -> list[Any]:
    """Return what convolving makes of a block, as bytes."""
    monkeypatch.setattr(compiled, "_wanted", loops)
    with np.errstate(all="ignore"):
        convolve_signal(block, kernel, Stream(1, "probe", "", "x", "SCI"), honest, 3)
    change = b"" if block.claimed_change is None else block.claimed_change.tobytes()
    planes = (block.sci, *block.true.values(), *block.claimed.values())
    return [block.sci.copy(), *(plane.tobytes() for plane in planes), change, sorted(block.dirty)]


def both(monkeypatch: pytest.MonkeyPatch, kernel: Any, honest: float = 1.0, **of: Any) -> tuple[list[Any], list[Any]]:
    """Return what numpy and the loops make of a block, which is something else than it was."""
    plain, fast = (convolved(monkeypatch, on, made(**of), kernel, honest) for on in (False, True))
    assert not np.array_equal(plain[0], made(**of).sci, equal_nan=True)
    return plain[1:], fast[1:]


@pytest.mark.parametrize("name", KERNELS)
def test_bits_are_those_of_numpy(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for seed, kind in enumerate(("float32", "float64")):
        plain, fast = both(monkeypatch, KERNELS[name], seed=seed, shape=(75, 83), kind=kind)
        assert fast == plain


@pytest.mark.parametrize("name", ["blur 0.08", "blur 2", "ipc", "smear"])
def test_pixels_without_data_take_no_part(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plain, fast = both(monkeypatch, KERNELS[name], honest=0.3, seed=5, shape=(40, 61), kind="float32", inert=0.1)
    assert fast == plain


@pytest.mark.parametrize("shape", [(3, 200), (200, 3), (1, 64), (33, 4), (16, 16), (70, 2100)])
@pytest.mark.parametrize("name", ["blur 0.02", "blur 0.6", "ipc", "shift"])
def test_narrow_and_wide_images(monkeypatch: pytest.MonkeyPatch, name: str, shape: tuple[int, int]) -> None:
    plain, fast = both(monkeypatch, KERNELS[name], seed=7, shape=shape, kind="float32", dead=0.02)
    assert fast == plain


@pytest.mark.parametrize("name", ["blur 0.08", "blur 2", "shift"])
def test_groups_of_a_ramp(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plain, fast = both(monkeypatch, KERNELS[name], honest=0.5, seed=8, shape=(50, 43), kind="float32", groups=4)
    assert fast == plain


@pytest.mark.parametrize("name", ["blur 0.08", "blur 0.6", "blur 2", "ipc"])
def test_rows_that_are_all_invalid(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for dead in (0.0, 0.3, 0.98):
        plain, fast = both(monkeypatch, KERNELS[name], seed=9, shape=(30, 71), kind="float32", dead=dead)
        assert fast == plain


@pytest.mark.parametrize("honest", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kept", ["by one plane", "by the true plane alone", "as stated too"])
def test_whatever_keeps_the_variance(monkeypatch: pytest.MonkeyPatch, kept: str, honest: float) -> None:
    """A plane may claim it, or be it, or an effect before may have told less of it than is true."""
    planes = []
    for on in (False, True):
        block = made(seed=6, shape=(37, 50), kind="float32")
        if kept == "by the true plane alone":
            block.claimed["VAR_POISSON"] = block.true["poisson"]
        elif kept == "as stated too":
            block.stated = {name: plane * np.float32(0.9) for name, plane in block.true.items()}
        found = convolved(monkeypatch, on, block, KERNELS["blur 0.08"], honest)[1:]
        planes.append((found, block.stated["poisson"].tobytes()))
    assert planes[0] == planes[1]


def test_zeros_keep_their_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    made_by = []
    for on in (False, True):
        block = made(seed=4, shape=(20, 40), kind="float32", dead=0.0)
        block.sci[:] = -0.0
        block.true["read"][:] = 0
        made_by.append(convolved(monkeypatch, on, block, KERNELS["blur 0.08"]))
    assert 0 < np.signbit(made_by[0][0]).sum() < 800
    assert made_by[0][1:] == made_by[1][1:]


def test_parts_of_a_frame_that_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block may begin in the middle of a frame, where its deviates do too."""
    planes = []
    for on in (False, True):
        block = made(seed=3, shape=(60, 50), kind="float32").part(slice(10 * 50, 47 * 50))
        planes.append(convolved(monkeypatch, on, block, KERNELS["blur 0.08"])[1:])
    assert planes[0] == planes[1]


def test_images_that_are_all_invalid_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KERNELS:
        plain, fast = (
            convolved(monkeypatch, on, made(seed=1, shape=(20, 30), kind="float32", dead=1.1), KERNELS[name])[1:]
            for on in (False, True)
        )
        assert plain == fast


def test_the_loops_are_what_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways would agree as well if there were only one."""
    from hwosim_assets.perturb import convolve
    from hwosim_assets.perturb.compiled import convolution

    calls = []

    def spied(module: Any, name: str) -> None:
        real = getattr(module, name)

        def spy(*given: Any) -> None:
            calls.append(name)
            real(*given)

        monkeypatch.setattr(module, name, spy)

    spied(convolution, "convolve_rows")
    spied(convolve, "_convolve_part")
    plain, fast = both(monkeypatch, IPC, seed=1, shape=(40, 50), kind="float32")
    assert fast == plain
    assert calls == ["_convolve_part", "convolve_rows"]
