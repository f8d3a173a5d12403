"""Networks as the contract wants them: normalisation inside, one output, weights loaded strictly. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from codecbench.adapters.contracts import Pictures
from codecbench.errors import DataError

COUNTERS = "num_batches_tracked"
"""The end of the keys that only training uses, and that files may lack."""


@contextmanager
def seeded() -> Iterator[None]:
    """Draw what is random within a with block from seed 0, so that each process draws the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def load_strictly(model: nn.Module, path: str, name: str) -> None:
    """Load the weights of a .safetensors file. Raises DataError, with the first key, if it is of another model.

    Keys that share their tensor with one that is there, and the counters of batch normalisation, may be missing.
    """
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"--weights {name} is no .safetensors file: {' '.join(str(error).split())[:120]}") from error
    own = model.state_dict()
    there = {own[key].data_ptr() for key in weights.keys() & own.keys()}
    missing = [
        key for key, tensor in own.items()
        if key not in weights and not key.endswith(COUNTERS) and (not tensor.numel() or tensor.data_ptr() not in there)
    ]  # fmt: skip
    unexpected = [key for key in weights if key not in own]
    shapes = [key for key, tensor in weights.items() if key in own and own[key].shape != tensor.shape]
    if missing or unexpected or shapes:
        reason = (
            f"the model's {missing[0]!r} is missing" if missing
            else f"{unexpected[0]!r} is none of the model's" if unexpected
            else f"{(key := shapes[0])!r} has the shape {[*weights[key].shape]}, the model's {[*own[key].shape]}"
        )  # fmt: skip
        raise DataError(f"--weights {name} holds the weights of another model: {reason}")
    model.load_state_dict(weights, strict=False)


def as_contract(
    model: nn.Module, form: Pictures | None, *, keyword: str | None = None,
    output: Callable[[Any, Tensor], Any] | None = None, before: Callable[[Tensor], Tensor] | None = None,
) -> nn.Module:  # fmt: skip
    """Return the model with its normalisation and the choice of its output inside, in evaluation mode.

    `form` says mean and standard deviation, `before` is another step ahead of the model, `keyword` is the name of its
    input, `output` takes its result and its input. The model's class is replaced by a subclass, so that its modules
    keep their names.
    """
    kind = type(model)
    normalises = form is not None and (any(form.mean) or any(value != 1 for value in form.std))
    reverses = form is not None and form.bgr

    class Contract(kind):  # type: ignore[misc, valid-type]
        def forward(self, x: Tensor) -> Any:
            y = x.flip(1) if reverses else x
            if normalises:
                y = (y - self.contract_mean) / self.contract_std
            if before is not None:
                y = before(y)
            y = y.to(self.contract_dtype) if self.contract_dtype != torch.float32 else y
            found = super().forward(y) if keyword is None else super().forward(**{keyword: y})
            return found if output is None else output(found, x)

    if not (normalises or reverses or before or keyword or output):
        return model.eval()
    Contract.__name__, Contract.__qualname__, Contract.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    model.__class__ = Contract
    model.contract_dtype = next(  # type: ignore[assignment]
        (value.dtype for value in model.parameters() if value.is_floating_point()), torch.float32
    )
    if form is not None and normalises:
        model.register_buffer("contract_mean", torch.tensor(form.mean).view(1, -1, 1, 1), persistent=False)
        model.register_buffer("contract_std", torch.tensor(form.std).view(1, -1, 1, 1), persistent=False)
    return model.eval()


def zero_mean_unit_variance(x: Tensor) -> Tensor:
    """Return each sound of a batch with mean 0 and variance 1."""
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-7)
