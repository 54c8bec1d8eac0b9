"""Products as they should not be: empty, of one value, at the end of their numbers, without a plane, mapped, packed."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kinds import hdus_of

from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.files import open_in_place, perturb_file
from hwosim_assets.perturb.plan import make_plan
from hwosim_assets.perturb.planes import Plane
from hwosim_assets.perturb.product import RefusedProductError
from hwosim_assets.perturb.proof import diff
from hwosim_assets.perturb.scenario import load_scenario

Make = Callable[..., Product]
NAME = "jw01234001001_02101_00001_nrca1_cal.fits"


def product_of(hdus: Iterable[fits.hdu.base._BaseHDU], kind: str = "cal") -> Product:
    buffer = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(buffer)
    return Product(NAME.replace("cal", kind), buffer.getvalue())


def scenario(*effects: object) -> Scenario:
    return Scenario.from_mapping("test", {"version": 1, "effects": list(effects)})


# ------------------------------------------------------------------ one value


@pytest.mark.parametrize("kind", ["cal", "calints", "s3d", "x1d"])
@pytest.mark.parametrize("fill", [np.nan, 0.0])
def test_a_product_of_one_value_goes_through_every_effect_and_all_of_it_is_told(
    make: Make, kind: str, fill: float
) -> None:
    product = make(kind)
    payload = bytearray(product.content)
    for plane in product.planes:
        if plane.dtype.startswith("float") and "WAVE" not in plane.column:
            plane.raw(payload)[...] = fill
    filled = Product(product.name, bytes(payload))
    out, truth = apply(filled, "everything_s3")
    assert diff(filled, out, truth).findings == ()
    assert len(truth.record["effects"]) == len(load_scenario("everything_s3").effects)


def test_light_that_falls_on_invalid_pixels_leaves_them_invalid(make: Make) -> None:
    hdus = hdus_of("cal")
    for hdu in hdus[1:]:
        if hdu.data.dtype.kind == "f":
            hdu.data[:] = np.nan
    hdus[3].data[:] = int(DQ.DO_NOT_USE)
    out, _ = apply(product_of(hdus), scenario("background", "read_noise", "cosmic_rays", "jitter", "throughput"))
    assert np.isnan(out.plane("SCI")).all()
    assert np.isnan(out.plane("ERR")).all()


# ------------------------------------------------------- the end of the numbers


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "uint32", "int64"])
def test_integers_stop_at_their_ends_and_never_come_round(dtype: str) -> None:
    """Values near both ends, with noise that is larger than what is left to the ends."""
    limits = np.iinfo(dtype)
    below = np.random.default_rng(1).integers(0, limits.max >> 8, (32, 40))
    sci = np.empty((64, 40), dtype)
    sci[:32], sci[32:] = limits.max - below, limits.min + below
    product = product_of([hdus_of("cal")[0], fits.ImageHDU(sci, name="SCI")])
    out, _ = apply(product, scenario({"read_noise": {"factor": 4}}))
    after = out.plane("SCI")
    assert after.dtype == np.dtype(dtype)
    assert (after != sci).mean() > 0.5
    middle = limits.max // 2 + limits.min // 2
    assert (after[:32] > middle).all()
    assert (after[32:] < middle).all()
    assert (after == after.max()).sum() > 100  # where many stopped
    assert (after == after.min()).sum() > 100


def test_a_ramp_that_is_full_stays_full() -> None:
    hdus = hdus_of("uncal")
    hdus[1].data = np.minimum(hdus[1].data.astype(np.int64) + 64_450, 65_535).astype(np.uint16)
    product = product_of(hdus, "uncal")
    out, _ = apply(product, scenario({"background": {"factor": 20}}))
    before, after = product.plane("SCI"), out.plane("SCI")
    assert (after >= before).all()
    assert (before[:, 1:] < 65_535).any()
    assert (after[:, 2:] == 65_535).all()


# -------------------------------------------------------------- missing planes


@pytest.mark.parametrize("missing", ["ERR", "DQ", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"])
def test_without_a_plane_effects_do_what_they_can_and_say_what_they_cannot(missing: str) -> None:
    product = product_of(hdu for hdu in hdus_of("cal") if hdu.name != missing)
    out, truth = apply(product, "everything_s3")
    assert diff(product, out, truth).findings == ()
    assert all(plane.extname != missing for plane in out.planes)
    notes = [note for effect in truth.record["effects"] for note in effect["measurements"]]
    assert all(note["not_applicable"] for note in notes if "not_applicable" in note)
    assert any("not_applicable" not in note for note in notes)


def test_the_numbers_of_a_product_do_not_depend_on_its_flags() -> None:
    """Without DQ there is nowhere to flag; values and uncertainties are what they are with it."""
    used = scenario("background", "read_noise", "cosmic_rays", "throughput", "missing_values")
    whole, _ = apply(product_of(hdus_of("cal")), used)
    without, _ = apply(product_of(hdu for hdu in hdus_of("cal") if hdu.name != "DQ"), used)
    for name in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE"):
        np.testing.assert_array_equal(whole.plane(name), without.plane(name))


def test_without_science_there_is_nothing_to_perturb() -> None:
    with pytest.raises(RefusedProductError, match="no pixels"):
        apply(product_of(hdu for hdu in hdus_of("cal") if hdu.name != "SCI"), "nominal_l2")


# ------------------------------------------------------------------- zero size


@pytest.mark.parametrize("shape", [(0, 0), (0, 8), (8, 0), (3, 0, 8)])
def test_an_image_of_no_pixels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RefusedProductError, match="holds no pixels"):
        apply(product_of([fits.PrimaryHDU(), fits.ImageHDU(np.zeros(shape, np.float32), name="SCI")]), "nominal_l2")


def test_a_table_of_no_rows_is_refused() -> None:
    columns = [fits.Column(name, "D", array=np.zeros(0)) for name in ("WAVELENGTH", "FLUX")]
    with pytest.raises(RefusedProductError, match="no spectra"):
        apply(product_of([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns, name="EXTRACT1D")]), "nominal_l2")


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (8, 1)])
def test_an_image_of_few_pixels_goes_through_every_effect(shape: tuple[int, ...]) -> None:
    planes = {name: np.full(shape, 0.5, np.float32) for name in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE")}
    hdus = [fits.ImageHDU(data, name=name) for name, data in planes.items()]
    product = product_of([hdus_of("cal")[0], *hdus])
    out, truth = apply(product, "everything_s3")
    assert diff(product, out, truth).findings == ()


# -------------------------------------------- byte order, mapping, compression


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(["float32", "float64", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=3, max_side=5))
    )
)
def test_stored_numbers_are_big_endian_and_come_back_bit_by_bit(values: np.ndarray) -> None:
    """FITS stores big-endian, and unsigned integers less an offset; NaN keeps what it carries."""
    plane = Plane(hdu=1, extname="SCI", extver=1, column="", shape=values.shape, dtype=str(values.dtype), offset=0)
    stored = plane.encode(values)
    assert stored.dtype.itemsize == 1 or stored.dtype.byteorder == ">"
    with fits.open(io.BytesIO(_written(values)), memmap=False) as hdus:
        where = hdus[1].fileinfo()["datLoc"]
    assert stored.tobytes() == _written(values)[where : where + values.nbytes]
    assert plane.read(stored.tobytes()).tobytes() == values.tobytes()


def _written(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(values, name="SCI")]).writeto(buffer)
    return buffer.getvalue()


def test_mapped_big_endian_arrays_and_native_ones_give_the_same_product(tmp_path: Path) -> None:
    """The same numbers as native arrays, as big-endian ones, and as big-endian ones that lie mapped in a file."""
    native = product_of(hdus_of("cal"))
    path = tmp_path / NAME
    native.write(path)
    swapped = hdus_of("cal")
    for hdu in swapped[1:]:
        if hdu.data.dtype.kind == "f":
            hdu.data = hdu.data.astype(hdu.data.dtype.newbyteorder(">"))
    with fits.open(path) as hdus:
        assert hdus["SCI"].data.dtype.byteorder == ">"
        mapped = product_of(hdus)
    assert native.content == product_of(swapped).content == mapped.content
    expected, truth = apply(native, "everything_s3")
    assert apply(mapped, "everything_s3")[0].content == expected.content
    assert apply(open_in_place(path), "everything_s3")[0].content == expected.content
    target = tmp_path / "out.fits"
    chosen = load_scenario("everything_s3")
    assert perturb_file(path, target, make_plan(chosen, NAME, native.stream_time)).line() == truth.line()
    assert target.read_bytes() == expected.content
    assert path.read_bytes() == native.content


def test_a_compressed_product_gives_what_its_file_inside_gives(make: Make) -> None:
    plain, packed = make("cal"), make("cal", packed=True)
    inside, _ = apply(plain, "everything_s3")
    assert gzip.decompress(apply(packed, "everything_s3")[0].content) == inside.content


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_compressed_product_that_was_cut_off_is_refused(make: Make, kept: float) -> None:
    content = make("cal", packed=True).content
    with pytest.raises(BadInputError, match="cut off"):
        apply(Product(NAME + ".gz", content[: int(len(content) * kept)]), "nominal_l2")
