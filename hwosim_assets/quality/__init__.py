"""Great Expectations suites over the tables of the lake, and the reports people read."""
