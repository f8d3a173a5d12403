"""Seconds that `Prior` takes for a million symbols: 16 channels of quantised, Laplacian values, some 3 bits each.

Run: pytest tests/bench/test_bench_entropy.py --benchmark-only. The bar is 40 million symbols encoded a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from codecbench.toolbox.coding.prior import Prior

CHANNELS, COUNT = 16, 62_500


@pytest.mark.parametrize("step", ["encode", "decode"])
@pytest.mark.parametrize("count", [COUNT, 1024], ids=["1000000", "16384"])
def test_prior(benchmark: Any, count: int, step: str) -> None:
    """`extra_info` holds million symbols a second by the median, payload bytes and the Shannon bound."""
    symbols = np.rint(np.random.default_rng(0).laplace(scale=2, size=(CHANNELS, COUNT))).astype(np.int32)
    prior = Prior.fitted(symbols)
    symbols = symbols[:, :count]
    payload = prior.encode(symbols)
    benchmark.group = f"entropy coding of {symbols.size} symbols: {step}"
    if step == "encode":
        assert benchmark(prior.encode, symbols) == payload
    else:
        assert (benchmark(prior.decode, payload, count) == symbols).all()
    benchmark.extra_info.update(
        symbols=symbols.size, payload_bytes=len(payload), bound_bytes=prior.bound_bytes(symbols)
    )  # fmt: skip
    if benchmark.stats is not None:  # None under --benchmark-disable, which calls once and times nothing
        benchmark.extra_info["msymbols_per_s"] = symbols.size / benchmark.stats.stats.median / 1e6
