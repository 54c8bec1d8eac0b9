"""What the graph of an environment makes of a program that was promoted to it, or taken back.

Holds: :func:`adopt`, which records the archive's part as materialized and has the rest judged by this environment's
own checks; who has to wait. Keep out rows and objects (``hwosim_assets.promotion``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from hwosim_assets.archive.schema import ARCHIVE_PRODUCTS, OBSERVATIONS
from hwosim_assets.errors import HwosimError
from hwosim_assets.lake.content import content_sha256
from hwosim_assets.lake.ingest import RAW_FILES
from hwosim_assets.partitions import register_programs
from hwosim_assets.runner import Outcome, materialize_program
from hwosim_assets.sensors import UNFINISHED

if TYPE_CHECKING:
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.promotion import Promotion

__all__ = ["adopt", "only_promotion", "refuse_busy"]

#: What the archive gave, in the order of the graph: asset, its table, and what its data version leaves out.
_GIVEN = (
    (("mast", "observations"), OBSERVATIONS, ()),
    (("mast", "products"), ARCHIVE_PRODUCTS, ()),
    (("raw", "fits_files"), RAW_FILES, ("etag",)),
)
VERSION_TAG, INPUT_TAG = "dagster/data_version", "dagster/input_data_version/"


def refuse_busy(instance: dg.DagsterInstance, program: str) -> None:
    """Refuse a program that a run is under way for: it would write between our rows.

    Raises
    ------
    HwosimError
        If there is one.
    """
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED, tags={"dagster/partition": program}), limit=1)
    if runs:
        raise HwosimError(f"program {program}", f"run {runs[0].run_id} is under way", "wait until it has ended")


@contextmanager
def only_promotion(home: Path, program: str) -> Iterator[None]:
    """Let one process of this installation promote a program, or take it back, at a time.

    Parameters
    ----------
    home : pathlib.Path
        The state folder of the environment that is promoted to.
    program : str
        Five digits.

    Raises
    ------
    HwosimError
        If another process does so now: two would take each other's rows for those of before.
    """
    from filelock import FileLock, Timeout

    folder = home / "promoting"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{program}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        reason = "is being promoted or taken back by another process"
        raise HwosimError(f"program {program}", reason, "wait until it has ended") from error
    try:
        yield
    finally:
        lock.release()


def adopt(instance: dg.DagsterInstance, definitions: dg.Definitions, tables: Tables, promotion: Promotion) -> Outcome:
    """Make the graph know the rows that stand now, and judge them by this environment's checks.

    The archive is not asked: what it gave is recorded as it stands. The catalog and the perturbed datasets are
    materialized in one run, which finds everything made already, and evaluates every check; the sensors see them
    as they see any other.

    Parameters
    ----------
    instance : dagster.DagsterInstance
        Of the environment that was promoted to.
    definitions : dagster.Definitions
        Its first location.
    tables : Tables
        Its tables.
    promotion : Promotion
        What was done.

    Returns
    -------
    Outcome
        Of the run; without one where no file is left, since there is nothing to judge then.
    """
    register_programs(instance, [promotion.program])
    above: dict[str, str] = {}
    for path, spec, left_out in _GIVEN:
        key, rows = dg.AssetKey(list(path)), tables.scan(spec, {"program": promotion.program})
        version = content_sha256(spec, rows.drop_columns(list(left_out)))
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                key,
                partition=promotion.program,
                description=f"As promotion {promotion.promotion} from {promotion.source} left it.",
                metadata={"promotion": promotion.promotion, "source": promotion.source, "rows": rows.num_rows},
                tags={VERSION_TAG: version, **above},
            )
        )
        above = {INPUT_TAG + key.to_user_string(): version}
    if not promotion.tables[RAW_FILES.name]:
        return Outcome(promotion.program)
    last = "perturbed" if promotion.scenarios else "catalog"
    return materialize_program(
        instance, [definitions], promotion.program, scenarios=promotion.scenarios, first="catalog", stage=last
    )
