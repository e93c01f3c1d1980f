"""Small pieces of HTML for notebooks: every text escaped, no style of their own, so that light and dark themes fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from multilevel_opt.notation import number


def card(title: str, told: str, facts: Mapping[str, Any], *tables: str) -> str:
    """A title, a sentence, a table of facts, and further tables that are HTML already."""
    rows = "".join(
        f'<tr><th scope="row" style="text-align: left">{escape(name)}</th><td>{escape(number(value))}</td></tr>'
        for name, value in facts.items()
    )
    return f"<div><p><strong>{escape(title)}</strong>: {escape(told)}</p><table>{rows}</table>{''.join(tables)}</div>"


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """A table of texts with notes below it."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    below = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"
    )
