"""The search for operating points: `--points auto`."""
