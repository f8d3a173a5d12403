"""The workload `cifar10-resnet20`: CIFAR-10 images, 32 x 32 pixels, classified by a ResNet-20.

The README beside this file names the sources of the images and the weights. Importing this module imports neither torch
nor numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from codecbench import DataError, RatioMetric, Subset, TensorSpec, Workload, data_folders, hookimpl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

Part: TypeAlias = Literal["train", "test"]


class Cifar10ResNet20(Workload):
    """Top-1 of a ResNet-20 on CIFAR-10, split at the input, after the stem or after one of the three stages.

    7,000 images ship with the package: 2,000 of the test set; 1,000 training images for choosing operating points, from
    which neither the network nor any codec learned; and 4,000 training images to fit codecs on. After the full set has
    been fetched, `test` and `fit` continue with it after the shipped images, so a run on the first n samples is the
    same with and without it.
    """

    name = "cifar10-resnet20"
    metrics = (RatioMetric("top-1", "%", higher_is_better=True, scale=100.0, binary=True),)
    default_splits = ("input", "stem", "stage1", "stage2", "stage3")
    budget = 1.1
    dataset = "cifar10"
    training_note = (
        "every epoch counted as the quickest of its picture size, on two cores, since other work slowed the others "
        "down, as the training log shows."
    )

    @property
    def input_spec(self) -> TensorSpec:
        """RGB pixels k/255, before normalisation, which is the first module of the network."""
        return TensorSpec((3, 32, 32), image=True)

    def build_model(self) -> nn.Module:
        """Return the trained ResNet-20: (N, 3, 32, 32) pixels to (N, 10) logits.

        Raises DataError for damaged weights.
        """
        from safetensors.torch import load

        from codecbench_datasets.cifar10.data import CURE_SHIPPED, WEIGHTS, checked_bytes
        from codecbench_datasets.cifar10.model import ResNet20

        weights = load(checked_bytes(WEIGHTS, self.weights_sha256(), CURE_SHIPPED))
        model = ResNet20()
        # The counters of batch normalisation are used in training only, so the file does not hold them.
        expected = {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}
        if expected != weights.keys():
            key = min(expected ^ weights.keys())
            raise DataError(f"{WEIGHTS} holds no ResNet-20: {key!r} is missing or unexpected; {CURE_SHIPPED}")
        model.load_state_dict(weights, strict=False)
        return model.eval()

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the weights, recorded beside the file; `build_model` checks the file against it."""
        from codecbench_datasets.cifar10.data import CURE_SHIPPED, WEIGHTS, read_json

        return str(read_json(WEIGHTS.with_suffix(".json"), CURE_SHIPPED)["sha256"])

    def sample_ids(self, subset: Subset) -> Sequence[int]:
        """Return official indices: in training batches 1 to 5 for `fit` and `choice`, in the test batch for `test`."""
        ids: list[int] = self._indices(subset).tolist()
        return ids

    def training_ids(self) -> Sequence[int]:
        """Return the official indices of the 49,000 training images outside `choice`, in the order of `fit`.

        They do not depend on whether the full set has been fetched.
        """
        from codecbench_datasets.cifar10.data import ordered_indices

        part, kept = _slice("fit")
        ids: list[int] = ordered_indices(part, full_set=True)[kept].tolist()
        return ids

    @property
    def training_s(self) -> float:
        """Seconds that the 42 epochs of `train.py` take on an otherwise idle machine of two cores, by the training log.

        Epochs of the same picture size do the same work, so each counts as the fastest of them. This is a lower bound,
        so a codec's fit time as a share of it is an upper bound.
        """
        from codecbench_datasets.cifar10.data import training_epochs

        seconds: dict[int, list[float]] = {}
        for epoch in training_epochs():
            seconds.setdefault(epoch["pixels"], []).append(epoch["epoch_s"])
        return sum(len(epochs_s) * min(epochs_s) for epochs_s in seconds.values())

    def inputs(self, subset: Subset, positions: Sequence[int]) -> list[NDArray[Any]]:
        """Return images as float32 (3, 32, 32), values k/255."""
        import numpy as np

        images, _ = self._samples(subset, positions)
        return list(np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255))

    def targets(self, subset: Subset, positions: Sequence[int]) -> list[Any]:
        """Return class labels, 0 to 9."""
        _, labels = self._samples(subset, positions)
        return list(labels.tolist())

    def score(self, output: tuple[NDArray[Any], ...], target: Any) -> tuple[float, float]:
        """Return 1 over 1 if the largest of the ten logits is that of the label, else 0 over 1."""
        return float(int(output[0].argmax()) == target), 1.0

    @classmethod
    def fetch(cls, data_dir: Path, log: Callable[[str], None]) -> None:
        """Fetch all 60,000 images into `data_dir`/cifar10 and check their hashes, unless they are there already."""
        from codecbench_datasets.cifar10.fetch import fetch

        fetch(data_dir, log)

    def _full_place(self) -> Path | None:
        """Return the data folder that holds the full set, or None if it has not been fetched."""
        from codecbench_datasets.cifar10.data import is_fetched

        return next((place for place in data_folders(self.data_dir) if is_fetched(place)), None)

    def _indices(self, subset: Subset) -> NDArray[np.int64]:
        from codecbench_datasets.cifar10.data import ordered_indices

        part, kept = _slice(subset)
        return ordered_indices(part, full_set=self._full_place() is not None)[kept]

    def _samples(self, subset: Subset, positions: Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return images and labels; the full set is read only if the shipped images do not suffice."""
        import numpy as np

        from codecbench_datasets.cifar10.data import load_full, load_shipped

        part, kept = _slice(subset)
        images, labels = load_shipped(part)
        images, labels = images[kept], labels[kept]
        chosen = np.asarray(positions, dtype=np.int64)
        place = self._full_place()
        if place is not None and chosen.max(initial=-1) >= len(labels):
            images, labels = load_full(part, place)
            chosen = self._indices(subset)[chosen]
        return images[chosen], labels[chosen]


def _slice(subset: Subset) -> tuple[Part, slice]:
    """Return the part of CIFAR-10 that holds a subset, and the slice of its ordered images."""
    from codecbench_datasets.cifar10.data import HELD_OUT_COUNT

    if subset == "test":
        return "test", slice(None)
    if subset == "choice":
        return "train", slice(HELD_OUT_COUNT)
    return "train", slice(HELD_OUT_COUNT, None)


@hookimpl
def codecbench_register_workloads() -> Iterable[type[Workload]]:
    """Register the workload."""
    return [Cifar10ResNet20]
