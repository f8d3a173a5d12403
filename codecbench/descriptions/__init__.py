"""Plain values that say all about codecs and workloads that a run has to know, so that it imports none of them."""
