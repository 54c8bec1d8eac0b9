"""The truth of a perturbed product: everything that was done, enough to do it again and to check it.

Holds: :class:`Truth` (one JSON line, and a side file of the lost pixels), its making and reading. Keep
out how products are perturbed (``perturb.run``), doing it again from a truth and checking by it
(``perturb.proof``), and how truths are stored (``perturb.dataset``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ValidationError

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.perturb.changes import Difference, compare
from hwosim_assets.perturb.plan import Plan, plan_sha256
from hwosim_assets.perturb.side import Side, side_table
from hwosim_assets.perturb.unsaid import stride

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from hwosim_assets.perturb.budget import Budget
    from hwosim_assets.perturb.effect import Earlier
    from hwosim_assets.perturb.planes import Plane
    from hwosim_assets.perturb.product import Product
    from hwosim_assets.perturb.unsaid import Unsaid

__all__ = ["ENGINE", "Truth", "make_truth", "read_truth"]

#: Version of the engine. A change of any output byte needs a new one.
ENGINE = "9"
_AS_WRITTEN = "use the file as written"


@dataclass(frozen=True)
class Truth:
    """What was done to one product.

    Attributes
    ----------
    record : dict
        Hashes of input, output and plan; the plan itself; the noise budgets; for each effect what it
        found, drew and did; every array and header card that differs.
    side : bytes or None
        Parquet table of lost and flagged pixels and of events (``perturb.side``); ``None`` without any.
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

    def runs(self) -> pa.Table | None:
        """Return the runs of lost, flagged and unflagged pixels, or ``None`` without any."""
        return self._rows("event", False)

    def happened(self) -> pa.Table | None:
        """Return the events, one row for each, or ``None`` without any."""
        return self._rows("event", True)

    def _rows(self, kind: str, wanted: bool) -> pa.Table | None:
        if self.side is None:
            return None
        table = side_table(self.side)
        rows = table.filter([(word == kind) is wanted for word in table["kind"].to_pylist()])
        return rows if rows.num_rows else None

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
        When the file cannot be read, or has no record of that input, or one that is not as it was written.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
    except OSError as error:
        raise BadInputError(str(path), error.strerror or "cannot be read", "check the path") from error
    except ValueError as error:
        raise BadInputError(str(path), f"is not a file of JSON lines ({error})", _AS_WRITTEN) from error
    for record in records:
        if isinstance(record, dict) and record.get("in_sha256") == in_sha256:
            _check(record, path)
            side = side_path(path)
            return Truth(record, side.read_bytes() if side.is_file() else None)
    raise BadInputError(str(path), "has no record of this input", "use the truth that was written with it")


class _Remembered(BaseModel):
    product: str
    sha256: str
    end_mjd: float


class _Read(BaseModel):
    """What a record is good for: what is read of it when it is replayed or compared with."""

    out_sha256: str
    plan_sha256: str
    plan: dict[str, Any]
    changes: Difference
    damaged: bool = False
    earlier: list[_Remembered] = []


def _check(record: dict[str, Any], path: Path) -> None:
    """Refuse a record that was changed since it was written."""
    try:
        read = _Read.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInputError(str(path), f"is no truth record: {where}: {first['msg']}", _AS_WRITTEN) from error
    if plan_sha256(read.plan) != read.plan_sha256:
        raise BadInputError(str(path), "holds another plan than it was written with", _AS_WRITTEN)


def make_truth(
    product: Product,
    out: Product,
    plan: Plan,
    steps: list[dict[str, Any]],
    budgets: dict[Plane, Budget],
    side: Side,
    earlier: Sequence[Earlier] = (),
    whole: Product | None = None,
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
        Noise budgets by science plane.
    side : Side
        What is kept of what the blocks told.
    earlier : sequence of Earlier
        Earlier exposures that effects were given.
    whole : Product, optional
        The output before its file was damaged, where it was.
    """
    effects = [
        {
            **step.model_dump(mode="json"),
            **done,
            **{name: count[step.effect, step.label] for name, count in side.counts.items()},
        }
        for step, done in zip(plan.effects, steps, strict=True)
    ]
    readable = out if whole is None else whole
    changes = dict.fromkeys(("planes", "headers", "other"), ())
    if product.sha256 != readable.sha256:
        changes = compare(product, readable).record()
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
        "budgets": [{"name": sci.name, "hdu": sci.hdu, **budget.record()} for sci, budget in budgets.items()],
        "effects": effects,
        "summary": _summary(product, readable, steps, side.unsaid) if budgets else [],
        "changes": changes,
        "damaged": whole is not None,
        "earlier": [item.record() for item in earlier],
        "side_sha256": None if side.content is None else hashlib.sha256(side.content).hexdigest(),
    }
    return Truth(json.loads(json.dumps(record, allow_nan=False)), side.content)


@np.errstate(invalid="ignore", over="ignore")  # bytes in another order are any numbers
def _summary(
    product: Product, out: Product, steps: list[dict[str, Any]], unsaid: dict[Plane, Unsaid]
) -> list[dict[str, Any]]:
    """Return mean and rms of the change and the loss of signal to noise, from evenly taken pixels of each measurement.

    The loss is told twice: by the errors that the planes claim, and by the true ones, which differ where the ``err`` of
    an effect is stale or biased.

    For people: these are floating sums, which may differ in their last digits between machines.
    """
    found: list[dict[str, Any]] = []
    if len(product.measurements) != len(out.measurements):  # tables were parted or joined
        return found
    scales: dict[tuple[str, int], list[float]] = {}
    for step in steps:
        for note in step["measurements"]:
            scales.setdefault((note["name"], note["hdu"]), []).append(note.get("signal_scale", 1.0))
    for item, other in zip(product.measurements, out.measurements, strict=True):
        if item.sci.shape != other.sci.shape:  # rows were taken out: no pixel has its partner at the same place
            found.append({"name": item.sci.name, "hdu": item.sci.hdu, "sampled": 0})
            continue
        entry: dict[str, Any] = {"name": item.sci.name, "hdu": item.sci.hdu}
        told, present = _change(_taken(item.sci, product), _taken(other.sci, out))
        entry |= told
        if item.err is not None and other.err is not None:
            left = float(np.prod(scales.get((item.sci.name, item.sci.hdu), [])))
            claimed = _taken(other.err, out)
            entry["snr_loss_median"] = loss = _snr_loss(left, _taken(item.err, product), claimed, present)
            if item.sci in unsaid:
                true = np.sqrt(np.maximum(claimed * claimed + unsaid[item.sci].variance, 0.0))
                loss = _snr_loss(left, _taken(item.err, product), true, present)
            entry["snr_loss_true_median"] = loss
        product.release()
        out.release()
        found.append({key: value for key, value in entry.items() if not isinstance(value, float) or np.isfinite(value)})
    return found


def _change(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    """Return what is to be said of a change, and which values are there after it."""
    told: dict[str, Any] = {"sampled": int(before.size)}
    present = np.isfinite(after)
    after -= before  # finite where both are
    change = after[np.isfinite(before) & present]
    if change.size:
        told["mean_change"] = float(change.mean())
        change *= change
        told["rms_change"] = float(np.sqrt(change.mean()))
    return told, present


def _taken(plane: Plane, source: Product) -> NDArray[np.float64]:
    source.release()
    return plane.decode(plane.raw(source.payload).reshape(-1)[:: stride(plane.size)]).astype(np.float64)


def _snr_loss(
    scale: float, before: NDArray[np.float64], after: NDArray[np.float64], present: NDArray[np.bool_]
) -> float | None:
    """Return 1 - (what is left of the signal) x (median of the error before over after)."""
    good = (before > 0) & (after > 0) & np.isfinite(before) & np.isfinite(after) & present
    if not good.any():
        return None
    # In place, for memory is at its peak here.
    np.divide(before, after, out=before, where=good)
    del after
    return 1.0 - scale * float(np.median(before[good], overwrite_input=True))
