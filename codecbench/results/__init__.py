"""Records of measured cells, the results folder, and statistics."""
