"""The program that a worker process runs."""
