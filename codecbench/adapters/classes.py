"""Names of classes: which of the model's outputs belongs to the name that the data has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from codecbench.adapters.contracts import ModelAdapter, file_name
from codecbench.errors import DataError
from codecbench.names import suggestion
from codecbench.system.textfiles import lines_of, read_text


def class_numbers(names: Sequence[str], network: ModelAdapter, label: str) -> dict[str, int]:
    """Return the number of the model's output for each name of a class in the data, which are sorted.

    The names of `--labels` decide, else those that the model has, else, where there are as many classes as outputs, the
    sorted order. Capitals, spaces, hyphens and underscores make no difference. Raises DataError for a name that is not
    among them.
    """
    labels = network.description.labels
    classes = _in_file(labels, network) if labels is not None else network.classes
    known = {
        _plain(name): number for number, all_names in reversed(list(enumerate(classes or ()))) for name in all_names
    }
    unknown = [name for name in names if _plain(name) not in known]
    if not unknown:
        return {name: known[_plain(name)] for name in names}
    if labels is None and (classes is None or len(classes) == len(names)):
        return {name: number for number, name in enumerate(names)}
    source = (
        f"--labels {file_name(labels)}" if labels is not None else f"the model {network.description.portable().model}"
    )
    shown = ", ".join(repr(all_names[0]) for all_names in (classes or ())[:3] if all_names)
    near = suggestion(unknown[0], known) or (f", which begin with {shown}" if shown else "")
    cure = "" if labels is not None else "; name the model's classes in their order, one a line, with --labels FILE"
    raise DataError(
        f"{label}: {source} knows no class {unknown[0]!r} among its {len(classes or ())} classes{near}{cure}"
    )


def _in_file(path: str, network: ModelAdapter) -> list[tuple[str, ...]]:
    """Return the names in each line of a file, parted by commas or tabs. Raises DataError if some are missing."""
    lines = [line for line in lines_of(read_text(Path(path), f"--labels {file_name(path)}")) if line.strip()]
    expected = None if network.classes is None else len(network.classes)
    if expected is not None and len(lines) != expected:
        raise DataError(f"--labels {file_name(path)} has {len(lines)} lines, and the model has {expected} classes")
    return [(line, *line.replace("\t", ",").split(",")) for line in lines]


def _plain(name: str) -> str:
    return "".join(" " if character in " _-" else character for character in name.casefold()).strip()
