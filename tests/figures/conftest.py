"""The figures that tests look at, drawn once."""

from __future__ import annotations

import pytest
from support.figures import data_of, records

from codecbench.analysis.study import Study
from codecbench.figures import catalogue as figure
from codecbench.figures.drawing import Drawing


@pytest.fixture(scope="session")
def data() -> Study:
    return data_of(records())


@pytest.fixture(scope="session")
def drawings(data: Study) -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in figure.draw_all(data)}


@pytest.fixture(scope="session")
def svgs(drawings: dict[str, Drawing]) -> dict[str, str]:
    return {name: drawing.svg() for name, drawing in drawings.items()}
