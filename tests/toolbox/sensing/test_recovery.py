"""Recovery: matrices are orthonormal, and solutions agree with scikit-learn, PyLops and autograd."""

import numpy as np
import pylops
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pylops.optimization.cls_sparsity import _softthreshold
from sklearn.linear_model import Lasso
from torch import Tensor

from codecbench.toolbox.sensing.bases import (
    wavelet_basis,
)
from codecbench.toolbox.sensing.recovery import L1Solver, Operator, gaussian_rows, orthonormal_rows, soft_threshold

FISTA = L1Solver("fista", iterations=400)
rng = np.random.default_rng


def problem(rows: int = 24, length: int = 40, batch: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A float64 matrix, and measurements of sparse coefficients with a little noise."""
    generator = rng(seed)
    matrix = gaussian_rows(rows, length, seed)
    sparse = generator.normal(size=(batch, length)) * (generator.random((batch, length)) < 0.15)
    return torch.from_numpy(matrix), torch.from_numpy(sparse @ matrix.T + 0.01 * generator.normal(size=(batch, rows)))


def objective(matrix: Tensor, measured: Tensor, found: Tensor, penalty: float, weights: Tensor | float = 1.0) -> Tensor:
    misfit = (found @ matrix.mT - measured).square().sum(-1) / 2
    return misfit + penalty * (weights * found.abs()).sum(-1)


def psnr(restored: np.ndarray, picture: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((restored - picture) ** 2)))


# --- matrices


@pytest.mark.parametrize(("rows", "length"), [(1, 1), (5, 5), (10, 64), (512, 1024)])
def test_orthonormal_rows(rows, length):
    made = orthonormal_rows(rows, length, 3)
    assert made.shape == (rows, length)
    assert np.abs(made @ made.T - np.eye(rows)).max() < 1e-12
    with pytest.raises(ValueError, match="cannot be orthonormal"):
        orthonormal_rows(length + 1, length, 3)


def test_gaussian_columns_have_length_one_on_average():
    made = gaussian_rows(200, 1000, 0)
    assert abs((made**2).sum(0).mean() - 1) < 0.01
    assert abs(made.mean()) < 1e-3


@pytest.mark.parametrize("rows", [gaussian_rows, orthonormal_rows])
def test_a_seed_gives_one_matrix(rows):
    assert np.array_equal(rows(6, 9, 1), rows(6, 9, 1))
    assert np.array_equal(rows(6, 9, [1, 2]), rows(6, 9, [1, 2]))
    assert not np.allclose(rows(6, 9, 1), rows(6, 9, 2))
    assert not np.allclose(rows(6, 9, [1, 2]), rows(6, 9, [1, 3]))


def test_seeds_give_the_same_matrix_everywhere():
    assert np.allclose(gaussian_rows(1, 3, 0) * 1.0, [[1.764052345967664, 0.4001572083672233, 0.9787379841057392]])


# --- gradient, step and proximal map


def test_gradient_is_that_of_autograd_and_of_pylops():
    matrix, measured = problem()
    found = torch.from_numpy(rng(1).normal(size=(5, 40))).requires_grad_()
    objective(matrix, measured, found, 0.0).sum().backward()
    gradient = Operator(matrix).gradient(found.detach(), measured)
    assert torch.allclose(gradient, found.grad)
    operator = pylops.MatrixMult(matrix.numpy())
    for row, c, y in zip(gradient.numpy(), found.detach().numpy(), measured.numpy(), strict=True):
        assert np.allclose(row, operator.rmatvec(operator.matvec(c) - y))


@pytest.mark.parametrize("rows", [10, 30])
def test_descent_is_a_step_against_the_gradient(rows):
    """Both ways to compute it: by the square matrix (30 rows of 40), and by two products (10 rows)."""
    matrix, measured = problem(rows)
    operator, c = Operator(matrix), torch.from_numpy(rng(1).normal(size=(5, 40)))
    expected = c - operator.step * operator.gradient(c, measured)
    assert torch.allclose(operator.descend(measured @ matrix)(c), expected)


def test_step_is_just_below_the_inverse_of_the_greatest_eigenvalue():
    for matrix in (problem()[0], problem(60, 40)[0], torch.zeros(2, 3), torch.from_numpy(orthonormal_rows(5, 9, 0))):
        gain = float(torch.linalg.matrix_norm(matrix, 2)) ** 2
        if gain:
            assert 0.96 < float(Operator(matrix).step) * gain <= 1
    assert float(Operator(matrix, orthonormal=True).step) == 1


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.floats(0, 1e6))
def test_soft_threshold_is_that_of_pylops(values, threshold):
    expected = _softthreshold(np.array(values), threshold)
    found = soft_threshold(torch.tensor(values, dtype=torch.float64), torch.tensor(threshold, dtype=torch.float64))
    assert np.allclose(found.numpy(), expected, rtol=1e-12, atol=1e-9)


# --- solutions


@pytest.mark.parametrize("penalty", [0.003, 0.03, 0.3])
@pytest.mark.parametrize(("rows", "length"), [(24, 40), (12, 40), (60, 40)])
def test_the_solution_is_that_of_sklearn(penalty, rows, length):
    matrix, measured = problem(rows, length)
    found = L1Solver("fista", iterations=3000, continuation=50).solve(Operator(matrix), measured, penalty)
    for c, y in zip(found.numpy(), measured.numpy(), strict=True):
        # sklearn divides the misfit by the number of rows.
        lasso = Lasso(alpha=penalty / rows, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(matrix.numpy(), y)
        assert np.abs(c - lasso.coef_).max() < 1e-3


def test_weights_are_penalties_of_their_own():
    """A weighted problem is an unweighted one in c_i * weights_i."""
    matrix, measured = problem()
    weights = torch.from_numpy(rng(2).uniform(0.3, 3, 40))
    found = FISTA.solve(Operator(matrix), measured, 0.05, weights)
    scaled = FISTA.solve(Operator(matrix / weights), measured, 0.05) / weights
    assert torch.allclose(
        objective(matrix, measured, found, 0.05, weights), objective(matrix, measured, scaled, 0.05, weights), rtol=1e-4
    )
    assert (found - scaled).abs().max() < 0.01


def test_ista_and_fista_are_those_of_pylops():
    matrix, measured = problem()
    step = float(Operator(matrix).step)
    for method, theirs in (("ista", pylops.optimization.sparsity.ista), ("fista", pylops.optimization.sparsity.fista)):
        found = L1Solver(method, iterations=20).solve(Operator(matrix), measured, 0.05)
        for c, y in zip(found.numpy(), measured.numpy(), strict=True):
            # PyLops thresholds by half of eps * alpha, with a misfit that is not halved.
            expected = theirs(pylops.MatrixMult(matrix.numpy()), y, niter=20, eps=0.1, alpha=step, tol=0)[0]
            assert np.abs(c - expected).max() < 1e-8


def test_fista_is_nearer_than_ista_after_as_many_iterations():
    matrix, measured = problem()
    best = objective(matrix, measured, L1Solver(iterations=5000).solve(Operator(matrix), measured, 0.01), 0.01)
    excess = {
        method: objective(
            matrix, measured, L1Solver(method, iterations=60).solve(Operator(matrix), measured, 0.01), 0.01
        ) - best
        for method in ("ista", "fista")
    }  # fmt: skip
    assert (excess["fista"] < 0.5 * excess["ista"]).all()


def test_continuation_is_nearer_at_a_small_penalty():
    matrix, measured = problem(batch=20)
    operator, penalty = Operator(matrix), 1e-3
    best = objective(matrix, measured, L1Solver(iterations=20_000).solve(operator, measured, penalty), penalty)
    plain, continued = (
        objective(
            matrix, measured, L1Solver("ista", 100, continuation=steps).solve(operator, measured, penalty), penalty
        )
        for steps in (0, 60)
    )
    assert (continued - best).mean() < 0.8 * (plain - best).mean()


@pytest.mark.parametrize("method", ["ista", "fista"])
def test_a_rotation_is_solved_in_one_step(method):
    matrix = torch.from_numpy(orthonormal_rows(16, 16, 0))
    measured = torch.from_numpy(rng(0).normal(size=(3, 16)))
    found = L1Solver(method, iterations=1).solve(Operator(matrix, orthonormal=True), measured, 0.2)
    assert torch.allclose(found, soft_threshold(measured @ matrix, torch.tensor(0.2)))


def test_a_great_penalty_gives_zero():
    matrix, measured = problem()
    penalty = float((measured @ matrix).abs().max())
    for continuation in (0, 10):
        solver = L1Solver(iterations=20, continuation=continuation)
        assert not solver.solve(Operator(matrix), measured, penalty).any()


def test_a_warm_start_goes_on():
    matrix, measured = problem()
    operator = Operator(matrix)
    solution = L1Solver(iterations=5000).solve(operator, measured, 0.02)
    few = L1Solver("ista", iterations=5)
    assert torch.allclose(few.solve(operator, measured, 0.02, start=solution), solution, atol=1e-6)
    ten = L1Solver("ista", iterations=10).solve(operator, measured, 0.02)
    twice = few.solve(operator, measured, 0.02, start=few.solve(operator, measured, 0.02))
    assert torch.allclose(twice, ten, atol=1e-12)


def test_a_tolerance_ends_early_and_near(monkeypatch):
    matrix, measured = problem()
    steps = 0
    descend = Operator.descend

    def counted(self, back_projection):
        step = descend(self, back_projection)

        def count(c):
            nonlocal steps
            steps += 1
            return step(c)

        return count

    monkeypatch.setattr(Operator, "descend", counted)
    found = L1Solver(iterations=5000, tolerance=1e-4).solve(Operator(matrix), measured, 0.02)
    taken, steps = steps, 0
    full = L1Solver(iterations=5000).solve(Operator(matrix), measured, 0.02)
    assert steps == 5000
    assert taken < 1000
    assert (found - full).norm() < 0.05 * full.norm()


def test_no_tolerance_ends_before_the_penalty_has_fallen():
    matrix, measured = problem()
    found = L1Solver(iterations=500, continuation=100, tolerance=1e-3).solve(Operator(matrix), measured, 0.02)
    full = L1Solver(iterations=5000).solve(Operator(matrix), measured, 0.02)
    assert (found - full).norm() < 0.05 * full.norm()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["ista", "fista"]), st.sampled_from([0, 20]))
def test_a_batch_is_its_members(seed, method, continuation):
    matrix, measured = problem(seed=seed)
    matrix, measured = matrix.float(), measured.float()
    solver = L1Solver(method, iterations=40, continuation=continuation)
    together = solver.solve(Operator(matrix), measured, 0.02)
    alone = torch.cat([solver.solve(Operator(matrix), y[None], 0.02) for y in measured])
    assert (together - alone).abs().max() <= 1e-5 * alone.abs().max()


@pytest.mark.parametrize("rows", [10, 30])
def test_a_stack_of_matrices_is_each_of_them(rows):
    problems = [problem(rows, seed=seed) for seed in range(3)]
    solver = L1Solver(iterations=30, continuation=10)
    stacked = solver.solve(
        Operator(torch.stack([matrix for matrix, _ in problems])), torch.stack([y for _, y in problems]), 0.02
    )
    for found, (matrix, measured) in zip(stacked, problems, strict=True):
        assert torch.allclose(found, solver.solve(Operator(matrix), measured, 0.02))


def test_empty_batches_and_stacks():
    matrix, measured = problem()
    assert FISTA.solve(Operator(matrix), measured[:0], 0.1).shape == (0, 40)
    stack = Operator(torch.zeros(0, 4, 6), orthonormal=True)
    assert L1Solver(continuation=5).solve(stack, torch.zeros(0, 3, 4), 0.1).shape == (0, 3, 6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "adam"}, "method is 'ista' or 'fista'"),
        ({"iterations": 10, "continuation": 11}, "continuation is 0 to 10"),
    ],
)
def test_wrong_options_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        L1Solver(**options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_other_devices_give_the_same():
    matrix, measured = problem()
    found = L1Solver(device="cuda").solve(Operator(matrix), measured, 0.02)
    assert torch.allclose(found.cpu(), L1Solver().solve(Operator(matrix), measured, 0.02))


def test_an_image_block_is_as_good_as_by_sklearn():
    """At the same penalty and measurements: within 1.0 dB of Lasso run to convergence."""
    block = skimage.data.camera()[200:232, 200:232] / 255
    basis = wavelet_basis(block.shape, "sym4")
    matrix = orthonormal_rows(512, 1024, 0) @ basis
    measured = matrix @ basis.T @ block.reshape(-1)
    ours = L1Solver("fista", iterations=60, continuation=30).solve(
        Operator(torch.from_numpy(matrix).float(), orthonormal=True), torch.from_numpy(measured)[None], 0.005
    )
    lasso = Lasso(alpha=0.005 / 512, fit_intercept=False, tol=1e-3).fit(matrix, measured)
    ours_db = psnr(basis @ ours[0].double().numpy(), block.reshape(-1))
    assert ours_db > psnr(basis @ lasso.coef_, block.reshape(-1)) - 1.0
    assert ours_db > 20
