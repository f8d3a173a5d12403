"""One `tabular` with columns of siunitx, whose width is counted from its texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from codecbench.tables.papers.blocks import Part
from codecbench.tables.papers.columns import Column
from codecbench.tables.papers.sheet import Line
from codecbench.tables.papers.typesetting import (
    DIGIT_PT,
    SIGN_PT,
    latex_marks,
    latex_text,
    lines_of,
    longest_piece_pt,
    width_pt,
)

LINE_PT = 11.0
"""The height of a line at \\small."""

_GAP_PT, _GROUP_GAP_PT, _JOINT_PT = 6.0, 12.0, 2.5
_POINT_PT = 2.6
_MARGIN_PT, _SPACE_PT = 3.0, 1.5
_BOLD = 1.18
_INDENT_PT = 9.0
_EM_PT = 9.25
"""An em of Computer Modern at 9 pt; widths in it are right in larger type, too."""
_MARK_PT, _NOTE_DIGIT_PT = 7.0, 4.6
_RULES_PT = 16.0
_LABEL_SHARE, _TEXT_SHARE = 0.3, 0.3
_NUMBER = re.compile(r"([+-]?)(\d+)(?:\.(\d+))?")
_WRAPPED = r">{{\raggedright\arraybackslash\hangindent=1em}}p{{{:.2f}em}}"


@dataclass(frozen=True)
class _Numbers:
    """The layout of one column at one split: its numbers aligned at the point, then its intervals."""

    column: Column
    lines: tuple[Line, ...]
    share_pt: float

    @cached_property
    def _parsed(self) -> list[re.Match[str]]:
        texts = (plain_number(self.column.number(line.fields)) for line in self.lines)
        return [match for text in texts if (match := _NUMBER.fullmatch(text))]

    @cached_property
    def table_format(self) -> str:
        """The numbers' digits before and after the point, with the sign if any has one: `+2.1`."""
        sign = "+" if any(match[1] for match in self._parsed) else ""
        before = max((len(match[2]) for match in self._parsed), default=1)
        return f"{sign}{before}.{max((len(match[3] or '') for match in self._parsed), default=0)}"

    @cached_property
    def has_ends(self) -> bool:
        """True if some number has an interval."""
        return any(self.column.ends(line.fields) for line in self.lines)

    @property
    def cells(self) -> int:
        """The number of columns of the tabular."""
        return 2 if self.has_ends else 1

    @cached_property
    def width_pt(self) -> float:
        """The width in points, with that of the heading."""
        heading = width_pt(self.column.heading)
        if self.column.is_text:
            return 1 + max(heading, self._text_pt)
        before, _, after = self.table_format.removeprefix("+").partition(".")
        digits = int(before) + int(after)
        number = SIGN_PT * self.table_format.startswith("+") + DIGIT_PT * digits + (_POINT_PT if int(after) else 0)
        number += _SPACE_PT * ((int(before) - 1) // 3 + (int(after) - 1) // 3)
        number *= _BOLD if any(self.column.name in line.best for line in self.lines) else 1
        ends = max((width_pt(self.column.ends(line.fields)) for line in self.lines), default=0.0)
        return max(heading, number + (_JOINT_PT + ends if self.has_ends else 0))

    @cached_property
    def _text_pt(self) -> float:
        texts = [self.column.number(line.fields) for line in self.lines]
        natural = max(map(width_pt, texts), default=0.0)
        return max([min(natural, self.share_pt), *map(longest_piece_pt, texts)])

    @property
    def spec(self) -> str:
        """The column's part of the tabular's argument."""
        if self.column.is_text:
            return _WRAPPED.format(self.width_pt / _EM_PT)
        return f"S[table-format={self.table_format}]" + (r"@{\;}r" if self.has_ends else "")

    @property
    def heading(self) -> str:
        """The heading over the column, or over the two of a number and its interval."""
        text = latex_text(self.column.heading)
        if self.has_ends:
            return rf"\multicolumn{{2}}{{c}}{{{text}}}"
        return f"{{{text}}}"

    def cell(self, line: Line) -> str:
        """Returns the number of a line, with its interval in a second cell where the column has intervals."""
        found = plain_number(self.column.number(line.fields))
        bold = r"\bfseries " if self.column.name in line.best else ""
        if self.column.is_text:
            return bold + latex_text(found, breakable=True)
        text = f"{bold}{found}" if _NUMBER.fullmatch(found) else f"{{{latex_text(found)}}}"
        return f"{text} & {latex_text(plain_ends(self.column.ends(line.fields)))}" if self.has_ends else text


def plain_number(text: str) -> str:
    """Returns a formatted number without separators of thousands and without an exponent; another text unchanged."""
    found = text.replace(",", "") if re.fullmatch(r"[+-]?[\d,]+(\.\d+)?", text) else text
    return f"{float(found):.12f}".rstrip("0") if re.fullmatch(r"[+-]?[\d.]+e[+-]?\d+", found) else found


def plain_ends(text: str) -> str:
    """Returns an interval without separators of thousands, which would look like that of its ends."""
    return re.sub(r"(?<=\d),(?=\d{3})", "", text)


@dataclass(frozen=True)
class Tabular:
    """A part as a tabular for a width of `room_pt`; `notes` are the numbers of the footnotes."""

    part: Part
    stub: str
    notes: Mapping[str, int]
    room_pt: float

    @property
    def width_pt(self) -> float:
        """The width in points, with a narrow column of labels where the room is narrow."""
        return self._label_pt + self._groups_pt + _MARGIN_PT

    @property
    def height_pt(self) -> float:
        """The height in points, about."""
        return self._head_pt + LINE_PT * sum(map(self._lines_of, self.part.rows))

    def rows_within(self, height_pt: float) -> int:
        """Returns how many of the rows fit into a height."""
        left = height_pt - self._head_pt
        for count, row in enumerate(self.part.rows):
            left -= LINE_PT * self._lines_of(row)
            if left < 0:
                return count
        return len(self.part.rows)

    def lines(self) -> list[str]:
        """Returns the lines of LaTeX."""
        specs, titles, rules, headings, first = [], [], [], [latex_text(self.stub)], 2
        for place, split in enumerate(self.part.splits):
            numbers, marked = self._groups[place], bool(self._marks_pt(place))
            count = sum(each.cells for each in numbers) + marked
            specs.append(rf"@{{\hspace{{{_GROUP_GAP_PT:g}pt}}}}" + "".join(each.spec for each in numbers))
            specs.append(r"@{\;}l" if marked else "")
            titles.append(rf"\multicolumn{{{count}}}{{c}}{{{latex_text(split)}}}")
            rules.append(rf"\cmidrule(lr){{{first}-{first + count - 1}}}")
            headings += [each.heading for each in numbers] + [""] * marked
            first += count
        titled = [rf" & {' & '.join(titles)} \\", "".join(rules)] if any(self.part.splits) else []
        return [
            rf"\begin{{tabular}}{{@{{}}{self._label_spec}{''.join(specs)}@{{}}}}",
            r"\toprule",
            *titled,
            rf"{' & '.join(headings)} \\",
            r"\midrule",
            *(rf"{' & '.join(self._row(label, lines))} \\" for label, lines in self.part.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]

    @cached_property
    def _groups(self) -> list[list[_Numbers]]:
        share = _TEXT_SHARE * self.room_pt
        return [
            [_Numbers(column, tuple(self.part.lines_of(place)), share) for column in self.part.columns]
            for place in range(len(self.part.splits))
        ]

    @cached_property
    def _natural_label_pt(self) -> float:
        return max(map(width_pt, (self.stub, *(label for label, _ in self.part.rows))))

    @cached_property
    def _groups_pt(self) -> float:
        return sum(map(self._group_pt, range(len(self.part.splits))))

    @cached_property
    def _label_pt(self) -> float:
        """The width of the labels: all that they take or all that is left, but a share of the room at the narrowest."""
        longest = max(longest_piece_pt(label) for label in (self.stub, *(label for label, _ in self.part.rows)))
        narrow = max(longest, min(self._natural_label_pt, _LABEL_SHARE * self.room_pt))
        return max(narrow, min(self._natural_label_pt, self.room_pt - self._groups_pt - _MARGIN_PT))

    @property
    def _label_spec(self) -> str:
        return "l" if self._label_pt >= self._natural_label_pt else _WRAPPED.format(self._label_pt / _EM_PT)

    @property
    def _head_pt(self) -> float:
        return _RULES_PT + LINE_PT * (2 if any(self.part.splits) else 1)

    def _lines_of(self, row: tuple[str, Sequence[Line | None]]) -> int:
        label, lines = row
        found = [1 if self._label_spec == "l" else lines_of(label, self._label_pt - _INDENT_PT)]
        for group, line in zip(self._groups, lines, strict=True):
            if line is not None and not line.status:
                texts = (each for each in group if each.column.is_text)
                found += [lines_of(each.column.number(line.fields), each.width_pt - _INDENT_PT) for each in texts]
        return max(found)

    def _group_pt(self, place: int) -> float:
        numbers, split = self._groups[place], self.part.splits[place]
        marks = self._marks_pt(place)
        natural = sum(each.width_pt for each in numbers) + _GAP_PT * (len(numbers) - 1)
        natural += _JOINT_PT + marks if marks else 0
        statuses = [width_pt(f"{line.status} 000") for line in self._all_lines(place) if line.status]
        return _GROUP_GAP_PT + max([natural, width_pt(split), *statuses])

    def _marks_pt(self, place: int) -> float:
        lines = self.part.lines_of(place)
        return max(
            (_MARK_PT * len(line.marks) + _NOTE_DIGIT_PT * len(self._notes_of(line)) for line in lines), default=0
        )

    def _all_lines(self, place: int) -> Iterator[Line]:
        return (line for _, lines in self.part.rows if (line := lines[place]) is not None)

    def _notes_of(self, line: Line) -> str:
        return ",".join(str(self.notes[note]) for note in line.notes)

    def _row(self, label: str, lines: Sequence[Line | None]) -> Iterator[str]:
        yield latex_text(label, breakable=self._label_spec != "l")
        for place, line in enumerate(lines):
            numbers, marked = self._groups[place], bool(self._marks_pt(place))
            notes = self._notes_of(line) if line else ""
            raised = rf"\textsuperscript{{{notes}}}" if notes else ""
            if line is None or line.status:
                count = sum(each.cells for each in numbers) + marked
                status = latex_text(line.status if line else "-")
                yield rf"\multicolumn{{{count}}}{{c}}{{{status}{raised}}}"
                continue
            yield from (each.cell(line) for each in numbers)
            if marked:
                yield latex_marks(line.marks) + raised
