"""Tables for papers: chosen columns and rows, the best in bold, LaTeX that fits a page or a column of it."""
