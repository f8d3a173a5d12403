"""Agreement with the uncut model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.descriptions import PlainNetwork, describe

from codecbench.adapters.tasks.agreement import open_task
from codecbench.errors import DataError, UsageError

NETWORK = PlainNetwork()
LOGITS = hnp.arrays(np.float32, st.integers(2, 8), elements=st.floats(-50, 50, width=32))


@given(LOGITS)
def test_a_model_agrees_with_itself(logits: np.ndarray) -> None:
    found = open_task("", describe()).score((logits,), (logits,), NETWORK)
    assert found["agreement"] == (1.0, 1.0)
    assert found["divergence"] == (0.0, 1.0)


@given(
    st.integers(2, 8).flatmap(
        lambda n: st.tuples(*[hnp.arrays(np.float32, n, elements=st.floats(-50, 50, width=32))] * 2)
    )
)
def test_the_divergence_is_never_negative(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = open_task("", describe()).score((pair[0],), (pair[1],), NETWORK)
    assert found["agreement"][0] in (0.0, 1.0)
    assert 0 <= found["divergence"][0] < np.inf


def test_the_divergence_is_that_of_the_probabilities() -> None:
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.5, 0.25])
    found = open_task("", describe()).score((np.log(q) + 3,), (np.log(p),), NETWORK)
    assert found["divergence"][0] == pytest.approx(float((p * np.log(p / q)).sum()))
    assert found["agreement"] == (0.0, 1.0)


@pytest.mark.parametrize("shape", [(5, 3), (3, 2, 4)])
def test_places_of_maps_and_sequences_count_by_their_share(shape: tuple[int, ...]) -> None:
    reference = np.zeros(shape, np.float32)
    (reference[:, 0] if len(shape) == 2 else reference[0]).fill(1)
    changed = reference.copy()
    (changed[0] if len(shape) == 2 else changed[:, 0, 0])[-1] = 2
    task = open_task("dense", describe())
    places = reference.size // 3
    assert task.score((changed,), (reference,), NETWORK)["agreement"][0] == pytest.approx(1 - 1 / places)
    assert not task.metrics[0].binary  # type: ignore[attr-defined]
    with pytest.raises(
        DataError, match=r"^--task agreement takes one vector of logits a sample, .*give --task agreement:dense"
    ):
        open_task("", describe()).score((changed,), (reference,), NETWORK)


def test_a_task_of_another_kind() -> None:
    with pytest.raises(UsageError, match=r"^--task agreement:x: it is agreement, or agreement:dense"):
        open_task("x", describe())
