"""Web pages in one file: text, tables, pictures and charts without external resources.

Nothing to load: a page can be mailed, archived and printed, and reads in light and dark mode. Any
`str` is escaped and shown literally; only these functions make markup. The page itself forbids the
browser to load anything, and to run any script but its own.
"""

import base64
import hashlib
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Num
from PIL import Image

from common.report.images import Picture

Tone: TypeAlias = Literal["bad", "warn", "note", "good"]

_BAR_HEIGHT = 56  # of a histogram that is 480 wide
_CHART_WIDTH = 480


@dataclass(frozen=True)
class Markup:
    """A piece of HTML, inserted unchanged."""

    html: str


Text: TypeAlias = str | Markup
Cell: TypeAlias = Text | int | float


def page(title: str, *body: Markup, script: str = "") -> str:
    """Returns a whole page with a title; `script` is JavaScript that runs at its end."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; {_INLINE}"
    allowed += f"; script-src 'sha256-{digest}'" if script else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{literal(title)}'
        '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{allowed}">'
        f"<style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(part.html for part in body)
        + "\n</main>"
        + (f"<script>{script}</script>" if script else "")
        + "</body></html>\n"
    )


def heading(text: Text, level: int = 2) -> Markup:
    """Returns a heading; 1 is the page's own, 2 a section's, 3 within one."""
    return Markup(f"<h{level}>{literal(text)}</h{level}>")


def paragraph(*parts: Text) -> Markup:
    """Returns a paragraph."""
    return Markup(f"<p>{_joined(parts)}</p>")


def quiet(*parts: Text) -> Markup:
    """Returns a paragraph in small print."""
    return Markup(f'<p class="quiet">{_joined(parts)}</p>')


def code(text: str) -> Markup:
    """Returns a setting or a command, within a line."""
    return Markup(f"<code>{literal(text)}</code>")


def block(text: str) -> Markup:
    """Returns a command on lines of its own."""
    return Markup(f"<pre><code>{literal(text)}</code></pre>")


def callout(tone: Tone, label: Text, *parts: Text) -> Markup:
    """Returns a framed remark; its label says in words what its colour means."""
    return Markup(
        f'<section class="callout {tone}"><span class="label">{literal(label)}</span>'
        f"<div>{_joined(parts)}</div></section>"
    )


def table(header: Sequence[Text], rows: Sequence[Sequence[Cell]], caption: Text = "") -> Markup:
    """Returns a table; numbers are right-aligned, integers with thousands separators."""
    title = f"<caption>{literal(caption)}</caption>" if caption else ""
    numeric = [
        all(isinstance(row[place], int | float) for row in rows) for place in range(len(header))
    ]
    head = "".join(
        f'<th scope="col"{_RIGHT if right else ""}>{literal(name)}</th>'
        for name, right in zip(header, numeric, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{_RIGHT if _is_number(cell) else ''}>{_cell(cell)}</td>" for cell in row)
        + "</tr>\n"
        for row in rows
    )
    name = html.escape(caption if isinstance(caption, str) and caption else "table")
    return Markup(
        f'<div class="scroll" tabindex="0" role="group" aria-label="{name}"><table>{title}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def figure(picture: Picture, caption: Text = "", alt: str = "", width: int = 0) -> Markup:
    """Returns a picture with a caption, as a PNG inside the page.

    Args:
      picture: grey or RGB.
      caption: the text below it.
      alt: what it shows, for those who can't see it.
      width: displayed width in CSS pixels; 0 is its own.
    """
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return encoded_figure("png", stream.getvalue(), caption, alt, width or image.width)


def encoded_figure(kind: str, content: bytes, caption: Text, alt: str, width: int) -> Markup:
    """Returns a picture with a caption; its content is a whole file of a kind: "png", "webp"."""
    data = base64.b64encode(content).decode()
    below = f"<figcaption>{literal(caption)}</figcaption>" if caption else ""
    return Markup(
        f'<figure style="max-width:{width}px"><img src="data:image/{kind};base64,{data}"'
        f' alt="{html.escape(alt)}" width="{width}">{below}</figure>'
    )


def details(summary: Text, *parts: Text) -> Markup:
    """Returns parts that are folded away below a line, until the reader opens them."""
    return Markup(f"<details><summary>{literal(summary)}</summary>{_joined(parts)}</details>")


def gallery(*parts: Markup) -> Markup:
    """Returns parts side by side, as many as fit in a line."""
    return Markup(f'<div class="gallery">{_joined(parts)}</div>')


def histograms(values: Mapping[str, Num[np.ndarray, " _num"]], unit: str, bins: int = 40) -> Markup:
    """Returns a histogram for each name, one below another on the same axis.

    Each is as high as its largest bin, so that groups of different size compare.

    Args:
      values: those to count.
      unit: of the values, for the axis.
      bins: the largest number of bars.
    """
    low = min(float(each.min()) for each in values.values())
    high = max(float(each.max()) for each in values.values())
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    charts = [
        _histogram(name, np.histogram(each, edges)[0], edges, unit) for name, each in values.items()
    ]
    return Markup(f'<div class="charts">{"".join(charts)}</div>')


def _histogram(
    name: str, counts: Num[np.ndarray, " _bins"], edges: Num[np.ndarray, " _edges"], unit: str
) -> str:
    step = _CHART_WIDTH / len(counts)
    heights = counts / max(1, counts.max()) * _BAR_HEIGHT
    bars = "".join(
        f'<rect x="{place * step + 0.5:.1f}" y="{_BAR_HEIGHT - height:.1f}"'
        f' width="{step - 1:.1f}" height="{height:.1f}">'
        f"<title>{edges[place]:.3g} to {edges[place + 1]:.3g} {literal(unit)}: {count:,}</title>"
        "</rect>"
        for place, (count, height) in enumerate(zip(counts.tolist(), heights, strict=True))
        if count
    )
    ticks = "".join(
        f'<text x="{share * _CHART_WIDTH:.0f}" y="{_BAR_HEIGHT + 16}" text-anchor="{anchor}">'
        f"{edges[0] + share * (edges[-1] - edges[0]):.3g}</text>"
        for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    )
    return (
        f'<figure><figcaption>{literal(name)}, {literal(unit)}</figcaption><svg role="img"'
        f' aria-label="{html.escape(name)}: histogram of {html.escape(unit)}"'
        f' viewBox="0 0 {_CHART_WIDTH} {_BAR_HEIGHT + 20}">{bars}'
        f'<line x1="0" y1="{_BAR_HEIGHT}" x2="{_CHART_WIDTH}" y2="{_BAR_HEIGHT}"/>{ticks}</svg>'
        "</figure>"
    )


def literal(text: Text) -> str:
    """Returns the HTML that shows a text as it is; markup is HTML already."""
    return text.html if isinstance(text, Markup) else html.escape(text, quote=False)


def _joined(parts: Sequence[Text]) -> str:
    return "".join(map(literal, parts))


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float)


def _cell(cell: Cell) -> str:
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) else literal(cell)


_RIGHT = ' class="number"'
_INLINE = "style-src 'unsafe-inline'"

_STYLE = (Path(__file__).parent / "page.css").read_text()
