"""The paper's numbers."""

from codecbench.analysis.published import published_tables


def test_every_published_row_is_there() -> None:
    assert sum(len(published.entries) for published in published_tables()) == 66
