"""Where the checkout has what tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RESULTS = ROOT / "results"
DATA = ROOT / "tests" / "data"

SUPPORT = ROOT / "tests" / "support"
TINY = SUPPORT / "workloads" / "tiny.py"
SEQUENCE = SUPPORT / "workloads" / "sequence.py"
BROKEN = SUPPORT / "codecs" / "broken.py"
LEARNING = SUPPORT / "codecs" / "learning.py"
MISBEHAVING = SUPPORT / "codecs" / "misbehaving.py"
PLAIN_TORCH = SUPPORT / "codecs" / "plain_torch.py"
