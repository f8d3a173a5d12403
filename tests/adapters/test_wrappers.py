"""Networks as the contract wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from codecbench.adapters.contracts import Pictures
from codecbench.adapters.wrappers import as_contract, load_strictly, seeded, zero_mean_unit_variance
from codecbench.codec import TensorSpec
from codecbench.errors import DataError
from codecbench.system.weights import state_sha256
from codecbench.workers.process.graph_split import SplitModel

FORM = Pictures((8, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), bgr=True)


class Named(nn.Module):
    """Takes its input by name and gives its output in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, other: Any = None, pixels: Any = None) -> Any:
        return {"logits": self.head(self.norm(self.stem(pixels)).mean((2, 3))), "other": other}


def network() -> Named:
    with seeded():
        return Named().eval()


def contract() -> nn.Module:
    def logits(found: Any, _x: Tensor) -> Any:
        return found["logits"]

    return as_contract(network(), FORM, keyword="pixels", output=logits)


def test_normalisation_and_the_choice_of_the_output_are_within_the_model() -> None:
    x = torch.rand(2, 3, 8, 8)
    normalised = (x.flip(1) - torch.tensor(FORM.mean).view(1, 3, 1, 1)) / torch.tensor(FORM.std).view(1, 3, 1, 1)
    assert torch.equal(contract()(x), network()(pixels=normalised)["logits"])


def test_modules_and_weights_keep_their_names() -> None:
    made = contract()
    assert made.state_dict().keys() == network().state_dict().keys()
    assert state_sha256(made) == state_sha256(network())
    assert type(made).__name__ == "Named"
    with torch.inference_mode():
        split = SplitModel(made, [torch.rand(2, 3, 8, 8), torch.rand(3, 3, 8, 8)], TensorSpec((3, 8, 8), image=True))
    assert {"input", "stem", "norm"} <= set(split.cuts)


def test_a_model_that_needs_nothing_stays_as_it_is() -> None:
    made = nn.Sequential(nn.Linear(2, 2)).train()
    assert as_contract(made, Pictures((8, 8))) is made
    assert type(made) is nn.Sequential
    assert not made.training


def test_sounds_are_normalised_one_by_one() -> None:
    x = torch.randn(3, 400) * 4 + 2
    found = zero_mean_unit_variance(x)
    assert torch.allclose(found.mean(1), torch.zeros(3), atol=1e-6)
    assert torch.allclose(found.var(1, unbiased=False), torch.ones(3), atol=1e-4)
    assert torch.equal(found[1], zero_mean_unit_variance(x[1:2])[0])


def test_weights_of_the_model_are_loaded(tmp_path: Path) -> None:
    weights = {key: torch.ones_like(value) for key, value in network().state_dict().items() if "batches" not in key}
    save_file(weights, tmp_path / "net.safetensors")
    made = network()
    load_strictly(made, str(tmp_path / "net.safetensors"), "net.safetensors")
    assert all(torch.equal(made.state_dict()[key], value) for key, value in weights.items())
    assert state_sha256(made) != state_sha256(network())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"head.bias": None}, "the model's 'head.bias' is missing"),
        ({"tail.bias": torch.zeros(2)}, "'tail.bias' is none of the model's"),
        ({"head.bias": torch.zeros(3)}, "'head.bias' has the shape [3], the model's [2]"),
    ],
)
def test_weights_of_another_model(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    weights = {key: value for key, value in {**network().state_dict(), **change}.items() if value is not None}
    save_file(weights, tmp_path / "net.safetensors")
    with pytest.raises(DataError) as caught:
        load_strictly(network(), str(tmp_path / "net.safetensors"), "net.safetensors")
    assert str(caught.value) == f"--weights net.safetensors holds the weights of another model: {reason}"


def test_a_key_that_shares_its_tensor_may_be_missing(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
            self.second.weight = self.first.weight

    weights = {key: value for key, value in Tied().state_dict().items() if key != "second.weight"}
    save_file(weights, tmp_path / "net.safetensors")
    load_strictly(Tied(), str(tmp_path / "net.safetensors"), "net.safetensors")


def test_a_file_that_holds_no_weights(tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_bytes(b"PK\x03\x04 a pickle")
    with pytest.raises(DataError, match=r"^--weights net.safetensors is no .safetensors file: "):
        load_strictly(network(), str(tmp_path / "net.safetensors"), "net.safetensors")
