"""The mission's own data models take the sample's files for what they are."""

from __future__ import annotations

import warnings

import pytest
from astropy.io import fits

from hwosim_assets.archive.sample import SampleSummary


def test_stdatamodels_opens_every_file_as_the_right_model(sample: SampleSummary) -> None:
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    for file in sample.files:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with datamodels.open(file.path, strict_validation=True) as model:
                model.validate()
                assert type(model).__name__ == fits.getheader(file.path)["DATAMODL"]
                assert model.meta.observation.program_number == file.program
                if file.product_type == "x1dints":
                    layout = type(model).__name__
                    assert len(model.spec) == (1 if layout == "TSOMultiSpecModel" else 10)
