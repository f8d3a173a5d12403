"""The configuration of a run and the cells that follow from it."""
