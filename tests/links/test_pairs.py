"""CSV files of measured pairs: they are read right, or refused in one line that names the file's own line."""

from __future__ import annotations

from pathlib import Path

import pytest

from codecbench.errors import DataError
from codecbench.links.files import read_pairs, write_pairs

PAIRS = ([1000.0, 2000.0], [0.5, 1.25])


def test_pairs_come_back_from_their_file(tmp_path: Path) -> None:
    write_pairs(tmp_path / "p.csv", [1, 2], [0.5, 1.25])
    assert read_pairs(tmp_path / "p.csv") == ([1.0, 2.0], [0.5, 1.25])


def test_the_published_columns_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("codec,payload_kib,network_ms\nraw,588.0,60.5\n")
    assert read_pairs(path) == ([588.0 * 1024], [60.5])


@pytest.mark.parametrize(
    "text",
    [
        "bytes,ms\n1000,0.5\n2000,1.25",
        "bytes;ms\n1000;0.5\n2000;1.25\n",
        "bytes\tms\n1000\t0.5\n2000\t1.25\n",
        " bytes , ms \n 1000 , 0.5 \n2000,\t1.25\n",
        "Bytes,MS\n1000,.5\n2e3,+1.25\n",
        "bytes,ms\r\n1000,0.5\r\n2000,1.25\r\n",
        "bytes,ms\r1000,0.5\r2000,1.25\r",
        "\ufeffbytes,ms\n1000,0.5\n2000,1.25\n",
        '# measured, at home\n\nbytes,ms\n1000,0.5\n\n  # and "in the office\n2000,1.25\n,\n\n',
        '"bytes","ms"\n"1000","0.5"\n"2000", "1.25"\n',
        'note,bytes,ms\n"a, b",1000,0.5\n"two\nlines",2000,1.25\n',
        "bytes,ms\n1000,0.5,\n2000,1.25,,\n",
        "ms,x,x,bytes\n0.5,,,1000\n1.25,a,b,2000\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_forms_that_tools_write(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(text.removeprefix("\ufeff" if encoding == "utf-16" else "").encode(encoding))
    assert read_pairs(path) == PAIRS


HEADER = "needs a header with the columns bytes and ms"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", HEADER),
        ("\n# bytes,ms\n", HEADER),
        ("1,2\n3,4\n", f", line 1: the file {HEADER}"),
        ("bytes ms\n1 2\n", HEADER),
        ("bytes,ms,ms\n1,2,3\n", "line 1: two columns are named ms; keep one of them"),
        ("bytes,bytes,ms\n1,2,3\n", "line 1: two columns are named bytes"),
        ("bytes,ms\n1,2\n3,soon\n", "line 3: '3' and 'soon' are no size from 0 on and time above 0"),
        ("# a\n\nbytes,ms\n\n1,2\n# b\n3,soon\n", "line 7: '3' and 'soon' are no size"),
        ('note,bytes,ms\n"two\nlines",1,2\nx,3,soon\n', "line 4: '3' and 'soon' are no size"),
        ("bytes,ms\n1\n", "line 2: '1' and None are no size"),
        ("bytes,ms\n1,0\n", "line 2: '1' and '0' are no size"),
        ("bytes,ms\n-1,1\n", "line 2: '-1' and '1' are no size"),
        ("bytes,ms\nnan,1\n", "line 2: 'nan' and '1' are no size"),
        ("bytes,ms\n1,inf\n", "line 2"),
        ("bytes,ms\n1_000,1\n", "line 2"),
        ("bytes,ms\n\u0661,1\n", "line 2"),
        ("bytes,ms\n1e400,1\n", "line 2: '1e400' and '1' are beyond what a fit takes"),
        (f"bytes,ms\n1{'0' * 400},1\n", "are beyond what a fit takes"),
        ("kib,ms\n1e13,1\n", "line 2: '1e13' and '1' are beyond"),
        ("bytes,ms\n1,1e-9\n", "line 2: '1' and '1e-9' are beyond"),
        ("bytes;ms\n1000;2,5\n", "line 2: '2,5' has a comma; write decimals with a point"),
        ('bytes,ms\n"1,000",2\n', "line 2: '1,000' has a comma"),
        ("bytes,ms\n1000,2,5\n", "line 2: 3 values for the 2 columns of the header; write decimals with a point"),
        ('bytes,ms\n1,2\n"3,4\n5,6\n', "line 3: unexpected end of data; a row is one line"),
        ('note,bytes,ms\n"a"b,1,2\n', "line 2: "),
    ],
)
def test_a_file_without_pairs_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_pairs(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    for content, said in (
        (b"bytes,ms\n1,2\n\xe9,2\n", "line 3 is not UTF-8"),
        ("bytes,ms\n".encode("utf-16-le"), "UTF-16 without a mark"),
        (b"\xff\xfea", "line 1 is not UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            read_pairs(path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_pairs(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_pairs(tmp_path)
