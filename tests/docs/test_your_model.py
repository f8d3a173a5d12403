"""The guide for a model of one's own, done word by word, with a folder of made-up photos."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pages import carry_out, steps
from support.paths import DOCS
from support.prepared import PreparedServer

from codecbench.registry import load_file

PAGE = DOCS / "guides" / "your-model.md"
PHOTOS = 48


def write_photos(folder: Path) -> None:
    """Pictures of coloured gradients, in turn of a cat and of a dog."""
    rng = np.random.default_rng(0)
    for number in range(PHOTOS):
        place = folder / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        corners = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        Image.fromarray(corners).resize((48, 40), Image.Resampling.BICUBIC).save(place / f"{number:02}.png")


def write_onnx(page: str, folder: Path) -> None:
    """The network of the page as an ONNX file."""
    import torch

    (source,) = (step.content for step in steps(page) if step.name == "net.py")
    (folder / "net.py").write_text(source)
    model = load_file(folder / "net.py").make().eval()
    torch.onnx.export(
        model, (torch.zeros(2, 3, 32, 32),), folder / "net.onnx", dynamo=False, input_names=["x"],
        dynamic_axes={"x": {0: "batch"}},
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_guide_does_what_it_says(tmp_path: Path, prepared_server: PreparedServer) -> None:
    pytest.importorskip("onnxruntime")
    page = PAGE.read_text()
    write_photos(tmp_path / "photos")
    write_onnx(page, tmp_path)
    outputs = carry_out(page, tmp_path, prepared_server)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    table = next(output for output in outputs if "photos: smallest payload" in output)
    assert re.search(r"^raw \(float32\) +12,288 \(100\)", table, re.MULTILINE)
    assert re.search(r"^jpeg-huffman \(own\) +[\d,]+ \(\d+\.\d\)", table, re.MULTILINE)
