"""Device profiles: predict the seconds that a device takes for the layers of a model, and for plain code.

A profile is a small decision tree over the features of a layer (kind, kernel, groups, channels, size). Each leaf has a
linear model with non-negative coefficients: seconds per layer, per floating-point operation, per moved byte. This is
the tree-structured linear regression of FastDeepIoT (Yao et al., SenSys 2018). `codecbench device measure` fits a
profile to a machine (`codecbench.devices.timing`, `codecbench.devices.fitting`). A scaled profile multiplies the
coefficients of another one by ratios of published figures. A profile predicts; it is never a measurement.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from codecbench.devices.layers import POOLS, RECURRENT, Layer
from codecbench.errors import DataError, UsageError
from codecbench.names import suggestion
from codecbench.system.textfiles import decoded, parse_json

HOST = "host"
"""The reserved name of the machine of the records: its times are measured, so it has no profile."""

SCHEMA = 1
"""The version of the JSON form."""

ProfileKind: TypeAlias = Literal["measured", "scaled"]
Resource: TypeAlias = Literal["compute", "memory", "overhead"]


def weight_bytes(layer: Layer) -> int:
    """Return the bytes of a layer's weights, estimated from its description: float32, no biases."""
    if layer.kind.startswith("conv"):
        # From the FLOPs, so that windows with unequal sides count correctly.
        positions = max(1, layer.out_elements // max(1, layer.out_channels))
        return 2 * layer.flop // positions
    if layer.kind == "linear":
        return 4 * layer.in_channels * layer.out_channels
    return 0


def window_elements(layer: Layer) -> float:
    """Return the number of values in all windows: a pool reads them, a convolution by matrix product copies them."""
    if layer.kind in POOLS:
        return layer.out_elements * layer.kernel**2
    if layer.kind.startswith("conv") and layer.kernel > 1:
        return layer.flop / 2 * layer.groups / max(1, layer.out_channels)
    return 0.0


def _positions(layer: Layer) -> float:
    return layer.out_elements / max(1, layer.out_channels)


def steps(layer: Layer) -> float:
    """Return the number of sequential steps of a recurrent layer, over its directions and layers; 0 for other kinds."""
    return _positions(layer) * layer.kernel if layer.kind in RECURRENT else 0.0


def state_values(layer: Layer) -> float:
    """Return how many values of state matrices a recurrent layer reads, again at each step; 0 for other kinds."""
    return GATES.get(layer.kind, 0) * steps(layer) * layer.out_channels**2


def in_elements(layer: Layer) -> int:
    """Return the number of float32 values that a layer reads, without parameters."""
    return max(0, (layer.moved_bytes - weight_bytes(layer)) // 4 - layer.out_elements)


GATES: Mapping[str, int] = {"lstm": 4, "gru": 3, "rnn": 1}
"""The number of matrices of a recurrent layer for its state; it has the same number for its input."""

FEATURES: Mapping[str, Callable[[Layer], float]] = {
    "kernel": lambda layer: layer.kernel,
    "stride": lambda layer: layer.stride,
    "groups": lambda layer: layer.groups,
    "in_channels": lambda layer: layer.in_channels,
    "out_channels": lambda layer: layer.out_channels,
    "channels_a_group": lambda layer: layer.in_channels / layer.groups,
    "places": _positions,
    "in_elements": in_elements,
    "out_elements": lambda layer: layer.out_elements,
    "weight_bytes": weight_bytes,
    "moved_bytes": lambda layer: layer.moved_bytes,
    "flop": lambda layer: layer.flop,
    "flop_a_byte": lambda layer: layer.flop / max(1, layer.moved_bytes),
}
"""The features that a branch may compare with a threshold. `places` is the number of output positions in a channel."""

TERMS: Mapping[str, tuple[Resource, Callable[[Layer], float]]] = {
    "per_layer": ("overhead", lambda _: 1.0),
    "per_flop": ("compute", lambda layer: layer.flop),
    "per_moved_byte": ("memory", lambda layer: layer.moved_bytes),
    "per_weight_byte": ("memory", weight_bytes),
    "per_out_element": ("memory", lambda layer: layer.out_elements if layer.moved_bytes else 0),
    "per_window_element": ("memory", window_elements),
    "per_step": ("overhead", steps),
    "per_state_value": ("memory", state_values),
}
"""The terms of a leaf's linear model, each with the device resource that it depends on."""


@dataclass(frozen=True)
class Leaf:
    """A linear model: non-negative seconds by term, fitted to `count` layers with the median relative `error`."""

    seconds: Mapping[str, float]
    count: int = 0
    error: float = 0.0

    def predict_s(self, layer: Layer) -> float:
        """Return the predicted seconds of one layer."""
        return sum(value * TERMS[name][1](layer) for name, value in self.seconds.items())

    def scaled(self, factors: Mapping[str, float]) -> Leaf:
        """Return the leaf with each term multiplied by the factor of its resource."""
        seconds = {name: value * factors[TERMS[name][0]] for name, value in self.seconds.items()}
        return Leaf(seconds, self.count, self.error)

    def leaves(self) -> Iterator[Leaf]:
        """Yield this leaf."""
        yield self

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "seconds": {name: float(f"{v:.4g}") for name, v in self.seconds.items()}, "count": self.count,
            "error": round(self.error, 4),
        }  # fmt: skip


@dataclass(frozen=True)
class Branch:
    """A yes/no question: is the kind one of `kinds`, or if that is empty, is `feature` at most `at_most`."""

    yes: Leaf | Branch
    no: Leaf | Branch
    kinds: tuple[str, ...] = ()
    feature: str = ""
    at_most: float = 0.0

    def holds(self, layer: Layer) -> bool:
        """True if the answer for a layer is yes."""
        return layer.kind in self.kinds if self.kinds else FEATURES[self.feature](layer) <= self.at_most

    def predict_s(self, layer: Layer) -> float:
        """Return the predicted seconds of one layer."""
        return (self.yes if self.holds(layer) else self.no).predict_s(layer)

    def scaled(self, factors: Mapping[str, float]) -> Branch:
        """Return the branch with all leaves scaled."""
        return Branch(self.yes.scaled(factors), self.no.scaled(factors), self.kinds, self.feature, self.at_most)

    def leaves(self) -> Iterator[Leaf]:
        """Yield all leaves below."""
        yield from self.yes.leaves()
        yield from self.no.leaves()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        question = {"kinds": list(self.kinds)} if self.kinds else {"feature": self.feature, "at_most": self.at_most}
        return {**question, "yes": self.yes.to_json(), "no": self.no.to_json()}


Tree: TypeAlias = Leaf | Branch


def tree_from_json(values: Mapping[str, Any]) -> Tree:
    """The inverse of `to_json` of a leaf or a branch. Raises DataError for an unknown term or feature."""
    if "seconds" in values:
        seconds = {str(name): float(value) for name, value in values["seconds"].items()}
        for name, value in seconds.items():
            if name not in TERMS or not 0 <= value < float("inf"):
                raise DataError(
                    f"{name}={value} in a leaf is no term with non-negative seconds; terms: {', '.join(TERMS)}"
                )
        return Leaf(seconds, int(values.get("count", 0)), float(values.get("error", 0.0)))
    yes, no = tree_from_json(values["yes"]), tree_from_json(values["no"])
    if "kinds" in values:
        return Branch(yes, no, tuple(str(kind) for kind in values["kinds"]))
    if values["feature"] not in FEATURES:
        raise DataError(f"{values['feature']!r} is no feature of a layer; features: {', '.join(FEATURES)}")
    return Branch(yes, no, (), values["feature"], float(values["at_most"]))


@dataclass(frozen=True)
class DeviceProfile:
    """Predicts the seconds of a model's layers and of plain code on one device, batch 1, one thread.

    `source` states where its numbers come from. `general_factor` is the time of plain code, as a multiple of that on
    the machine of the reference records. `errors` are the regression's relative errors on held-out layers, and
    `machine` describes the measurement. A scaled profile has `factors` in place of `errors`.
    """

    name: str
    description: str
    source: str
    kind: ProfileKind
    tree: Tree
    general_factor: float = 1.0
    call_s: float = 0.0
    general_kernels_s: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)

    def layer_s(self, layer: Layer) -> float:
        """Return the predicted seconds of one layer."""
        return self.tree.predict_s(layer)

    def model_s(self, layers: Sequence[Layer]) -> float:
        """Return the predicted seconds of running these layers, batch 1, one thread; 0 without layers."""
        return self.call_s + sum(self.layer_s(layer) for layer in layers) if layers else 0.0

    def general_s(self, seconds_on_reference: float) -> float:
        """Return the predicted seconds of plain code (an encoder) from its seconds on the machine of the records."""
        return seconds_on_reference * self.general_factor

    def scaled(
        self,
        name: str,
        *,
        description: str,
        source: str,
        compute: float,
        memory: float,
        overhead: float,
        general: float,
    ) -> DeviceProfile:
        """Return a profile with times multiplied: of arithmetic, moved bytes, overhead of layers, and plain code."""
        factors = {"compute": compute, "memory": memory, "overhead": overhead, "general": general}
        return DeviceProfile(
            name, description, source, "scaled", self.tree.scaled(factors), self.general_factor * general,
            self.call_s * overhead, {n: s * general for n, s in self.general_kernels_s.items()},
            factors=factors, machine={"base": self.name},
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, in a readable order."""
        return {
            "schema": SCHEMA, "name": self.name, "kind": self.kind, "description": self.description,
            "source": self.source, "machine": dict(self.machine), "factors": dict(self.factors),
            "errors": dict(self.errors), "general_factor": self.general_factor,
            "general_kernels_s": dict(self.general_kernels_s), "call_s": self.call_s, "tree": self.tree.to_json(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DeviceProfile:
        """The inverse of `to_json`. Raises DataError for other values."""
        try:
            if values["schema"] != SCHEMA:
                raise DataError(f"schema {values['schema']!r} of a device profile is not {SCHEMA}; measure it again")
            if values["kind"] not in ("measured", "scaled"):
                raise DataError(f"kind {values['kind']!r} of a device profile is neither 'measured' nor 'scaled'")
            general_factor, call_s = float(values["general_factor"]), float(values["call_s"])
            if not (0 < general_factor < float("inf") and 0 <= call_s < float("inf")):
                raise DataError(
                    f"general_factor={general_factor}, call_s={call_s}: a factor above 0 and seconds are wanted"
                )
            return cls(
                str(values["name"]), str(values["description"]), str(values["source"]), values["kind"],
                tree_from_json(values["tree"]), general_factor, call_s,
                _numbers(values["general_kernels_s"]), _numbers(values["errors"]), _numbers(values["factors"]),
                dict(values["machine"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise DataError(f"no device profile ({type(error).__name__}: {error})") from error

    @classmethod
    def load(cls, path: Path) -> DeviceProfile:
        """Read a profile from its file. Raises UsageError if it cannot be read, DataError if it is no profile."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read the device profile {path} ({error.strerror}); give another file") from error
        cure = "'codecbench device measure' writes a profile"
        try:
            text = decoded(content)
        except ValueError as error:
            raise DataError(f"{path} is no JSON ({error}); {cure}") from error
        values = parse_json(text, str(path), cure)
        try:
            return cls.from_json(values)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def to_text(self) -> str:
        """Return the JSON text of a profile's file."""
        return json.dumps(self.to_json(), indent=1) + "\n"


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items()}


def pick_device(text: str, registered: Mapping[str, DeviceProfile]) -> DeviceProfile | None:
    """Return the registered profile of a name, or that of a `.json` file; None for `host`.

    Raises UsageError, with the nearest name, for an unknown name.
    """
    if text == HOST:
        return None
    if text in registered:
        return registered[text]
    if text.endswith(".json"):
        return DeviceProfile.load(Path(text))
    known = [HOST, *registered]
    hint = suggestion(text, known) or f"; there are: {', '.join(known)}, or a profile's .json file"
    raise UsageError(f"no device {text!r}{hint}")
