"""The configuration of a run, and the cells that it plans."""
