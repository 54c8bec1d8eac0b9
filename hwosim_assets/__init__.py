"""Archive to lake to catalog to perturbed datasets: the first Dagster code location."""
