"""Draw what a detector finds in a photograph before and after a picture codec, as one SVG file.

    python docs/detection_example.py docs/guides/detection.svg --data-dir DIR

DIR has the detector that `codecbench data get coco` puts there. The photograph is `coffee.png` of scikit-image, which
Rachel Michetti gave away under CC0; `--picture` names another. This is one example, by a picture codec that
was not fitted: numbers of many pictures come from `codecbench run`.
"""

from __future__ import annotations

import argparse
import base64
import html
import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from codecbench import Codec, TensorSpec
from codecbench.registry import codecs, manager
from codecbench.toolbox.boxes import Detections, inner_size, upright_size
from codecbench_datasets.coco import CocoYolo
from codecbench_datasets.coco.pictures import detections, picture

SCORE_LIMIT = 0.3
WIDTH, GAP, CAPTION = 290, 8, 20
JPEG_QUALITY = 60
COLOURS = ("#c2185b", "#00695c", "#e65100", "#283593")
NAMES = {0: "person", 2: "car", 15: "cat", 16: "dog", 39: "bottle", 41: "cup", 44: "spoon", 56: "chair", 60: "table"}
QUALITIES = (90, 10, 0)


def restored(codec: type[Codec], point: Mapping[str, Any], pixels: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Return the picture that the edge gets, and the bytes of its payload."""
    spec = TensorSpec(pixels.shape, image=True)
    learner, device, edge = (codec(spec, **point) for _ in range(3))
    device.restore("device", learner.export("device"))
    edge.restore("edge", learner.export("edge"))
    payload = device.encode(torch.from_numpy(pixels))
    return edge.decode(payload).numpy(), len(payload)


def panel(pixels: NDArray[Any], found: Detections, caption: str, inner: tuple[int, int]) -> str:
    """Return the SVG elements of a picture with its boxes and a caption. `inner` is the picture's part of the input."""
    width, height = inner
    scale = WIDTH / width
    visible = np.rint(pixels[:, :height, :width].transpose(1, 2, 0) * 255).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(visible).resize((WIDTH, round(height * scale))).save(file, "JPEG", quality=JPEG_QUALITY)
    data = base64.b64encode(file.getvalue()).decode()
    parts = [
        f'<text x="0" y="14" font-weight="bold">{html.escape(caption)}</text>',
        f'<image y="{CAPTION}" width="{WIDTH}" height="{round(height * scale)}" href="data:image/jpeg;base64,{data}"/>',
    ]
    kinds: list[int] = []
    for box, score, number in zip(found.boxes, found.scores, found.classes.tolist(), strict=True):
        if score < SCORE_LIMIT:
            continue
        kinds += [] if number in kinds else [number]
        colour = COLOURS[number % len(COLOURS)]
        left, top, right, bottom = (np.clip(box, 0, [width, height, width, height]) * scale).tolist()
        label = f"{NAMES.get(number, f'class {number}')} {score:.2f}"
        parts.append(
            f'<rect x="{left:.1f}" y="{top + CAPTION:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" '
            f'fill="none" stroke="{colour}" stroke-width="2.5"/>'
            f'<rect x="{left:.1f}" y="{top + CAPTION:.1f}" width="{7 * len(label)}" height="15" fill="{colour}"/>'
            f'<text x="{left + 3:.1f}" y="{top + CAPTION + 11.5:.1f}" fill="#fff">{html.escape(label)}</text>'
        )
    return "\n".join(parts)


def drawing(workload: CocoYolo, path: Path, codec: type[Codec], points: Sequence[Mapping[str, Any]]) -> str:
    """Return the SVG text: the photograph as it is, then behind the codec at each point."""
    size = (workload.input_spec.shape[1] or 0, workload.input_spec.shape[2] or 0)
    inner = inner_size(*upright_size(path), size)
    original, model = picture(path, size), workload.build_model()
    shown = [(f"uncompressed, {original.size:,} bytes", original)]
    for point in points:
        decoded, count = restored(codec, point, original)
        setting = ", ".join(f"{key} {value}" for key, value in point.items())
        shown.append((f"{codec.name}, {setting}: {count:,} bytes", decoded))
    rows, height = [], CAPTION + round(inner[1] * WIDTH / inner[0])
    for at, (caption, pixels) in enumerate(shown):
        with torch.inference_mode():
            output = model(torch.from_numpy(pixels)[None])[0].numpy()
        column, row = at % 2, at // 2
        body = panel(pixels, detections(output, size), caption, inner)
        rows.append(f'<g transform="translate({column * (WIDTH + GAP)} {row * (height + GAP)})">\n{body}\n</g>')
    total = 2 * WIDTH + GAP, -(-len(shown) // 2) * (height + GAP) - GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total[0]} {total[1]}" width="{total[0]}" '
        f'height="{total[1]}" font-family="sans-serif" font-size="11">\n'
        "<title>Detections in a photograph before and after a codec at three rates</title>\n"
        f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(rows) + "\n</svg>\n"
    )


def main() -> None:
    """Write the drawing that the command line asks for."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--codec", default="webp")
    parser.add_argument("--quality", type=int, nargs="+", default=QUALITIES)
    chosen = parser.parse_args()
    photograph = chosen.picture
    if photograph is None:
        found = importlib.util.find_spec("skimage")
        assert found is not None
        photograph = Path(str(found.origin)).parent / "data" / "coffee.png"
    points = [{"quality": quality} for quality in chosen.quality]
    text = drawing(CocoYolo(chosen.data_dir), photograph, codecs(manager())[chosen.codec], points)
    chosen.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
