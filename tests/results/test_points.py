"""Points as text: every point is read back from its label, and two points have two labels."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codecbench.errors import UsageError
from codecbench.experiment.config import parse_codec, split_codec
from codecbench.results.cell import codec_label, digest, file_label, point_label
from codecbench.results.points import guessed, read_arguments, typed

LOOKALIKES = st.sampled_from(
    [
        "1",
        "-0",
        "1e1",
        "true",
        "True",
        "null",
        "None",
        "inf",
        "nan",
        "",
        " a",
        "a ",
        "a,b",
        "x=y",
        '"',
        '"a"',
        "a\nb",
        "é",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | LOOKALIKES
POINTS = st.dictionaries(st.from_regex(r"[a-z_]{1,4}", fullmatch=True) | st.text(min_size=1, max_size=6), SCALARS)


@given(POINTS)
@example({"a": "1,b=2"})
@example({"a": 0.1, "b": 1e-7, "c": -0.0, "d": -3, "e": 10**40})
def test_a_point_is_read_back_from_its_label(point: Mapping[str, Any]) -> None:
    label = codec_label("words", point)
    assert "\n" not in label
    name, found = parse_codec(label)
    assert (name, digest(found)) == ("words", digest(point))
    assert list(found) == list(point)
    assert shlex.split(shlex.join([label])) == [label]


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    error = ""
    try:
        parse_codec(f"x:{text}")
    except UsageError as refused:
        error = str(refused)
    assert len(error.splitlines()) <= 1


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,4}", fullmatch=True), SCALARS.filter(lambda v: v is not None)))
def test_a_point_is_read_back_where_the_types_of_the_codec_are_known(point: Mapping[str, Any]) -> None:
    words = read_arguments(split_codec(codec_label("x", point))[1], "x")
    assert digest({key: typed(word, [point[key]], "x") for key, word in words.items()}) == digest(point)


def test_not_a_number_is_a_number_too() -> None:
    assert math.isnan(parse_codec(codec_label("x", {"a": math.nan}))[1]["a"])


@pytest.mark.parametrize(
    ("word", "own", "value"),
    [
        ("1", ["9"], "1"),
        ("1e1", ["9", "true"], "1e1"),
        ("true", ["9"], "true"),
        ('"1"', ["9"], "1"),
        ("1", [0.5], 1.0),
        ("50.0", [75], 50),
        ("50.0", [75, 0.5], 50.0),
        ("0.5", [75], 0.5),
        ("true", [False], True),
        ("3", ["auto", 8], 3),
        ("auto", ["auto", 8], "auto"),
        ("x", [None], "x"),
    ],
)
def test_a_value_takes_the_type_of_the_codecs_own(word: str, own: list[Any], value: Any) -> None:
    found = typed(word, own, "codec 'x': a")
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("word", "own", "said"),
    [
        ("abc", [75], "codec 'x': a takes a number, not abc"),
        ('"75"', [75], "codec 'x': a takes a number, not \"75\""),
        ("true", [75], "codec 'x': a takes a number, not True"),
        ("1", [False], "codec 'x': a takes true or false, not 1"),
        ("1", [False, "auto"], "codec 'x': a takes true or false or text, not 1"),
        ("None", [1], "codec 'x': a takes a number, not None"),
    ],
)
def test_a_value_of_another_type_is_refused(word: str, own: list[Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        typed(word, own, "codec 'x': a")
    assert str(caught.value) == said


def test_labels_are_in_quotes_only_where_they_must_be() -> None:
    point = {"quality": 50, "tables": "shared", "fast": True, "mode": "1", "path": "a=b c"}
    assert point_label(point) == 'quality=50,tables=shared,fast=True,mode="1",path=a=b c'
    assert file_label(point) == "quality=50,tables=shared,fast=True,mode=1,path=a=b c"
    assert guessed(json.dumps("true"), "x") == "true"
