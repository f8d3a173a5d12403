"""The l1 solver beside a per-block numpy and PyWavelets ISTA, and beside scikit-learn's Lasso: time and PSNR.

Run: pytest tests/bench/test_bench_solver.py --benchmark-only -s. All sides have one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from codecbench.toolbox.sensing.bases import wavelet_basis
from codecbench.toolbox.sensing.recovery import L1Solver, Operator, orthonormal_rows

SIDE, MEASUREMENTS, WAVELET, LEVELS = 32, 512, "sym4", 2
PENALTY = 0.02
"""Of 0.003, 0.01, 0.02, 0.03, 0.05 and 0.1 that at which 200 iterations of ISTA have the greatest PSNR here."""
LASSO_BLOCKS = slice(0, 147, 12)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def blocks() -> np.ndarray:
    """The 147 blocks of a photograph of 224 x 224, each channel by itself: (147, 1024), values 0 to 1."""
    import skimage.data

    photograph = skimage.data.astronaut()[:224, 120:344] / 255
    grid = photograph.reshape(7, SIDE, 7, SIDE, 3).transpose(0, 2, 4, 1, 3)
    return grid.reshape(147, SIDE * SIDE)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return orthonormal_rows(MEASUREMENTS, SIDE * SIDE, 0)


def psnr_db(restored: np.ndarray, blocks: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((restored - blocks) ** 2)))


def per_block_ista(rows: np.ndarray, measured: np.ndarray, iterations: int = 200) -> np.ndarray:
    """One block, (1024,), as it is usually written: a transform there and back in each iteration."""
    import pywt

    def analyse(values: np.ndarray) -> tuple[np.ndarray, Any]:
        bands = pywt.wavedec2(values.reshape(SIDE, SIDE), WAVELET, mode="periodization", level=LEVELS)
        return pywt.coeffs_to_array(bands)

    def synthesise(coefficients: np.ndarray, slices: Any) -> np.ndarray:
        bands = pywt.array_to_coeffs(coefficients, slices, output_format="wavedec2")
        return pywt.waverec2(bands, WAVELET, mode="periodization").reshape(-1)

    coefficients, slices = analyse(np.zeros(SIDE * SIDE))
    for _ in range(iterations):
        misfit = rows @ synthesise(coefficients, slices) - measured
        moved = coefficients - analyse(rows.T @ misfit)[0]
        coefficients = np.sign(moved) * np.maximum(np.abs(moved) - PENALTY, 0)
    return synthesise(coefficients, slices)


def ours(rows: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """All blocks at once; making the basis and the operator is part of the time."""
    import torch

    basis = torch.from_numpy(wavelet_basis((SIDE, SIDE), WAVELET, LEVELS)).float()
    operator = Operator(torch.from_numpy(rows).float() @ basis, orthonormal=True)
    solver = L1Solver("fista", iterations=60, continuation=30)
    return (solver.solve(operator, torch.from_numpy(measured).float(), PENALTY) @ basis.T).numpy()


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@pytest.mark.benchmark(group="solver")
def test_batched_fista_beside_per_block_ista(benchmark: Any, blocks: np.ndarray, rows: np.ndarray) -> None:
    """147 blocks of 32 x 32, half as many measurements as values, one penalty, sym4 in two levels.

    `extra_info` holds milliseconds a block, the PSNR of both, and `times_faster`, the ratio of the median times. The
    rounds alternate, so that drift hits both.
    """
    measured = blocks @ rows.T
    ista_s: list[float] = []
    found: dict[str, np.ndarray] = {}

    def ista() -> None:
        found["ista"] = np.stack([per_block_ista(rows, y) for y in measured])

    def batched() -> None:
        found["ours"] = ours(rows, measured)

    batched()
    benchmark.pedantic(batched, setup=lambda: ista_s.append(seconds(ista)), rounds=3)
    theirs_ms, ours_ms = 1e3 * float(np.median(ista_s)) / 147, 1e3 * benchmark.stats.stats.median / 147
    quality = {side: psnr_db(restored, blocks) for side, restored in found.items()}
    benchmark.extra_info.update(
        ista_ms_a_block=theirs_ms, ours_ms_a_block=ours_ms, times_faster=theirs_ms / ours_ms,
        ista_psnr_db=quality["ista"], ours_psnr_db=quality["ours"],
    )  # fmt: skip
    print(f"\nISTA-200 {theirs_ms:.2f} ms a block, {quality['ista']:.2f} dB; ours {ours_ms:.3f} ms, "
          f"{quality['ours']:.2f} dB: {theirs_ms / ours_ms:.0f} times faster")  # fmt: skip
    assert quality["ours"] >= quality["ista"]


@pytest.mark.benchmark(group="solver")
def test_batched_fista_beside_lasso(benchmark: Any, blocks: np.ndarray, rows: np.ndarray) -> None:
    """Every twelfth block, at the same penalty and measurements, by scikit-learn's coordinate descent.

    `extra_info` holds the PSNR of both and milliseconds a block of both.
    """
    from sklearn.linear_model import Lasso

    chosen = blocks[LASSO_BLOCKS]
    measured = chosen @ rows.T
    basis = wavelet_basis((SIDE, SIDE), WAVELET, LEVELS)
    matrix = np.asfortranarray(rows @ basis)
    # sklearn divides the misfit by the number of rows.
    lasso = Lasso(alpha=PENALTY / MEASUREMENTS, fit_intercept=False, max_iter=1000)
    found: dict[str, np.ndarray] = {}

    def theirs() -> None:
        found["lasso"] = np.stack([basis @ lasso.fit(matrix, y).coef_ for y in measured])

    theirs_ms = 1e3 * seconds(theirs) / len(chosen)
    found["ours"] = benchmark.pedantic(ours, args=(rows, measured), rounds=3, warmup_rounds=1)
    ours_ms = 1e3 * benchmark.stats.stats.median / len(chosen)
    quality = {side: psnr_db(restored, chosen) for side, restored in found.items()}
    benchmark.extra_info.update(
        lasso_ms_a_block=theirs_ms, ours_ms_a_block=ours_ms,
        lasso_psnr_db=quality["lasso"], ours_psnr_db=quality["ours"],
    )  # fmt: skip
    print(f"\nLasso {quality['lasso']:.2f} dB, {theirs_ms:.1f} ms a block; "
          f"ours {quality['ours']:.2f} dB, {ours_ms:.2f} ms")  # fmt: skip
    assert quality["ours"] >= quality["lasso"] - 1.0
