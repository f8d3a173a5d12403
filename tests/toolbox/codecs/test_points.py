"""Which kind of tensor a spec is, by which codecs choose their operating points."""

from __future__ import annotations

import pytest

from codecbench import TensorSpec
from codecbench.toolbox.codecs.points import LARGE_VALUES, SMALL_VALUES, TensorKind, kind_of, steps


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (TensorSpec((3, 200, 200), image=True), "image"),
        (TensorSpec((SMALL_VALUES,)), "small"),
        (TensorSpec((SMALL_VALUES + 1,)), "middle"),
        (TensorSpec((LARGE_VALUES,)), "middle"),
        (TensorSpec((1, LARGE_VALUES + 1)), "large"),
        (TensorSpec((None, 64), max_length=SMALL_VALUES // 64), "small"),
    ],
)
def test_kinds_go_by_the_values_of_the_longest_sample(spec: TensorSpec, kind: TensorKind) -> None:
    assert kind_of(spec) == kind


def test_points_of_steps_keep_their_order() -> None:
    assert steps(2.0, 1.0) == ({"step": 2.0}, {"step": 1.0})
