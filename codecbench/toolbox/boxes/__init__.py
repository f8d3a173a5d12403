"""Boxes around objects: read from labels, decoded from a detector's outputs, matched, and their average precision."""

from codecbench.toolbox.boxes.average_precision import AveragePrecision
from codecbench.toolbox.boxes.decoding import STRIDES, decode_grids, decode_queries, grid_rows
from codecbench.toolbox.boxes.folders import read_folder
from codecbench.toolbox.boxes.labels import Label, Labels, read_json_labels, read_text_labels
from codecbench.toolbox.boxes.matching import THRESHOLDS, Detections, Objects, matched, overlap, suppressed
from codecbench.toolbox.boxes.scaling import inner_size, letterbox, placed_objects, upright_size

__all__ = [
    "STRIDES",
    "THRESHOLDS",
    "AveragePrecision",
    "Detections",
    "Label",
    "Labels",
    "Objects",
    "decode_grids",
    "decode_queries",
    "grid_rows",
    "inner_size",
    "letterbox",
    "matched",
    "overlap",
    "placed_objects",
    "read_folder",
    "read_json_labels",
    "read_text_labels",
    "suppressed",
    "upright_size",
]
