"""What goes onto Kafka and what comes back: the second Dagster code location."""
