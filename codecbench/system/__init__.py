"""What codecbench asks of the operating system: files, temporary folders and signals."""
