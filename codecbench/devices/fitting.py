"""Fits the tree-structured linear regression of a device profile to measured layers.

The method of FastDeepIoT (Yao et al., SenSys 2018). Each node of a tree asks a yes/no question about a layer, which
separates layers that need different linear models (for example because another shape uses another algorithm). Each leaf
has a linear model with non-negative coefficients. A tree grows greedily by the relative error of both sides' models,
and is pruned where a question does not reduce the error on held-out layers.
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
"""The fewest layers in a leaf."""

DEPTH = 9
"""The most questions on the way to a leaf."""

GAIN = 0.02
"""The share by which a question must reduce the held-out error; otherwise it is pruned."""

THRESHOLDS = 15
"""The number of thresholds that are tried for a feature at a node: quantiles of its values there."""

MIN_PROFILE_LAYERS = 4 * MIN_LAYERS
"""The fewest layers that a profile is fitted to."""

LONG_S = 1e-4
"""A profile's errors are stated for layers of at least this many seconds, since they dominate a head's time."""


@dataclass(frozen=True)
class Fitted:
    """A tree and its relative errors on held-out layers.

    `errors` has `median`, `p90` and `count` over held-out layers of at least 0.1 ms, and `median_all` over all of them.
    """

    tree: Tree
    errors: Mapping[str, float]


def fit(measured: Sequence[tuple[Layer, float]], *, held_out: float = 0.2, seed: int = 0) -> Fitted:
    """Fit a tree to layers and their seconds. A random share `held_out` of them is used for the errors only.

    The same layers and seed give the same tree. Raises DataError for fewer than MIN_PROFILE_LAYERS layers.
    """
    import numpy as np

    if len(measured) < MIN_PROFILE_LAYERS:
        raise DataError(
            f"{len(measured)} layers were measured, at least {MIN_PROFILE_LAYERS} are needed; give more --minutes"
        )
    order = np.random.default_rng(seed).permutation(len(measured))
    cut = round(len(measured) * (1 - held_out))
    tree = fit_tree([measured[i] for i in order[:cut]], seed=seed)
    return Fitted(tree, errors(tree, [measured[i] for i in order[cut:]]))


def errors(tree: Tree, measured: Sequence[tuple[Layer, float]]) -> dict[str, float]:
    """Return the relative errors |predicted / measured - 1| of held-out layers; see `Fitted`."""
    import numpy as np

    relative = np.array([abs(tree.predict_s(layer) / seconds - 1) for layer, seconds in measured])
    long = relative[np.array([seconds >= LONG_S for _, seconds in measured], dtype=bool)]
    found = {"count": float(len(long)), "median_all": float(np.median(relative))}
    if len(long):
        found |= {"median": float(np.median(long)), "p90": float(np.quantile(long, 0.9))}
    return {name: round(value, 4) for name, value in found.items()}


def fit_tree(measured: Sequence[tuple[Layer, float]], *, seed: int = 0) -> Tree:
    """Return a tree with a subtree for each kind that has enough layers; other kinds use the tree of all layers.

    Recurrent kinds share a subtree, since their work is the same. A tree is grown on four fifths of its layers and
    pruned on the rest, and its leaves are fitted to all of them.
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
    """Measured layers as arrays. A row of `relative` is a layer's terms divided by its seconds: a model predicts 1."""

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
        # Columns are scaled to equal size, so that the solver's tolerance fits seconds as well as seconds per byte.
        self.scale = np.maximum(np.sqrt((relative**2).mean(axis=0)), 1e-30)
        self.relative = relative / self.scale

    def holds(self, question: _Question, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each of these layers whether it answers the question with yes."""
        import numpy as np

        if question.kind:
            return np.asarray(self.kinds[rows] == question.kind)
        return np.asarray(self.features[question.feature][rows] <= question.at_most)


@dataclass(frozen=True)
class _Question:
    """The question of a node: is the layer of this kind, or without a kind, is the feature at most a threshold."""

    kind: str = ""
    feature: str = ""
    at_most: float = 0.0


@dataclass(frozen=True)
class _Node:
    """A node of a tree during the fit: its coefficients, and its question and children unless it is a leaf."""

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
    """Return the question with the smallest squared relative error of its two models, if it beats a single model."""
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
    """Return candidate counts of layers below a threshold in ordered values: near quantiles, between unequal values."""
    import numpy as np

    positions = np.flatnonzero(np.diff(ordered) > 0) + 1
    positions = positions[(positions >= MIN_LAYERS) & (positions <= len(ordered) - MIN_LAYERS)]
    if len(positions) <= THRESHOLDS:
        return positions
    targets = np.linspace(positions[0], positions[-1], THRESHOLDS)
    return np.unique(positions[np.searchsorted(positions, targets).clip(0, len(positions) - 1)])


def _loss(gram: NDArray[np.float64], total: NDArray[np.float64], count: int) -> float:
    """Return the sum of squared relative errors of the best model with non-negative coefficients."""
    weights = _nnls(gram, total)
    return max(0.0, float(count - 2 * total @ weights + weights @ gram @ weights))


def _nnls(gram: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimise |A w - 1| over w >= 0, given A'A and A'1."""
    import numpy as np
    from scipy.optimize import nnls

    ridge = 1e-9 * np.trace(gram) + 1e-12
    lower = np.linalg.cholesky(gram + ridge * np.eye(len(gram)))
    weights: NDArray[np.float64] = nnls(lower.T, np.linalg.solve(lower, total))[0]
    return weights


def _robust(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return coefficients of almost the smallest absolute relative error, without bias at the median.

    Iteratively reweighted least squares, then scaled so that the median prediction is exact.
    """
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
    """Return the node with useless questions removed, and its error on these held-out layers."""
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
    """Yield the tree as text, a line for each question and each leaf."""
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
