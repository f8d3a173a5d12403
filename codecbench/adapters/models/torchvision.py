"""Models of torchvision: `torchvision:NAME[@WEIGHTS]`, with the preprocessing that belongs to the weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from codecbench.adapters.contracts import ModelAdapter, Pictures, file_name, imported, keep_downloads, resampling_of
from codecbench.adapters.description import RANDOM, WorkloadDescription
from codecbench.errors import DataError, UsageError
from codecbench.names import suggestion

EXAMPLE = "torchvision:resnet18"


class TorchvisionNetwork(ModelAdapter):
    """A model by its name, and its weights by theirs; without a name of weights, the default ones."""

    @property
    def pictures(self) -> Pictures | None:
        """The form that the transforms of the weights state."""
        transforms = self._weights.transforms()
        resize = getattr(transforms, "resize_size", None)
        crop = getattr(transforms, "crop_size", None) or resize
        if not crop:
            return None
        stated = str(getattr(getattr(transforms, "interpolation", None), "value", "bilinear"))
        resampling = resampling_of(stated)
        height, width = (crop[0], crop[-1])
        resize_to = None if not resize else resize[0] if len(resize) == 1 else (resize[0], resize[1])
        return Pictures(
            (height, width),
            resize_to,
            resampling,
            tuple(map(float, transforms.mean)),
            tuple(map(float, transforms.std)),
        )

    @property
    def classes(self) -> Sequence[Sequence[str]] | None:
        """The categories of the weights."""
        names = self._weights.meta.get("categories")
        return None if names is None else [(name,) for name in names]

    def build(self) -> Any:
        """Return the model with normalisation inside. Files of weights are read without running code of theirs."""
        from codecbench.adapters.wrappers import as_contract, load_strictly, seeded

        (name, _), weights, options = self._names, self.description.weights, self._weights_options
        try:
            with seeded():
                model = self._library.get_model(name, weights=None, **options)
            if weights is None:
                model.load_state_dict(self._weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise DataError(f"{self.label} cannot be made with its weights ({reason})") from error
        if weights not in (None, RANDOM):
            load_strictly(model, str(weights), file_name(str(weights)))
        form = self.pictures.at_size(self.description.size) if self.pictures is not None else None
        return as_contract(model, form, output=_main_output)

    @cached_property
    def _names(self) -> tuple[str, str]:
        name, _, weights = self.argument.partition("@")
        known = self._library.list_models()
        if name not in known:
            raise UsageError(f"{self.label}: torchvision has no model {name!r}{suggestion(name, known)}")
        return name, weights

    @cached_property
    def _weights(self) -> Any:
        """The entry of the weights, which states the preprocessing whether or not these weights are loaded."""
        name, stated_name = self._names
        entries = self._library.get_model_weights(name)
        if not stated_name:
            return entries.DEFAULT
        if stated_name not in entries.__members__:
            near = suggestion(stated_name, entries.__members__)
            raise UsageError(
                f"{self.label}: {name} has no weights {stated_name!r}{near or '; it has '}"
                f"{'' if near else ', '.join(entries.__members__)}"
            )
        return entries[stated_name]

    @cached_property
    def _weights_options(self) -> dict[str, Any]:
        """The arguments of the model that go with its weights: their number of classes."""
        names = self._weights.meta.get("categories")
        return {} if names is None else {"num_classes": len(names)}

    @cached_property
    def _library(self) -> Any:
        keep_downloads(self.description)
        return imported("torchvision.models", self.label)


def _main_output(found: Any, _x: Any) -> Any:
    """Return the output of a model that gives several by name, such as a segmenter's without its auxiliary one."""
    return found["out"] if isinstance(found, dict) and "out" in found else found


def open_model(argument: str, description: WorkloadDescription) -> ModelAdapter:
    """Return the network of `torchvision:NAME[@WEIGHTS]`."""
    return TorchvisionNetwork(argument, description)
