"""Records of measured cells, the folder they lie in, and their statistics."""
