"""What perturbing costs: compute, reading and writing, memory; beside what one would take instead, and the floor.

Holds: ``python -m benchmarks.perturb``, on a generated 2048 x 2048 ``cal`` product of seven planes (117 MB), one
core, and an 8192 x 8192 one (1.9 GB) for memory. Figures are the best of some runs, in milliseconds that passed and
of the processor (which other load disturbs less), the median of the latter, and ratios to copying the file. The runs
take a second or more together: who else uses caches and memory of a shared machine does so for seconds at a time.
Files are written anew: emptying one that is there takes as long as half of a copy. "Compute" is what
effects do to pixels; what comes before it, and both together, are printed below it. Each run does all of it anew
(:class:`Computing`). What an effect takes by itself ("own") is its time, what it prepares included, less that of
loading and storing the same planes in the same bands with nothing prepared or done between.
Memory counts from when libraries are imported, numba among them where it is used (140 MiB without it, 290 with it),
and once more from when a small product was perturbed, which loads the rest of their code.
The peers are measured where they are installed (``uv sync --group bench``).
"""

from __future__ import annotations

import importlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import numpy as np

if TYPE_CHECKING:
    from astropy.io import fits

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.effect import Effect
    from hwosim_assets.perturb.plan import Plan
    from hwosim_assets.perturb.product import Product
    from hwosim_assets.perturb.run import Part

os.environ.setdefault("OMP_NUM_THREADS", "1")

SIDE = 2048
NAME = "jw01234001001_02101_00001_nrca1_cal.fits"
SEVERAL = 30
LARGE_SIDE = 8192
SMALL_SIDE = 64
#: Rows of a large product that are made at once, and repeated.
ROWS = 256
EFFECTS = ("read_noise", "background", "throughput", "flat_drift", "pink_noise", "cosmic_rays", "jitter", "ipc")
#: Hits per cm2 and second on 13.6 cm2 in 900 s.
TEN_THOUSAND_HITS = "0.82 /cm2/s"


def product_file(path: Path, side: int = SIDE) -> None:
    """Write a product with SCI, ERR, DQ, AREA and three variances."""
    hdus_of((side, side)).writeto(path)


def hdus_of(shape: tuple[int, int]) -> fits.HDUList:
    """Return the HDUs of a product."""
    from astropy.io import fits

    rng = np.random.default_rng(1)
    side = shape[1]
    k, sky = np.float32(150), np.float32(2)
    signal = np.full(shape, sky)
    signal[:, : side // 8] *= 20
    poisson, read = signal / k, np.full(shape, 0.02, np.float32)
    flat = np.float32(9e-6) * signal * signal
    sci = signal + np.sqrt(poisson + read) * rng.standard_normal(shape, np.float32)
    bad = rng.random(shape, np.float32) < 0.005
    dq = bad.astype(np.uint32)
    area = np.ones(shape, np.float32)
    planes = {"SCI": sci, "ERR": np.sqrt(poisson + read + flat), "DQ": dq, "AREA": area}
    planes |= {"VAR_POISSON": poisson, "VAR_RNOISE": read, "VAR_FLAT": flat}
    primary = fits.PrimaryHDU()
    cards = {
        "TELESCOP": "JWST", "INSTRUME": "NIRCAM", "CHANNEL": "SHORT", "DETECTOR": "NRCA1", "FILTER": "F200W",
        "EXPSTART": 60000.0, "EXPMID": 60000.005, "EXPEND": 60000.01, "EFFINTTM": 900.0, "EFFEXPTM": 900.0,
        "FASTAXIS": -1, "SLOWAXIS": 2, "NOUTPUTS": 4, "DATAPROB": False,
    }  # fmt: skip
    primary.header.update(cards)
    hdus = [primary]
    for name, data in planes.items():
        if name not in ("DQ", "AREA"):
            data[bad] = np.nan
        hdus.append(fits.ImageHDU(data, name=name))
        if name in ("SCI", "ERR"):
            hdus[-1].header["BUNIT"] = "MJy/sr"
    return fits.HDUList(hdus)


def large_file(path: Path, side: int = LARGE_SIDE) -> None:
    """Write a product of which the same rows make up the frame, without having it in memory."""
    with path.open("wb") as out:
        for hdu in hdus_of((ROWS, side)):
            if hdu.data is None:
                out.write(hdu.header.tostring().encode())
                continue
            hdu.header["NAXIS2"] = side
            out.write(hdu.header.tostring().encode())
            stored = hdu.data.astype(hdu.data.dtype.newbyteorder(">"))
            rows = (stored ^ (1 << 31) if stored.dtype.kind == "u" else stored).astype(stored.dtype).tobytes()
            for _ in range(side // ROWS):
                out.write(rows)
            out.write(bytes(-len(rows) * (side // ROWS) % 2880))


class Cost(NamedTuple):
    """What some work took, in milliseconds: the least that passed, and of the processor the least and the median."""

    wall: float
    cpu: float
    median: float


def best(work: Callable[[], object], times: int = SEVERAL, before: Callable[[], object] = lambda: None) -> Cost:
    """Return the cost of some runs; what is done before each does not count."""
    found = []
    for _ in range(times):
        before()
        start = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    wall, cpu = zip(*found, strict=True)
    return Cost(1000 * min(wall), 1000 * min(cpu), 1000 * statistics.median(cpu))


class Computing:
    """The work of perturbing a product that has been read, into a copy of it, without hash and truth.

    In each run all is done anew: its noise budget and what effects prepare (the map of bad pixels), and what they do to
    pixels (drawing hits and series of noise among it). Making the copy counts as writing.

    Parameters
    ----------
    source : bytes
        The product.
    scenario : Scenario
        What is done to it.
    """

    def __init__(self, source: bytes, scenario: object) -> None:
        from hwosim_assets.perturb import compiled
        from hwosim_assets.perturb.plan import make_plan
        from hwosim_assets.perturb.product import Product

        self.product = Product(NAME, source)
        compiled.want(sum(item.sci.size for item in self.product.measurements))
        self.plan = make_plan(scenario, NAME, self.product.stream_time)  # type: ignore[arg-type]
        self.copy()

    def copy(self) -> None:
        """Make a copy that is worked on: what comes before each run."""
        from hwosim_assets.perturb.fitsfile import FitsFile

        self.file = FitsFile(self.product.payload, self.product.scan)
        _ = self.file.data

    def run(self) -> None:
        """Do the work."""
        from hwosim_assets.perturb.run import work_on
        from hwosim_assets.perturb.side import Side

        with mock.patch.object(Side, "of", lambda _: None):  # the side file belongs to the truth
            work_on(self.file, self.product, effects_of(self.plan, self.product), 1)

    def prepare(self) -> None:
        """Do what is done before any pixel changes."""
        from hwosim_assets.perturb import run
        from hwosim_assets.perturb.budget import infer_budget

        (self.item,) = self.product.measurements
        self.budget = infer_budget(self.product, self.item)
        effects, budgets = effects_of(self.plan, self.product), {self.item.sci: self.budget}
        ready = [effect for effect in effects if run._prepared(effect, self.item, budgets, [])]  # noqa: SLF001
        self.effects = [effect for effect in ready if run._touches_pixels(effect)]  # noqa: SLF001

    def run_pixels(self) -> None:
        """Do what is done to pixels."""
        from hwosim_assets.perturb import run

        run._perturb_measurement(self.file, self.item, self.budget, self.effects, None, 1)  # noqa: SLF001

    def run_nothing(self) -> None:
        """Load and store the planes that the work changes, in the same bands, with nothing prepared or done between."""
        from hwosim_assets.perturb import run

        parts, changed = self._moved

        def prepared(*given: Any) -> bool:
            given[-1].append({"not_applicable": "nothing is done"})
            return True

        with (
            mock.patch.object(run, "_prepared", prepared),
            mock.patch.object(run, "_parts", lambda *_: parts),
            mock.patch.object(run, "_run_effects", lambda block, _: block.dirty.update(changed)),
        ):
            self.run()

    @cached_property
    def _moved(self) -> tuple[list[Part], set[str]]:
        """The parts that the work is done in, and what of a product it changes besides SCI."""
        from hwosim_assets.perturb import run

        parts: list[Part] = []
        changed: set[str] = set()
        run_effects, cut = run._run_effects, run._parts  # noqa: SLF001

        def watched(block: Block, effects: list[Effect]) -> None:
            run_effects(block, effects)
            changed.update(block.dirty)

        def seen(*given: Any) -> list[Part]:
            parts.extend(cut(*given))
            return parts

        with mock.patch.object(run, "_run_effects", watched), mock.patch.object(run, "_parts", seen):
            self.run()
        return parts, changed

    def cost(self) -> Cost:
        """Return the cost of the work."""
        return best(self.run, before=self.copy)

    def parts(self) -> tuple[Cost, Cost]:
        """Return the cost of what is done before any pixel changes, and of what is done to pixels."""

        def ready() -> None:
            self.copy()
            self.prepare()

        return best(self.prepare, before=self.copy), best(self.run_pixels, before=ready)

    def floor(self) -> Cost:
        """Return the cost of the work without what effects do to pixels."""
        _ = self._moved
        return best(self.run_nothing, before=self.copy)


def effects_of(plan: Plan, product: Product) -> list[Effect]:
    """Return the effects of a plan, for one product."""
    from hwosim_assets.perturb.effect import Task
    from hwosim_assets.perturb.registry import effect_class

    return [effect_class(step.effect)(Task(step, product, plan.seed, plan.uid)) for step in plan.effects]


@contextmanager
def plain() -> Iterator[None]:
    """Let numpy do everything."""
    from hwosim_assets.perturb import compiled

    with mock.patch.multiple(compiled, _wanted=False, LEAST_PIXELS=sys.maxsize):
        yield


def chosen(*effects: object) -> object:
    """Return a scenario of some effects."""
    from hwosim_assets.perturb.scenario import Scenario

    return Scenario.from_mapping("bench", {"version": 1, "effects": list(effects)})


def from_disk(source: Path, target: Path, scenario: object, truth: bool) -> Callable[[], object]:
    """Return the work of reading a product, perturbing it and writing it, with its truth or without."""
    from hwosim_assets.perturb.files import MappedFile, MappedProduct, perturb_file
    from hwosim_assets.perturb.plan import make_plan
    from hwosim_assets.perturb.run import work_on
    from hwosim_assets.perturb.side import Side

    plan = make_plan(scenario, NAME, 60000.005)  # type: ignore[arg-type]

    def work() -> None:
        if truth:
            perturb_file(source, target, plan).write(target.with_suffix(".jsonl"))
            return
        product = MappedProduct(source, NAME, held=True)
        file = MappedFile(product, target)
        with mock.patch.object(Side, "of", lambda _: None):  # the side file belongs to the truth
            work_on(file, product, effects_of(plan, product), 1)
        file.save()

    return work


class Memory(NamedTuple):
    """Peak resident memory of a process when libraries were imported, a small product perturbed, and the work done."""

    imported: float
    small: float
    peak: float
    seconds: float


def memory(source: Path, work: str) -> Memory:
    """Return what some work takes in a fresh process, MiB."""
    small = source.with_name(f"small_{source.name}")
    product_file(small, SMALL_SIDE)
    program = PEAK.replace("WORK", work).replace("PIXELS", str(SIDE * SIDE))
    done = subprocess.run(
        [sys.executable, "-c", program, str(source), str(small)], capture_output=True, text=True, check=True
    )
    small.unlink()
    return Memory(*map(float, done.stdout.split()))


PEAK = """
import sys, time
from pathlib import Path
from hwosim_assets.perturb import Product, apply, compiled
from hwosim_assets.perturb.files import perturb_file
from hwosim_assets.perturb.plan import make_plan
from hwosim_assets.perturb.scenario import load_scenario
import hwosim_assets.perturb.effects as effects, pyarrow.parquet, astropy.io.fits
effects.registered()
pyarrow.table({"any": [0]})  # the first table imports pandas, which would count as memory of the product
compiled.want(PIXELS)
if compiled.on():
    import numpy
    from hwosim_assets.perturb.compiled.transfer import root_of_change
    root_of_change(numpy.zeros(1, numpy.float32), numpy.zeros(1, numpy.float32))  # the first call starts the compiler
source, target = Path(sys.argv[1]), Path(sys.argv[1] + ".out")
def peak():  # not ru_maxrss, which a process inherits from the one that started it
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

imported = peak()
apply(Product.open(sys.argv[2]), "nominal_l2")
small, start = peak(), time.perf_counter()
WORK
print(imported, small, peak(), time.perf_counter() - start)
"""
BY_FILE = 'perturb_file(source, target, make_plan(load_scenario("nominal_l2"), source.name, 60000.005))'
IN_MEMORY = 'apply(Product.open(source), "nominal_l2")[0].write(target)'


def peers(frame: np.ndarray) -> list[tuple[str, Cost]]:
    """Return what others take for a frame of this size, where they are installed."""
    found = []
    rng = np.random.default_rng(1)
    found.append(("numpy: one plane of float32 normals", best(lambda: rng.standard_normal(frame.shape, np.float32))))
    found.append(
        ("numpy: normals added to SCI, VAR and ERR redone", best(lambda: _plain(frame, rng))),
    )
    for module, name, work in (
        ("galsim", "GalSim Roman: all detector effects", _galsim),
        ("imagecorruptions", "imagecorruptions: gaussian noise, RGB", _imagecorruptions),
    ):
        try:
            importlib.import_module(module)
        except ImportError:
            found.append((f"{name}: not installed (uv sync --group bench)", Cost(*[float("nan")] * 3)))
            continue
        found.append((name, best(lambda work=work: work(frame), 1)))  # type: ignore[misc]
    return found


def _plain(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    variance = np.full(frame.shape, 0.02, np.float32)
    noisy = frame + np.sqrt(variance * np.float32(0.2)) * rng.standard_normal(frame.shape, np.float32)
    return np.asarray(noisy + np.sqrt(variance * np.float32(1.2)))


def _galsim(frame: np.ndarray) -> None:
    import galsim
    from galsim import roman

    image = galsim.ImageF(np.nan_to_num(np.abs(frame)).astype(np.float32) * 100)
    roman.allDetectorEffects(image, prev_exposures=[], rng=galsim.BaseDeviate(1), exptime=140.0)


def _imagecorruptions(frame: np.ndarray) -> None:
    from imagecorruptions import corrupt

    image = np.clip(np.nan_to_num(frame), 0, 255).astype(np.uint8)
    corrupt(np.dstack([image] * 3), corruption_name="gaussian_noise", severity=3)


def line(name: str, cost: Cost, floor: Cost, aim: str = "", own: Cost | None = None) -> None:
    """Print what something took, its ratio to the floor, what it took by itself, and what it should reach."""
    itself = "" if own is None else f"{cost.cpu - own.cpu:8.1f}"
    spent = f"{cost.wall:9.1f} {cost.cpu:9.1f} {cost.median:9.1f}"
    print(f"{name:62s} {spent} {cost.cpu / floor.cpu:8.2f} {itself:>8s}   {aim}")


def effects_alone(content: bytes, floor: Cost) -> None:
    """Print what each of some effects takes with loading and storing, and by itself."""
    from hwosim_assets.perturb.registry import effect_specs

    known = {spec.name for spec in effect_specs()}
    for name in (name for name in EFFECTS if name in known):
        hits = name == "cosmic_rays"
        work = Computing(content, chosen({name: {"flux": TEN_THOUSAND_HITS} if hits else {"severity": 3}}))
        aim = "own <= 5 ms with 10 000 hits" if hits else "own <= 20 ms"
        line(f"  {name} alone, compute", work.cost(), floor, aim, work.floor())


def memories(folder: Path, source: Path) -> None:
    """Print the memory of perturbing a product, and a large one."""
    size = source.stat().st_size / 1048576
    for name, work in (("from file to file", BY_FILE), ("in memory", IN_MEMORY)):
        found = memory(source, work)
        print(f"{'nominal_l2 ' + name + ': peak memory of its process, MiB':62s} {found.peak:9.0f}")
        print(f"{'  of it when libraries were imported, MiB':62s} {found.imported:9.0f}")
        print(f"{'  what came to it, per MiB of the product':62s} {(found.peak - found.imported) / size:9.2f}   <= 2.2")
        print(f"{'  since a small product was perturbed':62s} {(found.peak - found.small) / size:9.2f}")
    large = folder / "large" / NAME
    large.parent.mkdir()
    large_file(large)
    found = memory(large, BY_FILE)
    print(f"{LARGE_SIDE} x {LARGE_SIDE}, {large.stat().st_size / 1e9:.2f} GB, from file to file with its truth")
    print(f"{'  peak memory of its process, MiB':62s} {found.peak:9.0f}   <= 1536")
    print(f"{'  seconds':62s} {found.seconds:9.1f}")


def main() -> None:
    """Measure and print."""
    from hwosim_assets.perturb import compiled
    from hwosim_assets.perturb.scenario import load_scenario

    nominal = load_scenario("nominal_l2")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / NAME, Path(folder) / "out.fits"
        product_file(source)
        content = source.read_bytes()

        def gone() -> None:
            target.unlink(missing_ok=True)

        floor = best(lambda: shutil.copyfile(source, target), before=gone)
        title = f"2048 x 2048 cal, {len(content) / 1e6:.0f} MB"
        print(f"{title:62s} {'ms':>9s} {'cpu ms':>9s} {'median':>9s} {'/ copy':>8s} {'own ms':>8s}   aim")
        line("copying the file", floor, floor)
        work = Computing(content, nominal)
        loops = "with compiled loops" if compiled.on() else "without compiled loops: numba is not installed"
        preparing, pixels = work.parts()
        line(f"nominal_l2, compute, {loops}", pixels, floor, "<= 60 ms")
        line("  before it: noise budget, map of bad pixels", preparing, floor)
        line("  both, run as one", work.cost(), floor)
        through = from_disk(source, target, nominal, False)
        line("nominal_l2, read + perturb + write", best(through, before=gone), floor, "<= 120 ms")
        line("  the same with hashes and truth", best(from_disk(source, target, nominal, True), 3, gone), floor)
        if compiled.on():
            with plain():
                line("nominal_l2, compute, with numpy alone", work.parts()[1], floor)
                line("nominal_l2, read + perturb + write, with numpy alone", best(through, 3, gone), floor)
        line("loading and storing all planes, as nominal_l2 does", work.floor(), floor)
        effects_alone(content, floor)
        frame = np.random.default_rng(0).normal(50, 5, (SIDE, SIDE)).astype(np.float32)
        for name, value in peers(frame):
            line(name, value, floor)
        memories(Path(folder), source)


if __name__ == "__main__":
    main()
