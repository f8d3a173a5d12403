"""Files of links and of pairs: what is written is read again, and what is none is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codecbench.errors import DataError, UsageError
from codecbench.links.files import from_json, load_link, pick_link, to_json
from codecbench.links.model import FixedRateLink, Link, TcpRampLink, TraceLink
from codecbench.links.pairs import read_pairs

RAMP = TcpRampLink("a-link", round_trip_s=0.1, bandwidth_bit_per_s=8e6, description="of a test")


LINKS: list[Link] = [
    RAMP,
    TcpRampLink("lossy", 0.1, 8e6, 0.01, 1_460, handshake_round_trips=2, loss=0.01),
    FixedRateLink("flat", 8e6, latency_s=0.1, description="é"),
    TraceLink("t", [0, 3, 3, 9], latency_s=0.1, opportunity_bytes=700.5),
    RAMP.with_background(0.3),
    TraceLink("t", [7]).with_background(0.1),
]


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_a_link_comes_back_from_json(link: Link) -> None:
    again = from_json(to_json(link))
    assert again == link
    assert again.seconds([0, 1_000, 1_000_000]).tolist() == link.seconds([0, 1_000, 1_000_000]).tolist()


class Odd(FixedRateLink):
    """A plugin's own class."""


def test_a_plugins_own_class_has_no_json() -> None:
    with pytest.raises(UsageError, match="link 'odd' is a Odd, which has no JSON"):
        to_json(Odd("odd", 8e6))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "f: a link is an object whose kind is one of fixed-rate, tcp-ramp, trace, background"),
        ({"kind": "ramp"}, "not 'ramp'"),
        ({"kind": "fixed-rate", "name": "l", "bandwidth": 1}, "did you mean 'bandwidth_bit_per_s'"),
        ({"kind": "fixed-rate", "name": "l"}, "f: missing 1 required positional argument: 'bandwidth_bit_per_s'"),
        ({"kind": "fixed-rate", "name": "l", "bandwidth_bit_per_s": "8"}, "must be a number above 0, not '8'"),
        ({"kind": "fixed-rate", "name": 3, "bandwidth_bit_per_s": 8}, "a link needs a name, not 3"),
        ({"kind": "background", "share": 0.5, "link": 3}, "f: a link is an object"),
        ({"kind": "background", "share": "x", "link": {"kind": "trace", "name": "t", "times_ms": [1]}}, "share"),
        ({"kind": "trace", "name": "l", "times_ms": 7}, "f: "),
        ({"kind": "trace", "name": "l", "times_ms": [7], "description": None}, "its description must be text"),
        ({"kind": "trace", "name": "l", "times_ms": ["7"]}, "needs whole milliseconds"),
    ],
)
def test_what_is_no_link_is_refused(document: object, said: str) -> None:
    with pytest.raises(DataError) as caught:
        from_json(json.dumps(document), "f")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_link_is_picked_by_name_or_by_file(tmp_path: Path) -> None:
    fitted, trace = tmp_path / "fitted.json", tmp_path / "t.trace"
    fitted.write_text(to_json(RAMP))
    trace.write_text("1\n2\n")
    registered = {"a-link": RAMP, "x.json": RAMP}
    assert pick_link("a-link", registered) is RAMP
    assert pick_link("x.json", registered) is RAMP
    assert pick_link(str(fitted), registered) == RAMP
    assert pick_link(str(trace), registered).name == "t"
    with pytest.raises(UsageError, match="no link 'a-lnik'; did you mean 'a-link'"):
        pick_link("a-lnik", registered)
    with pytest.raises(DataError, match=r"none\.json cannot be read: No such file"):
        pick_link(str(tmp_path / "none.json"), registered)


def test_files_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    link = FixedRateLink("mine", 1e6)
    marked, trace, pairs = tmp_path / "l.json", tmp_path / "l.trace", tmp_path / "pairs.csv"
    for path, text in ((marked, to_json(link)), (trace, "1\n2\n"), (pairs, "bytes,ms\n100,2\n")):
        path.write_text(text, encoding="utf-8-sig")
    assert load_link(marked) == from_json("\ufeff" + to_json(link)) == link
    assert load_link(trace).name == "l"
    assert read_pairs(pairs) == ([100], [2])


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.json"
    path.write_bytes(b"\xff{}")
    with pytest.raises(DataError, match=r"l\.json cannot be read"):
        load_link(path)
    path.write_text("{")
    with pytest.raises(DataError, match=r"l\.json is no JSON"):
        load_link(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"kind": "trace",\n"name": "a",\n"name": "b"}', "the key 'name' is there twice, line 2 and 3"),
        ('{"kind": NaN}', "NaN is no number in JSON"),
        ('{"kind": 1e400}', "the number 1e400 is too large"),
        ('{"kind": 1' + "0" * 5000 + "}", "a number of 5001 digits is too large"),
        ("[" * 100_000, "f is nested too deeply; make it with `codecbench link fit --out`"),
        ('{"kind": ["trace"]}', "a link is an object whose kind is one of"),
        ('{"kind": "background", "share": 0.1, "link": ' * 99, "is no JSON"),
        (
            '{"kind": "background", "share": 0.1, "link": ' * 99 + "{}" + "}" * 99,
            "more than 16 links stand within each other",
        ),
        (
            '{"kind": "fixed-rate", "name": "l", "bandwidth_bit_per_s": 1' + "0" * 300 + "}",
            "must be a number above 0, 1e-09 to 1e+18, not 1000",
        ),
        ('{"kind": "fixed-rate", "name": "l", "bandwidth_bit_per_s": -8}', "must be a number above 0, not -8"),
        ('{"kind": "trace", "name": "l", "times_ms": [1' + "0" * 300 + "]}", "has a time above 1000000000000 ms"),
    ],
)
def test_json_that_python_would_read_somehow_is_refused(text: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        from_json(text, "f")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_a_link_file_may_have_a_mark_at_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "l.json"
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_text(to_json(RAMP), encoding=encoding)
        assert load_link(path) == RAMP
    path.write_text(to_json(RAMP), encoding="utf-16-le")
    with pytest.raises(DataError, match="bytes of value 0, so it is no text or UTF-16 without a mark"):
        load_link(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"1\n2.5\n", "line 2: '2.5' is no time; a line is one whole number of ms"),
        (b"1\r\n\r\n3\r\n", "line 2: '' is no time"),
        (b"5\n7\n6\n", "line 3: '6' goes back in time, after 7; the lines must be in order"),
        (b"0\n0\n", "has no length; its last line must be a time above 0"),
        (b"", "has no length"),
        (b"-1\n", "line 1: '-1' is no time"),
        (b"1\n" + b"9" * 5000, "line 2: '9999"),
        ("1\n\u0662\n".encode(), "line 2: '\u0662' is no time"),
        (b"1\n\xff\n", "cannot be read: line 2 is not UTF-8; save the file as UTF-8"),
    ],
)
def test_a_trace_that_is_none_names_the_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "t.trace"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_link(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 300


def test_a_folder_is_no_trace(tmp_path: Path) -> None:
    (tmp_path / "d.trace").mkdir()
    with pytest.raises(DataError, match=r"d\.trace cannot be read: Is a directory"):
        load_link(tmp_path / "d.trace")


def test_a_trace_of_one_line_and_of_other_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "t.trace"
    path.write_bytes(b"\xef\xbb\xbf7")
    assert load_link(path) == TraceLink("t", [7], description="Mahimahi trace t.trace, replayed")
    path.write_bytes(b"1\r\n2\r3\n\n")
    assert load_link(path) == TraceLink("t", [1, 2, 3], description="Mahimahi trace t.trace, replayed")


def test_seconds_stay_finite_at_the_bounds_of_a_trace() -> None:
    link = TraceLink("t", [10**12], opportunity_bytes=1e-9)
    assert 0 < float(link.seconds(10**15)) < float("inf")
