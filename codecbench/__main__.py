"""`python -m codecbench`: the command line."""

from __future__ import annotations

from codecbench.cli.main import main

if __name__ == "__main__":
    main()
