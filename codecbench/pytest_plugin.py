"""pytest fixtures for plugin authors (entry point `pytest11`). Importing this module imports neither torch nor a codec."""
