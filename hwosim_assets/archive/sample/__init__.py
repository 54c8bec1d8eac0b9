"""The sample archive: generated JWST-format products of every kind, with known truth.

Holds: :func:`write_sample`. Its modules go from exposure to file: ``programs`` (what is observed),
``exposure``, ``setups``, ``clock`` and ``sky`` (commanded facts), ``optics``, ``dispersed``,
``transit`` and ``cube`` (scenes), ``ramps`` and ``calibration`` (detector and pipeline), ``headers``
and ``products`` (files), ``recipes`` (which steps), ``write`` (disk). Keep out the archive's server.
"""

from __future__ import annotations

from .write import SampleFile, SampleSummary, write_sample

__all__ = ["SampleFile", "SampleSummary", "write_sample"]
