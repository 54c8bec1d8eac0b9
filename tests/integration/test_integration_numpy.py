"""The oldest numpy that is supported makes the same pixels as the newest."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "perturb"))

from golden import GOLDEN, made  # noqa: E402

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
    wanted = [word for package in OLDEST for word in ("--with", package)]
    python = [_uv(), "run", "--no-project", "--isolated", "--python", sys.executable, *wanted, "python"]
    version = "import numpy; assert numpy.__version__ == '2.0.2', numpy.__version__\n"
    assert made(1, features, python, version) == GOLDEN
