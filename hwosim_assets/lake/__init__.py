"""The lake: one object store and one table catalog; pure, knows nothing of Dagster."""
