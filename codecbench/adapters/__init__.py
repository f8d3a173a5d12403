"""Workloads that are described by texts: a model, its data and a task. All that knows a model family is in here."""
