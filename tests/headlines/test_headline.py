"""The headline of a study: its sentence, and the choice of its rows."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from support.factories import LINK
from support.plans import make_candidates

from codecbench.analysis.latency import Scenario
from codecbench.analysis.planner import Candidate, Limits
from codecbench.headlines.headline import MAX_ROWS, PARETO, Headline
from codecbench.tables.document import html_section, markdown

ROWS = ("webp", "klt", "deepcod (fixed)", "jpeg-huffman (own)", "jpeg-huffman (shared)")


def headline(found: list[Candidate], budget: float = 1.0) -> Headline:
    limits = Limits(budget)
    return Headline(found, limits, Scenario(LINK), "top-1 %")


@st.composite
def many(draw: st.DrawFn) -> list[Candidate]:
    """Draw candidates at several splits, and the whole network on the device."""
    cells = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["input", *(f"stage{i}" for i in range(9))]), st.sampled_from(ROWS),
                st.integers(1, 50), st.sampled_from([0.0, 0.5, 3.0]),
            ),
            min_size=1, max_size=40,
        )
    )  # fmt: skip
    return [*(make_candidate(*cell) for cell in cells), make_candidate("", "local", draw(st.integers(1, 50)), 0.0)]


def make_candidate(split: str, row: str, tenths_of_ms: int, loss: float) -> Candidate:
    base = make_candidates()[0]
    steps = {
        step: values * 0 + (tenths_of_ms / 10_000 if step == "head" else 0.0)
        for step, values in base.latency.steps_s.items()
    }
    latency = replace(base.latency, steps_s=steps)
    return replace(
        base,
        split=split,
        row=row,
        point="quality=85,tables=shared",
        loss=loss,
        latency=latency,
        payload_bytes=100 * tenths_of_ms,
    )


@given(many())
def test_rows_are_few_sorted_within_the_budget_and_hold_the_usual_choices(found: list[Candidate]) -> None:
    shown = headline(found).rows
    assert len(shown) <= MAX_ROWS
    medians = [each.latency.median_s for each in shown]
    assert medians == sorted(medians)
    assert all(each.loss <= 1.0 for each in shown)
    assert found[-1] in shown
    possible = [each for each in found[:-1] if each.loss <= 1.0]
    if possible:
        assert min(each.latency.median_s for each in possible) in [each.latency.median_s for each in shown[:2]]
    for rows in (("deepcod (fixed)",), ("jpeg-huffman (own)", "jpeg-huffman (shared)")):
        usual = [each for each in possible if each.row in rows and (each.row in ROWS[:3] or each.split == "input")]
        if usual:
            fastest_s = min(each.latency.median_s for each in usual)
            assert any(each.row in rows and each.latency.median_s == fastest_s for each in shown)


def test_the_best_numbers_are_strong_in_markup_only_and_the_front_is_marked() -> None:
    local = make_candidate("", "local", 90, 0.0)
    found = [make_candidate("input", "webp", 30, 0.5), make_candidate("stem", "klt", 20, 0.9), local]
    shown = headline(found).document()
    assert "| **2.0** |" in " ".join(markdown(shown).split())
    assert "<strong>2,000</strong>" in html_section(shown)
    (block,) = shown.blocks
    assert [PARETO in cells[-1].marks for _, cells in block.rows] == [True, True, False]
    assert "**" not in headline(found).text(100)


def test_a_narrow_terminal_gets_no_operating_points_and_the_sentence_at_the_end() -> None:
    found = [make_candidate("stage1", "a-codec", 30, 0.5), make_candidate("", "local", 90, 0.0)]
    wide, narrow = headline(found).text(100), headline(found).text(70)
    assert "a-codec quality=85" in wide
    assert "a-codec quality=85" not in narrow.split("local:")[0]
    assert max(map(len, narrow.splitlines())) <= 70
    assert " ".join(narrow.split()).endswith(headline(found).sentence)


def test_without_a_codec_within_the_budget_the_device_keeps_the_network() -> None:
    found = [make_candidate("input", "webp", 30, 5.0), make_candidate("", "local", 90, 0.0)]
    assert [each.row for each in headline(found).rows] == ["local"]
    assert "no codec is within the limits" in headline(found).sentence
