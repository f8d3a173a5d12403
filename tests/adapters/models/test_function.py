"""Models that a user's function returns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.descriptions import NETWORK, open_network

from codecbench.adapters.functions import load_function
from codecbench.errors import CodecbenchError, DataError


def test_random_weights_are_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    first, second = (open_network(f"{tmp_path / 'net.py'}:build") for _ in range(2))
    before = torch.random.get_rng_state()
    models = [first.build(), second.build()]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.weights_sha256(models[0]) == second.weights_sha256(models[1])
    assert not models[0].training


def test_weights_come_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    text = f"{tmp_path / 'net.py'}:build"
    weights = {key: torch.ones_like(value) for key, value in open_network(text).build().state_dict().items()}
    save_file(weights, tmp_path / "net.safetensors")
    made = open_network(text, weights=str(tmp_path / "net.safetensors")).build()
    assert torch.equal(made[0].weight, torch.ones_like(made[0].weight))


def test_a_module_beside_the_file_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    (tmp_path / "beside_of_net.py").write_text("from torch import nn\ndef made(): return nn.Identity()\n")
    (tmp_path / "net.py").write_text("from beside_of_net import made\n")
    assert type(open_network(f"{tmp_path / 'net.py'}:made").build()).__name__ == "Identity"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def build():\n    return 3\n", "--model net.py:build returned int; return a torch.nn.Module"),
        (
            "def build():\n    raise ValueError('no file')\n",
            "net.py:build (*net.py, line 2): it raised ValueError: no file",
        ),
        ("import nowhere_at_all\n", "*net.py:build does not import (*net.py, line 1): ModuleNotFoundError: No module"),
        ("def built(): pass\n", "*net.py has no function 'build'; did you mean 'built'?"),
    ],
)
def test_a_function_that_gives_no_model(tmp_path: Path, source: str, reason: str) -> None:
    (tmp_path / "net.py").write_text(source)
    with pytest.raises(CodecbenchError) as caught:
        open_network(f"{tmp_path / 'net.py'}:build").build()
    assert str(caught.value).replace(f"{tmp_path}/", "*").startswith(reason)


def test_a_function_of_an_installed_module() -> None:
    assert load_function("json:dumps").__name__ == "dumps"
    with pytest.raises(DataError, match=r"^nowhere_at_all:f does not import: ModuleNotFoundError"):
        load_function("nowhere_at_all:f")
