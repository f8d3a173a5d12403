"""The headline of a study at a glance: one sentence, and a table of a few rows."""
