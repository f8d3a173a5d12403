"""Numbers derived from records: choices within a budget, latencies, plans, curves and BD-rates, without any layout."""
