"""The guide on more machines, done word by word, on this one."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.pages import carry_out
from support.paths import DOCS
from support.prepared import PreparedServer
from support.runs import content_of

PAGE = DOCS / "guides" / "more-machines.md"


def test_the_guide_does_what_it_says(tmp_path: Path, prepared_server: PreparedServer) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed")
    carry_out(PAGE.read_text(), tmp_path, prepared_server)
    together, apart = (content_of(tmp_path / name) for name in ("codecbench-results", "apart"))
    assert together == apart
    assert len(together) > 2
