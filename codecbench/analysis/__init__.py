"""Numbers derived from records: choices within a budget, latencies, plans, curves, BD-rates. No layout."""
