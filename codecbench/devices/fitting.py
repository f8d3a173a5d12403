"""Fit a tree-structured linear regression to measured layers: what makes a device profile.

The method of FastDeepIoT (Yao et al., SenSys 2018): a tree parts the layers where one linear model does not hold for
all (another algorithm for another shape, say), and each leaf has a linear model of non-negative coefficients. Trees
grow greedily by the relative error of both sides' models, and are cut back where held-out layers gain nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codecbench.devices.layers import RECURRENT, Layer
from codecbench.devices.profile import FEATURES, TERMS, Branch, Leaf, Tree
from codecbench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_LAYERS = 20
"""Layers in a leaf, at the least."""

DEPTH = 9
"""Questions on the way to a leaf, at the most."""

GAIN = 0.02
"""The share of the held-out error that a question has to take away, or it is cut."""

THRESHOLDS = 15
"""Places at which a feature may part a node: quantiles of its values there."""

LONG_S = 1e-4
"""Layers of at least so long are what the errors of a profile are stated for; a head's time is theirs."""


@dataclass(frozen=True)
class Fitted:
    """A tree and its relative errors on the layers that were held out.

    `errors` has, over held-out layers of at least 0.1 ms: `median`, `p90`, `count`; and `median_all` over all of them.
    """

    tree: Tree
    errors: Mapping[str, float]


def fit(measured: Sequence[tuple[Layer, float]], *, held_out: float = 0.2, seed: int = 0) -> Fitted:
    """Fit to layers and their seconds; a share of them, drawn by the seed, only gives the errors.

    The same layers and seed give the same tree. Raises DataError where there are too few layers.
    """
    import numpy as np

    if len(measured) < 4 * MIN_LAYERS:
        raise DataError(
            f"{len(measured)} layers were measured, at least {4 * MIN_LAYERS} are needed; give more --minutes"
        )
    order = np.random.default_rng(seed).permutation(len(measured))
    cut = round(len(measured) * (1 - held_out))
    tree = fit_tree([measured[i] for i in order[:cut]], seed=seed)
    return Fitted(tree, errors(tree, [measured[i] for i in order[cut:]]))


def errors(tree: Tree, measured: Sequence[tuple[Layer, float]]) -> dict[str, float]:
    """Relative errors |predicted / measured - 1| of layers that the tree was not fitted to."""
    import numpy as np

    relative = np.array([abs(tree.predict_s(layer) / seconds - 1) for layer, seconds in measured])
    long = relative[np.array([seconds >= LONG_S for _, seconds in measured], dtype=bool)]
    found = {"count": float(len(long)), "median_all": float(np.median(relative))}
    if len(long):
        found |= {"median": float(np.median(long)), "p90": float(np.quantile(long, 0.9))}
    return {name: round(value, 4) for name, value in found.items()}


def fit_tree(measured: Sequence[tuple[Layer, float]], *, seed: int = 0) -> Tree:
    """A tree for each kind of layer that was measured often enough; what remains has the tree of all layers.

    Recurrent layers do the same work and share one. A tree is grown on four fifths of its layers, cut back by the rest,
    and its leaves are fitted to all of them.
    """
    import numpy as np

    data = _Data(measured)
    shuffled = np.random.default_rng([seed, 1]).permutation(len(measured))
    tree = _tree_of(data, shuffled)
    groups = sorted({RECURRENT if kind in RECURRENT else (str(kind),) for kind in data.kinds})
    found = [(shuffled[np.isin(data.kinds[shuffled], kinds)], kinds) for kinds in groups]
    for rows, kinds in sorted(found, key=lambda group: len(group[0])):
        if len(rows) >= MIN_LAYERS:
            tree = Branch(_tree_of(data, rows), tree, kinds=kinds)
    return tree


def _tree_of(data: _Data, shuffled: NDArray[np.int64]) -> Tree:
    import numpy as np

    cut = len(shuffled) * 4 // 5
    pruned, _ = _prune(data, _grow(data, np.sort(shuffled[:cut]), 0), np.sort(shuffled[cut:]))
    return _refit(data, pruned, np.sort(shuffled))


class _Data:
    """Measured layers as arrays. A row of `relative` is a layer's terms over its seconds: 1 is to be predicted."""

    def __init__(self, measured: Sequence[tuple[Layer, float]]) -> None:
        import numpy as np

        self.layers = [layer for layer, _ in measured]
        self.seconds = np.array([seconds for _, seconds in measured])
        self.kinds = np.array([layer.kind for layer in self.layers])
        self.features = {
            name: np.array([feature(layer) for layer in self.layers], dtype=np.float64)
            for name, feature in FEATURES.items()
        }
        terms = np.array([[term(layer) for _, term in TERMS.values()] for layer in self.layers], dtype=np.float64)
        relative = terms / self.seconds[:, None]
        # Columns of one size, so that a solver's tolerance means the same for a second and for a second a byte.
        self.scale = np.maximum(np.sqrt((relative**2).mean(axis=0)), 1e-30)
        self.relative = relative / self.scale

    def holds(self, question: _Question, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these layers answer yes."""
        import numpy as np

        if question.kind:
            return np.asarray(self.kinds[rows] == question.kind)
        return np.asarray(self.features[question.feature][rows] <= question.at_most)


@dataclass(frozen=True)
class _Question:
    kind: str = ""
    feature: str = ""
    at_most: float = 0.0


@dataclass(frozen=True)
class _Node:
    """A node while the tree is being made: its coefficients, and its question and children unless it is a leaf."""

    weights: NDArray[np.float64]
    question: _Question | None = None
    yes: _Node | None = None
    no: _Node | None = None


def _grow(data: _Data, rows: NDArray[np.int64], depth: int) -> _Node:
    weights = _robust(data.relative[rows])
    found = _best_question(data, rows) if depth < DEPTH else None
    if found is None:
        return _Node(weights)
    holds = data.holds(found, rows)
    return _Node(weights, found, _grow(data, rows[holds], depth + 1), _grow(data, rows[~holds], depth + 1))


def _best_question(data: _Data, rows: NDArray[np.int64]) -> _Question | None:
    """The question whose two models together leave the least squared relative error, if it is less than one model's."""
    import numpy as np

    relative = data.relative[rows]
    grams = relative[:, :, None] * relative[:, None, :]
    total_gram, total_sum = grams.sum(axis=0), relative.sum(axis=0)
    smallest = 0.99 * _loss(total_gram, total_sum, len(rows))
    best: _Question | None = None

    def consider(question: _Question, gram: NDArray[np.float64], total: NDArray[np.float64], count: int) -> None:
        nonlocal best, smallest
        both = _loss(gram, total, count) + _loss(total_gram - gram, total_sum - total, len(rows) - count)
        if both < smallest:
            best, smallest = question, both

    for kind in sorted(set(data.kinds[rows])):
        holds = data.kinds[rows] == kind
        if MIN_LAYERS <= holds.sum() <= len(rows) - MIN_LAYERS:
            consider(_Question(kind=str(kind)), grams[holds].sum(axis=0), relative[holds].sum(axis=0), int(holds.sum()))
    for name, values in data.features.items():
        order = np.argsort(values[rows], kind="stable")
        ordered = values[rows][order]
        counts = _cuts(ordered)
        if len(counts):
            gram_sums, sums = np.cumsum(grams[order], axis=0), np.cumsum(relative[order], axis=0)
            for count in counts:
                threshold = float((ordered[count - 1] + ordered[count]) / 2)
                consider(_Question(feature=name, at_most=threshold), gram_sums[count - 1], sums[count - 1], int(count))
    return best


def _cuts(ordered: NDArray[np.float64]) -> NDArray[np.int64]:
    """Candidate sizes of the lower side of a cut through ordered values: near quantiles, between unequal values."""
    import numpy as np

    positions = np.flatnonzero(np.diff(ordered) > 0) + 1
    positions = positions[(positions >= MIN_LAYERS) & (positions <= len(ordered) - MIN_LAYERS)]
    if len(positions) <= THRESHOLDS:
        return positions
    targets = np.linspace(positions[0], positions[-1], THRESHOLDS)
    return np.unique(positions[np.searchsorted(positions, targets).clip(0, len(positions) - 1)])


def _loss(gram: NDArray[np.float64], total: NDArray[np.float64], count: int) -> float:
    """The sum of squared relative errors of the best model of non-negative coefficients."""
    weights = _nnls(gram, total)
    return max(0.0, float(count - 2 * total @ weights + weights @ gram @ weights))


def _nnls(gram: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimise |A w - 1|, w >= 0, from A'A and A'1."""
    import numpy as np
    from scipy.optimize import nnls

    ridge = 1e-9 * np.trace(gram) + 1e-12
    lower = np.linalg.cholesky(gram + ridge * np.eye(len(gram)))
    weights: NDArray[np.float64] = nnls(lower.T, np.linalg.solve(lower, total))[0]
    return weights


def _robust(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients of least absolute relative error, nearly: reweighted least squares; then no bias at the median."""
    import numpy as np

    importance = np.ones(len(relative))
    weights = np.zeros(relative.shape[1])
    for _ in range(6):
        weighted = relative * importance[:, None]
        weights = _nnls(weighted.T @ relative, weighted.sum(axis=0))
        importance = 1 / np.maximum(np.abs(relative @ weights - 1), 0.03)
        importance /= importance.mean()
    middle = float(np.median(relative @ weights))
    return weights / middle if middle > 0 else weights


def _prune(data: _Data, node: _Node, rows: NDArray[np.int64]) -> tuple[_Node, float]:
    """Make a leaf of each node whose questions do not lessen the error of these layers, and give the error left."""
    import numpy as np

    error = float(np.minimum(np.abs(data.relative[rows] @ node.weights - 1), 1.0).sum())
    if node.question is None or node.yes is None or node.no is None:
        return node, error
    holds = data.holds(node.question, rows)
    yes, yes_error = _prune(data, node.yes, rows[holds])
    no, no_error = _prune(data, node.no, rows[~holds])
    if yes_error + no_error > (1 - GAIN) * error:
        return _Node(node.weights), error
    return _Node(node.weights, node.question, yes, no), yes_error + no_error


def _refit(data: _Data, node: _Node, rows: NDArray[np.int64]) -> Tree:
    import numpy as np

    if node.question is None or node.yes is None or node.no is None:
        weights = _robust(data.relative[rows])
        error = float(np.median(np.abs(data.relative[rows] @ weights - 1)))
        named = zip(TERMS, weights / data.scale, strict=True)
        return Leaf({name: float(value) for name, value in named if value > 0}, len(rows), error)
    holds = data.holds(node.question, rows)
    yes, no = _refit(data, node.yes, rows[holds]), _refit(data, node.no, rows[~holds])
    question = node.question
    return Branch(yes, no, (question.kind,) if question.kind else (), question.feature, question.at_most)


def lines(tree: Tree, indent: str = "") -> Iterator[str]:
    """The tree as text, a line a question or a leaf."""
    if isinstance(tree, Leaf):
        terms = ", ".join(f"{_scaled(name, value)}" for name, value in tree.seconds.items())
        yield f"{indent}{terms or '0'}  ({tree.count} layers, {tree.error:.0%})"
        return
    question = f"kind is {' or '.join(tree.kinds)}" if tree.kinds else f"{tree.feature} <= {tree.at_most:g}"
    yield f"{indent}{question}?"
    yield from lines(tree.yes, indent + "  + ")
    yield from lines(tree.no, indent + "  - ")


def _scaled(name: str, seconds: float) -> str:
    unit: Any = (1e6, "us") if name == "per_layer" else (1e9, "ns")
    return f"{seconds * unit[0]:.3g} {unit[1]} {name.replace('_', ' ')}"
