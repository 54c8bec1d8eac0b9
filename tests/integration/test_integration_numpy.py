"""The oldest numpy that is supported makes the same pixels as the newest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "perturb"))

from golden import HASHES, program  # noqa: E402

pytestmark = pytest.mark.integration
OLDEST = ("numpy==2.0.2", "astropy", "pydantic", "pyyaml", "pyarrow", "click")


def _uv() -> str:
    own = ROOT / ".tools" / "bin" / "uv"
    found = str(own) if own.is_file() else shutil.which("uv")
    if found is None:
        pytest.skip("uv is not installed")
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("features", ["", "AVX512F AVX512CD AVX512_SKX AVX2 FMA3"])
def test_the_oldest_numpy_makes_the_same_pixels(features: str) -> None:
    """AVX and FMA are switched off by the names that numpy 2.0 has for them."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    environment["NPY_DISABLE_CPU_FEATURES"] = features
    wanted = [word for package in OLDEST for word in ("--with", package)]
    run = [_uv(), "run", "--no-project", "--isolated", "--python", sys.executable, *wanted, "python", "-c"]
    version = "import numpy; assert numpy.__version__ == '2.0.2', numpy.__version__\n"
    for severity, expected in HASHES:
        done = subprocess.run(
            [*run, version + program(severity, 1)], capture_output=True, text=True, check=False, env=environment
        )
        assert done.stdout.strip() == expected, done.stderr
