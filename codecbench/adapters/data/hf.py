"""Data sets of Hugging Face: `hf:NAME-OR-FOLDER[:SPLIT]`, by the library datasets. Their own code is never run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from codecbench.adapters.contracts import DataAdapter, ModelAdapter, imported, keep_downloads
from codecbench.adapters.description import WorkloadDescription
from codecbench.adapters.pictures import form_of, picture_spec, prepared
from codecbench.codec import TensorSpec
from codecbench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARGUMENT = "name or path"
EXAMPLE = "hf:NAME:test"
PICTURES, LABELS = ("image", "img", "picture"), ("label", "labels", "fine_label")
SPLITS = ("test", "validation", "train")


class HubPictures(DataAdapter):
    """The pictures of a data set's split, by default its test split, named by their numbers."""

    def names(self) -> Sequence[str]:
        """Return the numbers of the rows."""
        return [str(row) for row in range(len(self._rows))]

    def input_spec(self, network: ModelAdapter) -> TensorSpec:
        """Return the spec of the network's pictures."""
        return picture_spec(network, self.label)

    def input(self, name: str, network: ModelAdapter) -> NDArray[Any]:
        """Return a picture, resized and cropped as the network takes it."""
        try:
            image = self._rows[int(name)][self._column(PICTURES)].convert("RGB")
        except (OSError, ValueError, AttributeError) as error:
            raise DataError(f"{self.label}: row {name} does not open as a picture ({error})") from error
        return prepared(image, form_of(network, self.label))

    def target(self, name: str) -> Any:
        """Return the label of a row: a class's name where the data set has names."""
        column = self._column(LABELS)
        number = self._labels[int(name)]
        names = getattr(self._rows.features[column], "names", None)
        return number if names is None else names[number]

    def class_names(self) -> Sequence[str] | None:
        """Return the names of the classes in the order of the data set; None where it has none."""
        if not any(key in self._rows.features for key in LABELS):
            return None
        names = getattr(self._rows.features[self._column(LABELS)], "names", None)
        return None if names is None else list(names)

    def _column(self, known: Sequence[str]) -> str:
        found = next((key for key in known if key in self._rows.features), None)
        if found is None:
            raise DataError(
                f"{self.label} has no column {' or '.join(map(repr, known))}; its columns are "
                f"{', '.join(self._rows.features)}"
            )
        return found

    @cached_property
    def _labels(self) -> Sequence[Any]:
        return list(self._rows[self._column(LABELS)])

    @cached_property
    def _rows(self) -> Any:
        keep_downloads(self.description)
        datasets = imported("datasets", f"--data {self.label}", "load_dataset")
        name, _, split = self.argument.partition(":")
        try:
            found = datasets.load_dataset(name)
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise DataError(
                f"--data {self.label} cannot be loaded ({reason}); fetch it once, or name its folder"
            ) from error
        split = split or next((each for each in SPLITS if each in found), next(iter(found)))
        if split not in found:
            raise DataError(f"--data {self.label} has no split {split!r}; it has {', '.join(found)}")
        return found[split]


def open_data(argument: str, description: WorkloadDescription) -> DataAdapter:
    """Return the pictures of `hf:NAME-OR-FOLDER[:SPLIT]`."""
    return HubPictures(argument, description)
