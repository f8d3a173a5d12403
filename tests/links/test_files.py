"""Files of links and of pairs: what is written is read again, and what is none is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codecbench.errors import DataError, UsageError
from codecbench.links.files import from_json, load_link, pick_link, read_pairs, to_json, write_pairs
from codecbench.links.model import FixedRateLink, Link, TcpRampLink, TraceLink

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
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match=r"l\.json cannot be read"):
        load_link(path)
    path.write_text("{")
    with pytest.raises(DataError, match=r"l\.json is no JSON"):
        load_link(path)


def test_pairs_come_back_from_their_file(tmp_path: Path) -> None:
    write_pairs(tmp_path / "p.csv", [1, 2], [0.5, 1.25])
    assert read_pairs(tmp_path / "p.csv") == ([1.0, 2.0], [0.5, 1.25])


def test_the_published_columns_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("codec,payload_kib,network_ms\nraw,588.0,60.5\n")
    assert read_pairs(path) == ([588.0 * 1024], [60.5])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs a header with the columns bytes and ms"),
        ("1,2\n3,4\n", "needs a header with the columns bytes and ms"),
        ("bytes,ms\n1,2\n3,soon\n", "line 3: '3' and 'soon' are no size from 0 on and time above 0"),
        ("bytes,ms\n1\n", "line 2: '1' and None are no size"),
        ("bytes,ms\n1,0\n", "line 2"),
        ("bytes,ms\nnan,1\n", "line 2"),
    ],
)
def test_a_file_without_pairs_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_pairs(path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_pairs(tmp_path / "none.csv")
