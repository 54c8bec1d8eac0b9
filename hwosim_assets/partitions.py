"""How the graph is cut: one partition per JWST program.

Holds: the one partitions definition, and how programs are registered in it. Keep out a second
dimension: a scenario is an asset of its own, since one run cannot mix partitions definitions and
partitioned checks are recorded for one partition per run only.

See https://docs.dagster.io/guides/build/partitions-and-backfills/partitioning-assets
"""

from collections.abc import Iterable

import dagster as dg

from hwosim_assets.fits.names import program_key

__all__ = ["jwst_program", "register_programs", "registered_programs"]

#: Five digits, as in the file names; ``00000`` is reserved for files that name no program.
#: Keys are registered by the discovery sensor and by ``hwosim programs register``, and never deleted:
#: Dagster's automation page breaks on a key that has history and is gone (dagster issue 33910).
jwst_program = dg.DynamicPartitionsDefinition(name="jwst_program")


def registered_programs(instance: dg.DagsterInstance) -> list[str]:
    """Return the programs that have a partition, in order."""
    return sorted(instance.get_dynamic_partitions("jwst_program"))


def register_programs(instance: dg.DagsterInstance, programs: Iterable[str | int]) -> list[str]:
    """Register programs that have no partition yet.

    Parameters
    ----------
    instance : dagster.DagsterInstance
        Where the partitions are kept.
    programs : iterable of str or int
        Proposal numbers, padded or not.

    Returns
    -------
    list of str
        The keys that were new.

    Raises
    ------
    BadInputError
        If one is not a proposal number; then none is registered. Dagster itself stores any text,
        commas and ``../x`` included.
    """
    keys = {program_key(program) for program in programs}
    new = sorted(keys - set(registered_programs(instance)))
    if new:
        instance.add_dynamic_partitions("jwst_program", new)
    return new
