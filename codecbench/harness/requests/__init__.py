"""Single requests of a record's cell, which is opened again: plans validated over a path, payloads compared."""
