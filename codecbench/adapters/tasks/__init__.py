"""Tasks, a module each: `open_task` returns the metrics, the targets and the scores of a task."""
