"""Networks, training and exact integer transforms for learned codecs."""
