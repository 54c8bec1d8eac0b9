"""The Dagster resources of both code locations: the lake with its tables, and the archive.

Holds: thin holders that build their client from :class:`~hwosim_assets.settings.Settings` when an
asset or a check first asks for it, and keep it for the run. Nothing connects at import or when
definitions load. Keep out the clients themselves; they stand in ``lake`` and ``archive`` and know
nothing of Dagster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import PrivateAttr

from hwosim_assets.environment import refuse_another
from hwosim_assets.settings import Settings

if TYPE_CHECKING:
    from hwosim_assets.archive.client import ArchiveClient
    from hwosim_assets.lake.store import Lake
    from hwosim_assets.lake.tables import Tables
    from hwosim_assets.lake.transfer import ByteSource

__all__ = ["ArchiveResource", "LakeResource"]


class LakeResource(dg.ConfigurableResource[Any]):
    """The object store and the Iceberg tables that the settings name."""

    _lake: Lake | None = PrivateAttr(default=None)
    _tables: Tables | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Refuse to write into one environment for the runs of another."""
        if context.instance is not None:
            refuse_another(context.instance, Settings().environment)

    def lake(self) -> Lake:
        """Return the object store, built at the first call of a run.

        Raises
        ------
        BackendAbsentError
            If the settings name a store that cannot be used.
        """
        if self._lake is None:
            from hwosim_assets.lake.store import Lake

            self._lake = Lake.from_settings(Settings())
        return self._lake

    def tables(self) -> Tables:
        """Return the Iceberg tables, built at the first call of a run.

        Raises
        ------
        BackendAbsentError
            If the settings name a table catalog that cannot be used.
        """
        if self._tables is None:
            from hwosim_assets.lake.tables import Tables

            self._tables = Tables.from_settings(Settings())
        return self._tables


class ArchiveResource(dg.ConfigurableResource[Any]):
    """The archive that the settings name: MAST, or a local one."""

    _client: ArchiveClient | None = PrivateAttr(default=None)

    def client(self) -> ArchiveClient:
        """Return the archive's client, built at the first call of a run."""
        if self._client is None:
            from hwosim_assets.archive.client import ArchiveClient

            self._client = ArchiveClient.from_settings(Settings())
        return self._client

    def source(self) -> ByteSource:
        """Return where files come from: the archive, or its mirror where one is configured."""
        mirror = Settings().archive_mirror
        if not mirror:
            return self.client()
        from hwosim_assets.archive.mirror import MirroredArchive

        return MirroredArchive(self.client(), mirror)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Close the client's connections when the run ends."""
        if self._client is not None:
            self._client.close()
            self._client = None
