"""Running an experiment: accuracy pass, timing pass, records."""
