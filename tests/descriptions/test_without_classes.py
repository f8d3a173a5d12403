"""Planning, states, provenance, records and resuming work where neither codecs nor workloads are imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from support.described import CUTS
from support.paths import LEARNING, MISBEHAVING, ROOT, TINY

from codecbench.descriptions.catalogue import LocalCatalogue
from codecbench.descriptions.describe import describe_workload
from codecbench.registry import manager, workloads

CODECS = ("chained", "lost", "raises-when-asked", "raw", "skips-input", "steady", "jpeg-huffman")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of the descriptions in a process that got them as JSON."""
    folder = tmp_path_factory.mktemp("described")
    pm = manager([TINY, MISBEHAVING, LEARNING])
    catalogue = LocalCatalogue(pm)
    values = {
        "workload": describe_workload(workloads(pm)["tiny"]()).to_json(),
        "infos": {name: catalogue.info(name).to_json() for name in CODECS},
        "at": {name: [catalogue.at(name, spec, "full").to_json() for spec in CUTS.values()] for name in CODECS},
    }
    (folder / "described.json").write_text(json.dumps(values))
    done = subprocess.run(
        [sys.executable, "-m", "support.described", str(folder / "described.json"), str(folder / "out")],
        cwd=ROOT / "tests", env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_no_codec_no_workload_and_no_torch_was_imported(found: dict[str, Any]) -> None:
    assert "codecbench.harness.records" in found["modules"]
    plugins = ("torch", "codecbench_", "codecbench.toolbox")
    assert [name for name in found["modules"] if name.startswith(plugins)] == []


def test_cells_are_planned_neighbours_first(found: dict[str, Any]) -> None:
    assert [cell for cell in found["cells"] if "chained" in cell] == [
        f"{split} chained width={width}" for split in CUTS for width in (4, 2, 1)
    ]
    assert {"stem steady bits=16", "input skips-input", "stem raises-when-asked"} <= set(found["cells"])


def test_states_are_fitted_exported_or_none(found: dict[str, Any]) -> None:
    starts = ["chained {'width': 4} from None"]
    starts += [f"chained {{'width': {n}}} from {json.dumps({'width': 2 * n})}" for n in (2, 1)]
    assert [line for line in found["fitted"] if line.startswith("chained")] == starts * len(CUTS)
    assert set(found["exported"]) == {"JpegHuffman"}
    assert found["states"]["stem steady bits=16"] == ""
    assert found["states"]["stem lost"] == ("starts_from gave a point with the argument 'depth', which the codec lacks")


def test_records_are_written_and_found_again(found: dict[str, Any]) -> None:
    cells = len(found["cells"])
    assert found["written"]["skipped"] + found["written"]["failed"] == cells
    assert found["written"]["skipped"] >= 1
    assert found["present"] == [0, cells]
    assert found["stale"] == [1, 1]
    assert len(found["logged"]) == 1
    assert found["logged"][0].endswith("the codec's source has changed; measuring it again")
    assert {"raw (float32)", "chained", "steady"} <= set(found["rows"])
