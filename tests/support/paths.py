"""Where the checkout has what tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RESULTS = ROOT / "results"
DATA = ROOT / "tests" / "data"

SUPPORT = ROOT / "tests" / "support"
TINY = SUPPORT / "workloads" / "tiny.py"
ATTENTION = SUPPORT / "workloads" / "attention.py"
SEQUENCE = SUPPORT / "workloads" / "sequence.py"
SEVERAL = SUPPORT / "workloads" / "several.py"
FETCHED = SUPPORT / "workloads" / "fetched_weights.py"
BROKEN = SUPPORT / "codecs" / "broken.py"
BROKEN_WORKLOADS = SUPPORT / "workloads" / "broken_workloads.py"
LOOKING = SUPPORT / "codecs" / "looking.py"
LEARNING = SUPPORT / "codecs" / "learning.py"
MISBEHAVING = SUPPORT / "codecs" / "misbehaving.py"
REPEATING = SUPPORT / "codecs" / "repeating.py"
PLAIN_TORCH = SUPPORT / "codecs" / "plain_torch.py"
CHEATS = SUPPORT / "codecs" / "cheats.py"
CLOCK_CHEATS = SUPPORT / "codecs" / "cheating_clocks.py"
IMPORT_CHEATS = SUPPORT / "codecs" / "cheating_imports.py"
NO_KERNEL_SEAL = SUPPORT / "no_kernel_seal"
"""On the import path of a process, it simulates a kernel without Landlock and seccomp."""

PLUGIN_FILES = (TINY, SEQUENCE, SEVERAL, FETCHED, BROKEN, LEARNING, MISBEHAVING, PLAIN_TORCH, REPEATING)
"""The plugin files that no test writes."""
