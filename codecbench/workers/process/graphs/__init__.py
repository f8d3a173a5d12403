"""Traces a model into a graph, and finds where the graph can be cut."""
