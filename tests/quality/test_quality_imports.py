import subprocess
import sys

HEAVY = (
    "great_expectations",
    "pandas",
    "scipy",
    "astropy",
    "astroquery",
    "confluent_kafka",
    "boto3",
    "matplotlib",
)


def test_declaring_checks_and_metadata_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "import hwosim_assets.checks, hwosim_assets.metadata, hwosim_assets.resources\n"
        "import hwosim_assets.quality.suites, hwosim_assets.quality.report, hwosim_assets.quality.pictures\n"
        "import dagster as dg\n"
        "dg_partitions = dg.DynamicPartitionsDefinition(name='jwst_program')\n"
        "hwosim_assets.checks.gx_checks(dg.AssetKey(['catalog', 'products']), 'products', dg_partitions)\n"
        f"print(','.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ""


def test_the_rules_and_reports_know_nothing_of_dagster() -> None:
    code = (
        "import sys\n"
        "import hwosim_assets.quality.suites, hwosim_assets.quality.report, hwosim_assets.quality.run\n"
        "import hwosim_assets.quality.inputs, hwosim_assets.quality.pictures\n"
        "print(','.join(name for name in ('dagster', 'great_expectations', 'pandas') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ""
