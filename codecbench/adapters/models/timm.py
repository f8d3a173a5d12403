"""Models of timm: `timm:NAME`, with the preprocessing of their pretrained configuration."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from codecbench.adapters.contracts import ModelAdapter, Pictures, file_name, imported, keep_downloads, resampling_of
from codecbench.adapters.description import RANDOM, WorkloadDescription
from codecbench.errors import DataError, UsageError
from codecbench.names import suggestion

EXAMPLE = "timm:mobilenetv3_large_100"


class TimmNetwork(ModelAdapter):
    """A model by its name. Its pretrained weights are loaded unless others are named."""

    @property
    def pictures(self) -> Pictures | None:
        """The form that the model's data configuration states."""
        stated = self._library.data.resolve_data_config({}, pretrained_cfg=self._stated)
        _channels, height, width = stated["input_size"]
        share = float(stated.get("crop_pct") or 1.0)
        resize: int | tuple[int, int] = round(min(height, width) / share)
        if stated.get("crop_mode") == "squash":
            resize = (round(height / share), round(width / share))
        resampling = resampling_of(stated.get("interpolation"))
        return Pictures(
            (height, width), resize, resampling, tuple(map(float, stated["mean"])), tuple(map(float, stated["std"]))
        )

    @property
    def classes(self) -> Sequence[Sequence[str]] | None:
        """The names that the configuration has; of models trained on a known set, both identifiers and descriptions."""
        count = self._stated.get("num_classes")
        names = self._stated.get("label_names")
        if names is not None:
            return [(name, *str(name).split(",")) for name in names]
        try:
            info = self._library.data.ImageNetInfo(self._library.data.infer_imagenet_subset(self._stated))
        except Exception:  # no such set, or a release without these names
            return None if not count else [()] * int(count)
        descriptions = (str(info.index_to_description(index)) for index in range(info.num_classes()))
        return [(info.index_to_label_name(index), *text.split(",")) for index, text in enumerate(descriptions)]

    def build(self) -> Any:
        """Return the model with normalisation inside."""
        from codecbench.adapters.wrappers import as_contract, load_strictly, seeded

        weights, library, name = self.description.weights, self._library, self._name
        try:
            with seeded():
                model = library.create_model(name, pretrained=weights is None, scriptable=False)
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise DataError(f"{self.label} cannot be made with its weights ({reason})") from error
        if weights not in (None, RANDOM):
            load_strictly(model, str(weights), file_name(str(weights)))
        form = self.pictures
        return as_contract(model, form.at_size(self.description.size) if form is not None else None)

    @cached_property
    def _name(self) -> str:
        name = self.argument
        if not self._library.is_model(name.partition(".")[0]) and ":" not in name:
            raise UsageError(f"{self.label}: timm has no model {name!r}{suggestion(name, self._library.list_models())}")
        return name

    @cached_property
    def _stated(self) -> dict[str, Any]:
        found = self._library.get_pretrained_cfg(self._name)
        if found is None:
            raise DataError(f"{self.label} has no pretrained configuration, so its preprocessing is not known")
        stated: dict[str, Any] = found if isinstance(found, dict) else found.to_dict()
        return stated

    @cached_property
    def _library(self) -> Any:
        keep_downloads(self.description)
        imported("timm.data", self.label)
        return imported("timm", self.label)


def open_model(argument: str, description: WorkloadDescription) -> ModelAdapter:
    """Return the network of `timm:NAME`."""
    return TimmNetwork(argument, description)
