"""A plugin file with one codec that is ordinary PyTorch: an autoencoder that `torch.optim` fits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from codecbench import Codec, FitData, Side, TensorSpec, hookimpl


class PlainTorch(Codec):
    """A linear autoencoder with `latent` values, each one byte, fitted by Adam."""

    name = "plain-torch"
    points = ({"latent": 4},)
    tags = frozenset({"learned"})

    @classmethod
    def skip_reason(cls, spec: TensorSpec, **point: Any) -> str | None:
        return None if spec.dtype == "float32" and None not in spec.shape else "needs float32 of a fixed shape"

    def build(self) -> None:
        from torch import nn

        values = math.prod(self.spec.shape)
        self.encoder = nn.Sequential(nn.Linear(values, self.latent), nn.Sigmoid())
        self.decoder = nn.Linear(self.latent, values)

    def fit(self, data: FitData) -> None:
        import torch

        torch.manual_seed(data.seed)
        self.build()
        optimizer = torch.optim.Adam([*self.encoder.parameters(), *self.decoder.parameters()], 3e-3)
        for xs, _ in data.batches(16):
            if data.remaining_s() == 0:
                return
            loss = torch.nn.functional.mse_loss(self.decoder(self.encoder(xs.flatten(1))).view_as(xs), xs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def export(self, side: Side) -> bytes:
        from safetensors.torch import save

        state: Mapping[str, Any] = (self.encoder if side == "device" else self.decoder).state_dict()
        return save(dict(state))

    def restore(self, side: Side, state: bytes) -> None:
        from safetensors.torch import load

        self.build()
        (self.encoder if side == "device" else self.decoder).load_state_dict(load(state))

    def encode(self, x: Any) -> bytes:
        import torch

        with torch.inference_mode():
            return bytes((self.encoder(x.flatten()) * 255).round().to(torch.uint8).numpy().tobytes())

    def decode(self, payload: bytes) -> Any:
        import torch

        latent = torch.frombuffer(bytearray(payload), dtype=torch.uint8).float() / 255
        with torch.inference_mode():
            return self.decoder(latent).reshape(self.spec.shape)


@hookimpl
def codecbench_register_codecs() -> list[type[Codec]]:
    return [PlainTorch]
