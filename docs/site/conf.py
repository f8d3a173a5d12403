"""The documentation as a site, by Sphinx: `python docs/site/build.py` builds and checks it.

Pages are Markdown that reads as well on a code host. So the project's root is the source folder, links are relative
files, and what holds for the site alone is here and in `pages.py`.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "codecbench"
version = release = version_of("codecbench")
html_title = f"codecbench {version}"

root_doc = "README"
include_patterns = [
    "*.md",
    "docs/**.md",
    "docs/**.ipynb",
    "datasets/codecbench_datasets/*/README.md",
    "tests/**/README.md",
]
exclude_patterns = [
    ".*",
    "**/.*",
    "build",
    "codecbench",
    "dist",
    "plugins",
    "results",
    "datasets/codecbench_datasets/*/data",
]
source_suffix = {".md": "markdown", ".ipynb": "markdown"}

extensions = ["myst_parser", "pages"]
myst_heading_anchors = 4  # anchors as a code host makes them
highlight_language = "sh"

smartquotes = False

html_theme = "furo"
html_use_index = False
html_copy_source = False
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["site.css"]
