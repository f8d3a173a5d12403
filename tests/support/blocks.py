"""The code blocks of Markdown pages."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markdown_it import MarkdownIt

_GENERATED = re.compile(r"^<!-- generated: .*?^<!-- end -->$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A code block: its language, the name of the file that it is, if any, its text and the line where it begins.

    An indented block has commands of a shell, so its language is `sh`. `generated` blocks come from docs/generate.py.
    """

    language: str
    name: str
    text: str
    line: int
    generated: bool


def blocks(page: str) -> list[Block]:
    """Every code block of a page, in the order of the text."""
    parts = [(page.count("\n", 0, part.start()), page.count("\n", 0, part.end())) for part in _GENERATED.finditer(page)]
    found = []
    for token in MarkdownIt("commonmark").parse(page):
        if token.type in ("fence", "code_block") and token.map:
            first = token.map[0]
            language, _, name = token.info.partition(" ") if token.type == "fence" else ("sh", "", "")
            generated = any(start <= first < end for start, end in parts)
            found.append(Block(language, name, token.content, first + 1, generated))
    return found


def commands(block: Block) -> list[str]:
    """The commands of a block of them, a line each; one that ends with a backslash goes on below."""
    return [line for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]
