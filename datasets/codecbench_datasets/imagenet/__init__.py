"""The workload `imagenet-resnet50`: ImageNet pictures, 224 x 224 pixels, classified by a ResNet-50.

`codecbench data get imagenet` collects weights and pictures, none of which ship. The README beside this file names
their sources. Importing this module imports neither torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecbench import DataError, RatioMetric, Subset, TensorSpec, Workload, data_folders, hookimpl
from codecbench_datasets.imagenet.form import SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

TOP = 5


class ImageNetResNet50(Workload):
    """Top-5 and top-1 of a ResNet-50 on ImageNet, split at the input, after the stem or after one of the four stages.

    Labelled pictures are parted by the hashes of their names: the first half, and no more than 1,000, serve to choose
    operating points, the others to test. Fits learn from views of unlabelled pictures, if there are any.
    """

    name = "imagenet-resnet50"
    metrics = (
        RatioMetric("top-5", "%", higher_is_better=True, scale=100.0, binary=True),
        RatioMetric("top-1", "%", higher_is_better=True, scale=100.0, binary=True),
    )
    default_splits = ("input", "stem", "stage1", "stage2", "stage3", "stage4")
    budget = 1.1
    dataset = "imagenet"

    @property
    def input_spec(self) -> TensorSpec:
        """RGB pixels k/255, before normalisation, which is the first module of the network."""
        return TensorSpec((3, SIZE, SIZE), image=True)

    def build_model(self) -> nn.Module:
        """Return the ResNet-50: (N, 3, 224, 224) pixels to (N, 1000) logits. Raises DataError without its weights."""
        from codecbench_datasets.imagenet.model import ResNet50
        from codecbench_datasets.imagenet.weights import load

        state, form = load(self._weights_file())
        model = ResNet50(form)
        model.load_state_dict(state, strict=False)  # counters of batch normalisation are not kept
        return model.eval()

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the file of weights, which states the form of the pictures as well."""
        from codecbench_datasets.imagenet.catalogue import weights_sha256

        return weights_sha256(self._weights_file())

    def sample_ids(self, subset: Subset) -> Sequence[str]:
        """Return paths of labelled pictures in their folder; for `fit` names of unlabelled ones, `#` and a view."""
        from codecbench.toolbox.collecting import view_names
        from codecbench_datasets.imagenet.catalogue import VIEWS, choice_count, names

        if subset == "fit":
            place = self._unlabelled()
            return view_names(names(place), VIEWS) if place is not None else []
        found = self._labelled_names()
        chosen = choice_count(len(found))
        return found[:chosen] if subset == "choice" else found[chosen:]

    def training_ids(self) -> Sequence[str]:
        """Return the views of the photographs that shipped states were fitted on, whether or not these are here."""
        from codecbench.toolbox.collecting import view_names
        from codecbench_datasets.imagenet.catalogue import VIEWS, reference_photographs

        return view_names(reference_photographs(), VIEWS)

    def fit_groups(self) -> Sequence[str]:
        """Return the picture of each view."""
        return [name.rpartition("#")[0] for name in self.sample_ids("fit")]

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        """Return pictures as float32 (3, 224, 224), values k/255."""
        from codecbench_datasets.imagenet.pictures import picture
        from codecbench_datasets.imagenet.weights import load_form

        ids, form = self.sample_ids(subset), load_form(self._weights_file())
        if subset != "fit":
            folder = self._labelled()
            return [picture(folder / ids[at], form) for at in positions]
        folder = self._unlabelled() or Path()
        parted = (ids[at].rpartition("#") for at in positions)
        return [picture(folder / name, form, int(view)) for name, _, view in parted]

    def targets(self, subset: Subset, positions: Sequence[int]) -> list[Any]:
        """Return class numbers, 0 to 999; None for `fit`, whose pictures have no labels."""
        from codecbench_datasets.imagenet.catalogue import class_numbers

        if subset == "fit":
            return [None for _ in positions]
        ids, numbers = self.sample_ids(subset), class_numbers()
        return [numbers[ids[at].partition("/")[0]] for at in positions]

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> dict[str, tuple[float, float]]:
        """Return whether the class is among the five largest logits, and whether it is the largest.

        Of equal logits the earlier class counts as the larger.
        """
        logits = output[0]
        before = int((logits > logits[target]).sum() + (logits[:target] == logits[target]).sum())
        return {"top-5": (float(before < TOP), 1.0), "top-1": (float(before == 0), 1.0)}

    @classmethod
    def fetch(cls, data_dir: Path, log: Callable[[str], None]) -> None:
        """Fetch the weights of the reference records into `data_dir`. Raises DataError if there are no pictures yet."""
        cls.fetch_from((), data_dir, log)

    @classmethod
    def fetch_from(cls, sources: Sequence[str], data_dir: Path, log: Callable[[str], None]) -> None:
        """Collect weights and pictures in `data_dir`; `sources` are folders, archives, files or models."""
        from codecbench_datasets.imagenet.fetch import fetch

        fetch(data_dir, log, sources)

    def _folder(self) -> Path:
        """Return the folder that `codecbench data get imagenet` wrote. Raises DataError if it has not."""
        from codecbench.toolbox.collecting import PLACES
        from codecbench_datasets.imagenet.catalogue import CURE, FOLDER

        for place in data_folders(self.data_dir):
            if (place / FOLDER / PLACES).is_file():
                return place / FOLDER
        raise DataError(f"imagenet-resnet50 has no pictures yet; {CURE}")

    def _weights_file(self) -> Path:
        from codecbench_datasets.imagenet.catalogue import WEIGHTS

        return self.weights_file(WEIGHTS)

    def _labelled(self) -> Path:
        from codecbench.toolbox.collecting import kept_places
        from codecbench_datasets.imagenet.catalogue import CURE, LABELLED

        place = kept_places(self._folder()).get(LABELLED)
        if place is None:
            raise DataError(f"imagenet-resnet50 has no labelled pictures yet; {CURE}")
        return place

    def _labelled_names(self) -> list[str]:
        from codecbench_datasets.imagenet.catalogue import labelled_names

        return labelled_names(self._labelled())

    def _unlabelled(self) -> Path | None:
        from codecbench.toolbox.collecting import kept_places
        from codecbench_datasets.imagenet.catalogue import UNLABELLED

        return kept_places(self._folder()).get(UNLABELLED)


@hookimpl
def codecbench_register_workloads() -> Iterable[type[Workload]]:
    """Register the workload."""
    return [ImageNetResNet50]
