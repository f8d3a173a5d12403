"""Data that users bring to a workload: archives unpacked, places kept, pictures opened, an order that names decide."""

from codecbench.toolbox.collecting.archives import unpack_tar
from codecbench.toolbox.collecting.order import NameOrder, files_below, view_names
from codecbench.toolbox.collecting.pictures import open_picture, picture_file
from codecbench.toolbox.collecting.places import PLACES, keep_place, kept_places

__all__ = [
    "PLACES",
    "NameOrder",
    "files_below",
    "keep_place",
    "kept_places",
    "open_picture",
    "picture_file",
    "unpack_tar",
    "view_names",
]
