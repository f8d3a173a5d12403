"""Units of work: a range of samples of a split with some of its cells, scored by a crew of processes of its own."""
