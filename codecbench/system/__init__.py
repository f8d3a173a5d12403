"""Files, temporary folders, signals, and texts that users write."""
