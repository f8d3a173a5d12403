"""An evaluation of a YOLOX file that shares no code with the project: its own letterbox, decoding and suppression."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

SIDE = 416


def letterboxed(path: Path) -> tuple[np.ndarray, float, tuple[int, int]]:
    """Return BGR, 0 to 255, (1, 3, 416, 416); the ratio of the scaling; and width and height of the picture."""
    picture = np.asarray(Image.open(path).convert("RGB"), np.float64)
    height, width = picture.shape[:2]
    ratio = min(SIDE / height, SIDE / width)
    rows, columns = int(height * ratio), int(width * ratio)

    def axis(count: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        place = np.clip((np.arange(count) + 0.5) * length / count - 0.5, 0, length - 1)
        low = np.floor(place).astype(int)
        return low, np.minimum(low + 1, length - 1), place - low

    top, bottom, down = axis(rows, height)
    left, right, across = axis(columns, width)
    down, across = down[:, None, None], across[None, :, None]
    upper = picture[top][:, left] * (1 - across) + picture[top][:, right] * across
    lower = picture[bottom][:, left] * (1 - across) + picture[bottom][:, right] * across
    full = np.full((SIDE, SIDE, 3), 114.0)
    full[:rows, :columns] = np.rint(upper * (1 - down) + lower * down)
    return full[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32), ratio, (width, height)


def boxes_of(output: np.ndarray, ratio: float) -> list[tuple[int, float, list[float]]]:
    """Return class, score and (left, top, width, height) in pixels of the picture."""
    found = []
    row = 0
    for stride in (8, 16, 32):
        count = SIDE // stride
        for y in range(count):
            for x in range(count):
                values = output[row].astype(np.float64)
                row += 1
                number = int(np.argmax(values[5:]))
                score = values[4] * values[5 + number]
                if score < 0.01:
                    continue
                width, height = np.exp(values[2:4]) * stride / ratio
                centre = (values[0] + x) * stride / ratio, (values[1] + y) * stride / ratio
                found.append((number, float(score), [centre[0] - width / 2, centre[1] - height / 2, width, height]))
    kept: list[tuple[int, float, list[float]]] = []
    for each in sorted(found, key=lambda one: -one[1]):
        if all(each[0] != other[0] or shared(each[2], other[2]) <= 0.65 for other in kept):
            kept.append(each)
    return kept


def shared(a: list[float], b: list[float]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inner = max(0.0, width) * max(0.0, height)
    return inner / (a[2] * a[3] + b[2] * b[3] - inner)


def evaluated(model: Path, folder: Path, names: list[str]) -> list[float]:
    """Return AP and AP50, from 0 to 1, of these pictures by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    known: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, name in enumerate(names, 1):
        pixels, ratio, (width, height) = letterboxed(folder / "images" / name)
        (output,) = session.run(None, {session.get_inputs()[0].name: pixels})
        for category, score, box in boxes_of(output[0], ratio):
            found.append({"image_id": number, "category_id": category, "bbox": box, "score": score})
        for line in (folder / "labels" / name).with_suffix(".txt").read_text().splitlines():
            category, x, y, w, h = map(float, line.split())
            box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
            known.append({
                "id": len(known) + 1, "image_id": number, "category_id": int(category), "bbox": box,
                "area": box[2] * box[3], "iscrowd": 0,
            })  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {}, "images": [{"id": i} for i in range(1, len(names) + 1)], "annotations": known,
            "categories": [{"id": i, "name": str(i)} for i in range(80)],
        }  # fmt: skip
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats[:2]]
