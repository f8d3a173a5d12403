"""Models of networks, their files, and the measuring of real paths."""
