"""Random boxes, and their average precision by the code of COCO's authors."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecbench.toolbox.boxes.matching import Detections, Objects

Picture = tuple[Detections, Objects]


def random_pictures(
    seed: int, pictures: int = 10, classes: int = 4, detections: int = 40, decimals: int = 2
) -> list[Picture]:
    """Objects, some of them crowds, and detections near them, with scores of few decimals, that often are equal."""
    random = np.random.default_rng(seed)
    return [_random_picture(random, classes, detections, decimals) for _ in range(pictures)]


def _random_picture(random: np.random.Generator, classes: int, detections: int, decimals: int) -> Picture:
    count, found = int(random.integers(0, 8)), int(random.integers(0, detections))
    corner = random.uniform(0, 60, (count, 2))
    objects = Objects(
        np.hstack([corner, corner + random.uniform(5, 40, (count, 2))]), random.integers(0, classes, count),
        random.random(count) < 0.2,
    )  # fmt: skip
    boxes = np.tile([0.0, 0.0, 9.0, 9.0], (found, 1)) + random.uniform(0, 60, (found, 1))
    names = random.integers(0, classes, found)
    if count:
        near = random.integers(0, count, found)
        boxes = objects.boxes[near] + random.normal(0, 3, (found, 4))
        names = np.where(random.random(found) < 0.8, objects.classes[near], names)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    scores = np.round(random.random(found), decimals).astype(np.float32).astype(np.float64)
    return Detections(boxes, scores, names), objects


def reference_precision(pictures: Sequence[Picture]) -> NDArray[np.float64]:
    """Return AP and AP50 in percent, by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return _summarised(COCO, COCOeval, pictures)


def second_reference_precision(pictures: Sequence[Picture]) -> NDArray[np.float64]:
    """Return AP and AP50 in percent, by faster-coco-eval."""
    from faster_coco_eval import COCO
    from faster_coco_eval import COCOeval_faster as COCOeval

    return _summarised(COCO, COCOeval, pictures)


def _summarised(coco: Any, evaluation: Any, pictures: Sequence[Picture]) -> NDArray[np.float64]:
    known: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, (detections, objects) in enumerate(pictures, 1):
        for box, name, crowd in zip(objects.boxes, objects.classes, objects.crowd, strict=True):
            known.append({
                "id": len(known) + 1, "image_id": number, "category_id": int(name), "bbox": _sides(box),
                "area": float((box[2] - box[0]) * (box[3] - box[1])), "iscrowd": int(crowd), "ignore": 0,
            })  # fmt: skip
        for box, score, name in zip(detections.boxes, detections.scores, detections.classes, strict=True):
            found.append({"image_id": number, "category_id": int(name), "bbox": _sides(box), "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco()
        truth.dataset = {
            "info": {}, "images": [{"id": i} for i in range(1, len(pictures) + 1)], "annotations": known,
            "categories": [{"id": i, "name": str(i)} for i in range(80)],
        }  # fmt: skip
        truth.createIndex()
        evaluated = evaluation(truth, truth.loadRes(found), "bbox")
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    return np.asarray(evaluated.stats[:2]) * 100


def _sides(box: NDArray[np.float64]) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]
