"""Planning a stream: seconds for 100 000 messages under every kind of schedule, faults and group times included.

Holds: the run. It prints and asserts nothing; the goal is below 5 s on an idle core. Processor time, so that
others at work beside it do not count. In the timing: make_plan from manifest rows in memory to the hash, and the
order of sending.

    python -m benchmarks.stream_plan
"""

from __future__ import annotations

import json
import time
from typing import Any, get_args

import pyarrow as pa

from benchmarks.brokers import manifest_row
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.perturb.schedule import Schedule
from hwosim_assets.perturb.transport import TRANSPORT_SEVERITIES
from hwosim_streaming.plan import make_plan

PRODUCTS, INTEGRATIONS, GROUPS = 100, 20, 50


def main() -> int:
    """Plan under each mode and print a line of it."""
    manifest = pa.Table.from_pylist([_row(number) for number in range(PRODUCTS)])
    faults = {name: {"severity": 3} for name in TRANSPORT_SEVERITIES}
    print(f"{'schedule':<12} {'messages':>9} {'plan s':>7} {'order s':>8} {'per s':>9}")
    for mode in get_args(Schedule.model_fields["mode"].annotation):
        schedule = {"mode": mode, "trace_s": [0, 0.1, 0.5], "jitter_s": 0.001}
        scenario = Scenario.from_mapping("bench", {"version": 1, "schedule": schedule, "transport": faults})
        began = time.process_time()
        plan = make_plan(manifest, scenario)
        planned = time.process_time() - began
        sends = len(plan.sends)
        ordered = time.process_time() - began - planned
        print(f"{mode:<12} {plan.planned:>9} {planned:>7.2f} {ordered:>8.2f} {sends / (planned + ordered):>9.0f}")
    return 0


def _row(number: int) -> dict[str, Any]:
    """Return the manifest row of an uncal product of 1000 groups, each one message."""
    start = 59800 + number // 10 / 100
    ends = [[start + (i * GROUPS + g) / 1e6 for g in range(GROUPS)] for i in range(INTEGRATIONS)]
    row = manifest_row(number, [INTEGRATIONS, GROUPS, 64, 64], start)
    return {**row, "exposed_json": json.dumps({"by": "GROUP", "mjd": ends})}


if __name__ == "__main__":
    raise SystemExit(main())
