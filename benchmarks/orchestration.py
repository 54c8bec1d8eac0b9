"""What orchestration costs as programs grow: loading the definitions, ticks of our sensors, the automation tick.

Holds: an instance in which many programs were taken through the graph once (recorded, not run), and the timing of
what looks at all of them. It prints and asserts nothing; everything lies in a temporary folder, which is removed.

    python -m benchmarks.orchestration [--programs 1000]
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

#: Seconds that loading, one of our ticks, and the automation tick are to stay under.
TARGETS = {"load": 4.0, "tick": 1.0, "automation": 30.0}


class _Archive:
    """Answers what the sensors ask, at once: what is timed is Dagster and we."""

    def __init__(self, programs: Sequence[str]) -> None:
        self._programs = programs

    def programs(self, of: Sequence[str] | None = None) -> dict[str, str]:
        wanted = self._programs if of is None else set(of).intersection(self._programs)
        return dict.fromkeys(wanted, "as it was")


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def _load_seconds(modules: str) -> float:
    return min(_timed(lambda: subprocess.run([sys.executable, "-c", f"import {modules}"], check=True))[0] for _ in "ab")


def _take_through(instance: Any, keys: dict[Any, tuple[Any, ...]], programs: Sequence[str]) -> float:
    """Record that every program was taken through the graph; return seconds per materialization."""
    import dagster as dg

    began = time.perf_counter()
    for program in programs:
        for key, above in keys.items():
            tags = {"dagster/data_version": "a"}
            tags |= {f"dagster/input_data_version/{each.to_user_string()}": "a" for each in above}
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=program, tags=tags))
    return (time.perf_counter() - began) / (len(programs) * len(keys))


def _tick(definitions: Any, instance: Any, name: str, resources: dict[str, Any], cursor: str | None) -> Any:
    import dagster as dg

    sensor = definitions.resolve_sensor_def(name)
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources=resources, definitions=definitions
    ) as context:
        return sensor(context)


def _until_idle(definitions: Any, instance: Any, name: str, resources: dict[str, Any]) -> tuple[float, float, int]:
    """Tick until nothing is asked for, each run taken as succeeded; return the longest tick, an idle one, and runs."""
    import dagster as dg

    longest, runs, cursor = 0.0, 0, None
    while True:
        seconds, result = _timed(partial(_tick, definitions, instance, name, resources, cursor))
        longest, cursor = max(longest, seconds), result.cursor
        for request in result.run_requests or []:
            runs += 1
            instance.add_run(dg.DagsterRun(job_name="it", status=dg.DagsterRunStatus.SUCCESS, tags=request.tags))
        if not result.run_requests:
            return longest, _timed(partial(_tick, definitions, instance, name, resources, cursor))[0], runs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=1000)
    count = parser.parse_args().programs
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")  # what is beta in Dagster is pinned
    bare = _load_seconds("dagster")
    both = _load_seconds("hwosim_assets.definitions, hwosim_streaming.definitions")
    print(f"{'definitions of both locations load':45} {both:8.2f} s   (at most {TARGETS['load']:g})")
    print(f"{'  import dagster alone':45} {bare:8.2f} s   {both / bare:.2f}x")
    # in memory where there is some: each of the recorded events is a commit, and what is timed are questions
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        os.environ["DAGSTER_HOME"] = folder
        _ticks(Path(folder), count)


def _ticks(home: Path, count: int) -> None:
    import dagster as dg

    from hwosim_assets import automation
    from hwosim_assets.definitions import build_defs as assets
    from hwosim_assets.partitions import register_programs
    from hwosim_assets.resources import ArchiveResource, LakeResource
    from hwosim_streaming.definitions import build_defs as streaming

    programs = [f"{number:05d}" for number in range(1, count + 1)]
    archive = _Archive(programs)

    class Archive(ArchiveResource):
        def client(self) -> Any:
            return archive

    first, second = assets(), streaming()
    shipped = first.resolve_asset_graph()
    made = [key for key in shipped.materializable_asset_keys if shipped.get(key).automation_condition]
    automated = {key.path[1] for key in made if key.path[0] == "perturbed"}
    graph = automation.graph_of(list(first.assets or []), list(first.asset_checks or []), automated)  # type: ignore[arg-type]
    keys: dict[dg.AssetKey, tuple[dg.AssetKey, ...]] = {dg.AssetKey(["mast", "observations"]): (), **graph.upstream}
    with dg.instance_for_test(temp_dir=str(home)) as instance:
        register_programs(instance, programs)
        each = _take_through(instance, keys, programs)
        print(f"{f'{count} programs x {len(keys)} assets recorded':45} {1000 * each:8.2f} ms each")
        used = sum(path.stat().st_size for path in home.rglob("*.db"))
        print(f"{'  event log per materialization':45} {used / count / len(keys) / 1000:8.2f} kB")
        resources: dict[str, Any] = {"archive": Archive(), "lake": LakeResource()}
        for definitions, name in (
            (first, "discover_programs_sensor"),
            (first, "refresh_changed_sensor"),
            (first, "reconcile_inputs_sensor"),
            (second, "publish_new_sensor"),
        ):
            longest, idle, runs = _until_idle(definitions, instance, name, resources)
            more = f"its longest {longest:.2f}, while it asked for {runs} runs"
            print(f"{name:45} {idle:8.2f} s   (at most {TARGETS['tick']:g}; {more})")
        ours = dg.AssetSelection.assets(*graph.upstream)  # what follow_changes_sensor targets
        evaluate = partial(dg.evaluate_automation_conditions, first, instance, ours)
        cold, seen = _timed(evaluate)
        idle, _ = _timed(partial(evaluate, cursor=seen.cursor))
        limit = f"(at most {TARGETS['automation']:g}; its first tick {cold:.2f})"
        print(f"{f'automation tick, {len(graph.upstream)} assets':45} {idle:8.2f} s   {limit}")


if __name__ == "__main__":
    main()
