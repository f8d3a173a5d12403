"""Units of blocks, and ways to sense them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from codecbench.toolbox.sensing.bases import dct_basis
from codecbench.toolbox.sensing.measuring import Banded, DenseGaussian, Sensing

STEP = 50.0


def smooth_units(count: int = 300, groups: int = 2) -> Tensor:
    """Integers, (count, groups, 16): few DCT coefficients are great."""
    generator = np.random.default_rng(0)
    coefficients = generator.normal(size=(count, groups, 16)) * 2000 / (1 + np.arange(16)) ** 2
    return torch.from_numpy(np.rint(coefficients @ dct_basis((16,)).T + 700))


def ways() -> list[Sensing]:
    units, basis = smooth_units(), dct_basis((16,))
    return [
        Banded(basis, Banded.learn(units, basis, STEP), 32, 0),
        DenseGaussian(basis, 2, DenseGaussian.learn(units, basis, STEP, 2.0, 0), 2.0, 0),
    ]


@pytest.mark.parametrize("sensing", ways(), ids=["banded", "dense"])
def test_units_come_back_whatever_else_is_sensed(sensing):
    units = smooth_units(200)
    symbols = sensing.symbols(units, STEP)
    assert symbols.shape == (200, sensing.tables, sensing.table_symbols)
    assert np.array_equal(symbols, np.rint(symbols))
    assert np.array_equal(symbols[150:], sensing.symbols(units[150:], STEP))
    restored = sensing.recover(torch.from_numpy(symbols).float().flatten(1), STEP)
    assert restored.shape == units.shape
    assert (restored - units).square().mean().sqrt() < 0.1 * units.std()


@pytest.mark.parametrize("sensing", ways(), ids=["banded", "dense"])
def test_fewer_measurements_are_recovered_among_more(sensing):
    symbols = torch.from_numpy(sensing.symbols(smooth_units(3), STEP)).float()
    assert sensing.tables > 1 or isinstance(sensing, Banded)
    sent = [symbols[0].flatten(), symbols[1][:1].flatten(), symbols[2].flatten()]
    together = sensing.recover_all(sent, STEP)
    for unit, alone in zip(together, sent, strict=True):
        assert torch.allclose(unit, sensing.recover(alone[None], STEP)[0], rtol=1e-4, atol=0.01)
    assert sensing.recover_all([], STEP).shape == (0, 2, 16)


def test_banded_learns_what_varies():
    generator = np.random.default_rng(0)
    units = torch.from_numpy(np.rint(generator.normal(size=(500, 2, 8)) * [[1000], [5]] + 300))
    arrays = Banded.learn(units, np.eye(8), 50.0)
    assert np.abs(arrays["means"] - 300).max() < 50
    assert (arrays["spreads"][0] > 0).all()
    assert not arrays["spreads"][1].any()
