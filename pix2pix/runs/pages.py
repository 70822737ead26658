"""Web pages of one file: a template of pix2pix/pages with the style that all share, and content."""

import json
from pathlib import Path

PAGES = Path(__file__).parents[1] / "pages"


def fill_page(name: str, content: object) -> str:
    """Return a page of a template and what it shows, as JSON."""
    template, style = ((PAGES / file).read_text(encoding="utf-8") for file in (name, "style.css"))
    return template.replace("/*STYLE*/", style).replace("/*CONTENT*/null", to_script(content))


def to_script(content: object) -> str:
    """Write content as JSON that a script in a page may hold, whatever text is in it."""
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c")
