"""Models of networks, their files, and measurements of real paths."""
