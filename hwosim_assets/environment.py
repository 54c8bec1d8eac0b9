"""Which environment a Dagster instance belongs to.

Holds: :func:`refuse_another`. Lakes, tables and topics are apart by name (``settings``); runs, partitions and
cursors are not, so that an instance remembers whose it is and lets nobody else in.
"""

import dagster as dg

from hwosim_assets.errors import HwosimError

__all__ = ["refuse_another"]

#: Where the instance remembers it.
_CURSOR = "hwosim/environment"


def refuse_another(instance: dg.DagsterInstance, environment: str) -> None:
    """Make a new instance this environment's; refuse one that is another's.

    Parameters
    ----------
    instance : dagster.DagsterInstance
        Where runs are recorded.
    environment : str
        ``HWOSIM_ENVIRONMENT``.

    Raises
    ------
    HwosimError
        If the instance keeps the runs of another environment.
    """
    storage = instance.run_storage
    owner = storage.get_cursor_values({_CURSOR}).get(_CURSOR)
    if owner is None:
        storage.set_cursor_values({_CURSOR: environment})
    elif owner != environment:
        raise HwosimError(
            "Dagster's storage",
            f"keeps the runs of the environment {owner}, and this is {environment}",
            "give each environment a DAGSTER_HOME (or a database) of its own",
        )
