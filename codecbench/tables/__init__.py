"""Tables made from records, as text, Markdown, LaTeX, HTML and CSV."""
