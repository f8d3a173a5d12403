"""Text for LaTeX: escapes, marks, and the width that a text takes."""

from __future__ import annotations

import re
import unicodedata

SMALL_PT = 9.0
"""The size of \\small in a document of 10 pt."""

DIGIT_PT = 0.514 * SMALL_PT
SIGN_PT = 0.778 * SMALL_PT

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "[": "{[}", "]": "{]}", "≤": r"$\le$", "≥": r"$\ge$", "±": r"$\pm$", "→": r"$\to$",
    "·": r"$\cdot$", "µ": r"$\mu$", "°": r"$^\circ$", "§": r"\S{}", "¶": r"\P{}", "…": "...",
    "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{EN DASH}": "--", "\N{EM DASH}": "---",
    "\N{LEFT SINGLE QUOTATION MARK}": "`", "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``", "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
}  # fmt: skip
_MARKS = {
    "†": r"\dagger", "‡": r"\ddagger", "~": r"\sim", "*": r"\ast", "↓": r"\downarrow", "°": r"\circ",
    "§": r"\S", "¶": r"\P", "≤": r"\le", "•": r"\bullet", "≈": r"\approx",
}  # fmt: skip
_MINUS = re.compile(r"(?<![\w.)\]])-(?=\d)")
_BREAK = "\x00"
_BREAKABLE = re.compile(r"([,=_/;]|\w{12})(?=[^\s,=_/;.)])")

_WIDTHS = {
    0.285: "!',.:;<[]_`il ", 0.314: "fj", 0.343: "-", 0.371: "I", 0.402: "()tr", 0.405: "s", 0.457: "cez",
    0.485: ">?", 0.514: '"$*/0123456789\\^ago{}', 0.528: "J", 0.542: "kqvxy", 0.571: "Sbdhnpu", 0.628: "Z",
    0.642: "L", 0.671: "F", 0.699: "EP", 0.728: "B", 0.742: "CTw", 0.756: "R", 0.771: "AHNUVXY", 0.785: "D",
    0.806: "&+=@KOQG~", 0.856: "#%m", 0.942: "M", 1.028: "|", 1.056: "W",
}  # fmt: skip
"""The widths of the letters of Computer Modern Roman at 9 pt, in units of its size; other romans are narrower."""
_WIDTH_OF = {letter: width for width, letters in _WIDTHS.items() for letter in letters}


def width_pt(plain: str, size_pt: float = SMALL_PT, bold: bool = False) -> float:
    """Returns the width of a text in points."""
    em = sum(_WIDTH_OF.get(letter, 1.0) for letter in plain) + 0.5 * len(_MINUS.findall(plain))
    return size_pt * em * (1.18 if bold else 1.0)


def latex_text(plain: str, breakable: bool = False) -> str:
    """Returns a text for LaTeX; `breakable` adds places where its lines may break."""
    if breakable:
        plain = _BREAKABLE.sub(rf"\1{_BREAK}", plain)
    pieces = _MINUS.split(plain)
    return "$-$".join("".join(map(_letter, piece)) for piece in pieces)


def _letter(letter: str) -> str:
    if letter == _BREAK:
        return r"\allowbreak{}"
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if " " <= letter <= "~":
        return letter
    composed = "".join(each for each in unicodedata.normalize("NFKD", letter) if " " <= each <= "~")
    return "".join(_SPECIAL.get(each, each) for each in composed) or "?"


def latex_marks(marks: str) -> str:
    """Returns marks as one formula, an empty text for none."""
    return f"${''.join(f'{{{_MARKS[mark]}}}' for mark in marks)}$" if marks else ""


def longest_piece_pt(plain: str) -> float:
    """Returns the width of the longest piece of a text between the places where its lines may break."""
    return max(width_pt(piece.rstrip()) for piece in _pieces(plain))


def lines_of(plain: str, room_pt: float, size_pt: float = SMALL_PT) -> int:
    """Returns the number of ragged lines that a text takes in a column of this width, about."""
    lines, left = 1, room_pt
    for piece in _pieces(plain):
        taken = 1.05 * width_pt(piece, size_pt)
        if taken > left and left < room_pt:
            lines, left = lines + 1, room_pt
        left -= taken
    return lines


def _pieces(plain: str) -> list[str]:
    return re.split(rf"{_BREAK}|(?<=[\s-])", _BREAKABLE.sub(rf"\1{_BREAK}", plain))
