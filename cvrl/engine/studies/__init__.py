"""Studies: several runs, seeds and splits of a config in one table."""
