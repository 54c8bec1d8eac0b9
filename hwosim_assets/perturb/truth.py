"""The truth of a perturbed product: everything that was done, enough to do it again and to check it.

Holds: :class:`Truth` (one JSON line, and a side file of the lost pixels), :func:`replay`, :func:`diff`.
Keep out how products are perturbed (``perturb.run``) and how truths are stored (``perturb.dataset``).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.perturb.changes import compare
from hwosim_assets.perturb.plan import Plan
from hwosim_assets.perturb.rng import RNG

if TYPE_CHECKING:
    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.product import Product

__all__ = ["ENGINE", "Run", "Truth", "Verdict", "diff", "make_truth", "read_truth", "replay"]

#: Version of the engine. A change of any output byte needs a new one.
ENGINE = "1"

#: Pixels looked at for the summary numbers.
_SAMPLE = 65536


class Run(NamedTuple):
    """Consecutive pixels that were lost."""

    effect: str
    label: str
    plane: str
    hdu: int
    frame: int
    group: int
    start: int
    length: int


@dataclass(frozen=True)
class Truth:
    """What was done to one product.

    Attributes
    ----------
    record : dict
        Hashes of input, output and plan; the plan itself; the noise budgets; for each effect what it
        found, drew and did; every array and header card that differs.
    side : bytes or None
        Parquet table of :class:`Run`; ``None`` when no pixel was lost.
    """

    record: dict[str, Any]
    side: bytes | None = None

    @property
    def plan(self) -> Plan:
        """The plan, as it was applied.

        Raises
        ------
        BadInputError
            When the record holds none that this version understands.
        """
        try:
            return Plan.model_validate(self.record["plan"])
        except (KeyError, ValidationError) as error:
            raise BadInputError("truth record", "holds no plan of this version", "use the record as written") from error

    @property
    def changed(self) -> bool:
        """Whether the output differs from the input."""
        return bool(self.record["in_sha256"] != self.record["out_sha256"])

    def line(self) -> str:
        """Return the record as one line of JSON."""
        return json.dumps(self.record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def runs(self) -> list[Run]:
        """Return the runs of lost pixels."""
        if self.side is None:
            return []
        import pyarrow.parquet as pq

        table = pq.read_table(io.BytesIO(self.side))
        return [Run(*row.values()) for row in table.to_pylist()]

    def write(self, path: Path) -> None:
        """Write the record to a file of JSON lines, and the side file beside it.

        Raises
        ------
        HwosimError
            When they cannot be written.
        """
        try:
            path.write_text(self.line() + "\n", encoding="utf-8")
            if self.side is not None:
                side_path(path).write_bytes(self.side)
        except OSError as error:
            raise HwosimError(str(path), error.strerror or "cannot be written", "check path and free space") from error


def side_path(path: Path) -> Path:
    """Return where the side file of a truth file lies."""
    return path.with_name(f"{path.stem}.runs.parquet")


def read_truth(path: Path, in_sha256: str) -> Truth:
    """Return the record of a file of JSON lines that belongs to an input.

    Raises
    ------
    BadInputError
        When the file cannot be read, or has no record of that input.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
    except OSError as error:
        raise BadInputError(str(path), error.strerror or "cannot be read", "check the path") from error
    except ValueError as error:
        raise BadInputError(str(path), f"is not a file of JSON lines ({error})", "use the file as written") from error
    for record in records:
        if isinstance(record, dict) and record.get("in_sha256") == in_sha256:
            side = side_path(path)
            return Truth(record, side.read_bytes() if side.is_file() else None)
    raise BadInputError(str(path), "has no record of this input", "use the truth that was written with it")


def make_truth(
    product: Product,
    out: Product,
    plan: Plan,
    steps: list[dict[str, Any]],
    budgets: dict[str, Budget],
    runs: list[Run],
) -> Truth:
    """Return the truth of a product.

    Parameters
    ----------
    product, out : Product
        Input and output.
    plan : Plan
        What was applied.
    steps : list of dict
        For each effect of the plan, what it found and did.
    budgets : dict
        Noise budgets by plane.
    runs : list of Run
        Lost pixels.
    """
    side = _side(runs) if runs else None
    pixels: Counter[tuple[str, str]] = Counter()
    for run in runs:
        pixels[run.effect, run.label] += run.length
    effects = [
        {**step.model_dump(mode="json"), **done, "pixels_lost": pixels[step.effect, step.label]}
        for step, done in zip(plan.effects, steps, strict=True)
    ]
    changes = (
        compare(product, out).record() if product.sha256 != out.sha256 else {"planes": (), "headers": (), "other": ()}
    )
    record = {
        "product": plan.uid,
        "in_sha256": product.sha256,
        "out_sha256": out.sha256,
        "plan_sha256": plan.sha256,
        "engine": ENGINE,
        "numpy": np.__version__,
        "rng": plan.rng,
        "scale": plan.scale,
        "seed": plan.seed,
        "stream_time_mjd": plan.stream_time,
        "plan": plan.model_dump(mode="json"),
        "budgets": {name: budget.record() for name, budget in budgets.items()},
        "effects": effects,
        "summary": _summary(product, out) if budgets else [],
        "changes": changes,
        "side_sha256": None if side is None else hashlib.sha256(side).hexdigest(),
    }
    return Truth(json.loads(json.dumps(record, allow_nan=False)), side)


def _side(runs: list[Run]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: [getattr(run, name) for run in runs] for name in Run._fields}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def _summary(product: Product, out: Product) -> list[dict[str, Any]]:
    """Return mean and rms of the change and the loss of signal to noise, from evenly taken pixels of each measurement.

    For people: these are floating sums, which may differ in their last digits between machines.
    """
    found = []
    for item in product.measurements:
        step = max(1, item.sci.size // _SAMPLE)

        def taken(plane: Any, source: Product, step: int = step) -> Any:
            return plane.decode(plane.raw(source.payload).reshape(-1)[::step]).astype(np.float64)

        before, after = taken(item.sci, product), taken(item.sci, out)
        both = np.isfinite(before) & np.isfinite(after)
        change = (after - before)[both]
        entry: dict[str, Any] = {"name": item.sci.name, "sampled": int(before.size)}
        if change.size:
            entry |= {"mean_change": float(change.mean()), "rms_change": float(np.sqrt((change * change).mean()))}
        if item.err is not None:
            entry["snr_loss_median"] = _snr_loss(before, after, taken(item.err, product), taken(item.err, out))
        found.append({key: value for key, value in entry.items() if value is None or value == value})
    return found


def _snr_loss(before: Any, after: Any, err_before: Any, err_after: Any) -> float | None:
    """Return 1 - the ratio of the median signal to noise after and before, of pixels with signal."""
    good = (before > 0) & (err_before > 0) & (err_after > 0) & np.isfinite(after)
    if not good.any():
        return None
    first = float(np.median(before[good] / err_before[good]))
    second = float(np.median(after[good] / err_after[good]))
    return 1.0 - second / first if np.isfinite(first) and np.isfinite(second) and first > 0 else None


def replay(truth: Truth, product: Product, *, threads: int = 1) -> Product:
    """Return the perturbed product again, from its input and its truth alone.

    Raises
    ------
    BadInputError
        When the input is not the one of the record, or another version made it.
    HwosimError
        When the bytes come out different, which is a bug.
    """
    from hwosim_assets.perturb.run import perturb_product

    record = truth.record
    if product.sha256 != record.get("in_sha256"):
        raise BadInputError(product.name, "is not the input of this truth record", "use the file it was made from")
    if (record.get("engine"), record.get("rng")) != (ENGINE, RNG):
        made = f"engine {record.get('engine')}, {record.get('rng')}"
        raise BadInputError("truth record", f"was made by {made}, this is {ENGINE}, {RNG}", "use that version")
    out, _ = perturb_product(product, truth.plan, threads=threads)
    if out.sha256 != record["out_sha256"]:
        raise HwosimError(product.name, "the replay gives other bytes than the record says", "report it as a bug")
    return out


@dataclass(frozen=True)
class Verdict:
    """Whether a truth accounts for every difference between two files, and what it does not account for."""

    accounted: bool
    findings: tuple[str, ...]


def diff(before: Product, after: Product, truth: Truth) -> Verdict:
    """Check that a truth accounts for every difference between an input and an output.

    The arrays and cards that differ must be those the record lists, element by element, and the
    differing values must be those that the record's plan gives when it is applied again.
    """
    record = truth.record
    if before.sha256 != record.get("in_sha256"):
        return Verdict(False, (f"{before.name} is not the input of this record",))
    found = json.loads(json.dumps(compare(before, after).record()))
    findings: list[str] = []
    for part, name in (("planes", "name"), ("headers", "hdu"), ("other", "")):
        said = record["changes"][part]
        findings += [f"not in the record: {_words(item, name)}" for item in found[part] if item not in said]
        findings += [f"recorded but not found: {_words(item, name)}" for item in said if item not in found[part]]
    if after.sha256 != record["out_sha256"] and not findings:
        findings += _unexplained_values(truth, before, after)
    return Verdict(not findings, tuple(findings))


def _words(item: Any, name: str) -> str:
    if name == "name":
        return f"{item['elements']} elements of {item['name']} (HDU {item['hdu']}) differ"
    if name == "hdu":
        return f"header of HDU {item['hdu']}: {len(item['removed'])} cards removed, {len(item['added'])} added"
    return str(item)


def _unexplained_values(truth: Truth, before: Product, after: Product) -> list[str]:
    """Say which values are not those that the plan gives."""
    made = compare(replay(truth, before), after)
    values = [f"{plane.elements} elements of {plane.name} have other values than recorded" for plane in made.planes]
    return values or ["the file differs from the recorded output outside arrays and cards"]
