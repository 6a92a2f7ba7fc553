"""Web pages in one file: text, tables, pictures and charts without external resources.

No scripts, fonts or links to load: a page can be mailed, archived and printed, and reads in light
and dark mode. Any `str` is escaped and shown literally; only these functions make markup.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


def page(title: str, *body: Markup) -> str:
    """Returns a whole page with a title."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}'
        '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(part.html for part in body)
        + "\n</main></body></html>\n"
    )


def heading(text: Text, level: int = 2) -> Markup:
    """Returns a heading; 1 is the page's own, 2 a section's, 3 within one."""
    return Markup(f"<h{level}>{_text(text)}</h{level}>")


def paragraph(*parts: Text) -> Markup:
    """Returns a paragraph."""
    return Markup(f"<p>{_joined(parts)}</p>")


def quiet(*parts: Text) -> Markup:
    """Returns a paragraph in small print."""
    return Markup(f'<p class="quiet">{_joined(parts)}</p>')


def code(text: str) -> Markup:
    """Returns a setting or a command, within a line."""
    return Markup(f"<code>{_text(text)}</code>")


def callout(tone: Tone, label: Text, *parts: Text) -> Markup:
    """Returns a framed remark; its label says in words what its colour means."""
    return Markup(
        f'<section class="callout {tone}"><span class="label">{_text(label)}</span>'
        f"<div>{_joined(parts)}</div></section>"
    )


def table(header: Sequence[Text], rows: Sequence[Sequence[Cell]], caption: Text = "") -> Markup:
    """Returns a table; numbers are right-aligned, integers with thousands separators."""
    title = f"<caption>{_text(caption)}</caption>" if caption else ""
    numeric = [
        all(isinstance(row[place], int | float) for row in rows) for place in range(len(header))
    ]
    head = "".join(
        f'<th scope="col"{_RIGHT if right else ""}>{_text(name)}</th>'
        for name, right in zip(header, numeric, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{_RIGHT if _is_number(cell) else ''}>{_cell(cell)}</td>" for cell in row)
        + "</tr>\n"
        for row in rows
    )
    return Markup(
        f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
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
    data = base64.b64encode(stream.getvalue()).decode()
    shown = width or image.width
    below = f"<figcaption>{_text(caption)}</figcaption>" if caption else ""
    return Markup(
        f'<figure style="max-width:{shown}px"><img src="data:image/png;base64,{data}"'
        f' alt="{html.escape(alt)}" width="{shown}">{below}</figure>'
    )


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
        f"<title>{edges[place]:.3g} to {edges[place + 1]:.3g} {_text(unit)}: {count:,}</title>"
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
        f'<figure><figcaption>{_text(name)}, {_text(unit)}</figcaption><svg role="img"'
        f' aria-label="{html.escape(name)}: histogram of {html.escape(unit)}"'
        f' viewBox="0 0 {_CHART_WIDTH} {_BAR_HEIGHT + 20}">{bars}'
        f'<line x1="0" y1="{_BAR_HEIGHT}" x2="{_CHART_WIDTH}" y2="{_BAR_HEIGHT}"/>{ticks}</svg>'
        "</figure>"
    )


def _text(text: Text) -> str:
    return text.html if isinstance(text, Markup) else html.escape(text, quote=False)


def _joined(parts: Sequence[Text]) -> str:
    return "".join(map(_text, parts))


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float)


def _cell(cell: Cell) -> str:
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) else _text(cell)


_RIGHT = ' class="number"'

_STYLE = """
:root { color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1f24; --soft: #5b6570; --rule: #d9dee3; --raised: #f5f7f9;
  --bar: #3a6ea5; --bad: #b3261e; --warn: #9a6700; --note: #3a6ea5; --good: #2e7d32; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171a; --ink: #e4e8ec; --soft: #9aa5b1; --rule: #333b44; --raised: #1d2227;
  --bar: #7fb0e6; --bad: #ff8a80; --warn: #e9b949; --note: #7fb0e6; --good: #81c784; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-bottom: .25rem;
  border-bottom: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
h2, h3 { break-after: avoid; }
p { margin: .4rem 0; max-width: 52rem; overflow-wrap: anywhere; }
.quiet, figcaption, caption { color: var(--soft); font-size: .84rem; }
code { font: .88em ui-monospace, Menlo, Consolas, monospace; background: var(--raised);
  border: 1px solid var(--rule); border-radius: 4px; padding: .05em .35em;
  overflow-wrap: anywhere; }
.callout { display: grid; grid-template-columns: 9.5rem 1fr; gap: 0 1rem; align-items: baseline;
  border-left: 4px solid var(--tone); background: var(--raised); margin: .5rem 0;
  padding: .55rem .9rem; border-radius: 0 6px 6px 0; break-inside: avoid; }
.callout .label { color: var(--tone); font-weight: 600; font-size: .84rem; }
.callout p { margin: 0 0 .2rem; }
.bad { --tone: var(--bad); } .warn { --tone: var(--warn); }
.note { --tone: var(--note); } .good { --tone: var(--good); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .9rem; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { text-align: left; padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: baseline; }
th { color: var(--soft); font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: .5rem 0; break-inside: avoid; }
figcaption { overflow-wrap: anywhere; }
img { display: block; max-width: 100%; height: auto; }
.gallery { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
.charts figure { max-width: 30rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr));
  gap: .4rem 1.6rem; }
svg { width: 100%; height: auto; display: block; }
svg rect { fill: var(--bar); } svg line { stroke: var(--soft); }
svg text { fill: var(--soft); font-size: 13px; }
@media (max-width: 40rem) { .callout { grid-template-columns: 1fr; } }
@media print { main { max-width: none; padding: 0; } body { font-size: 11pt; }
  .callout, code { background: none; } }
"""
