"""A comparison to read: as Markdown, as JSON, and as one HTML page that needs nothing beside it."""

import html
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from considerate.evaluation.comparison import Comparison, Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADINGS = (
    "model",
    "{figure}",
    "95 %",
    "against {baseline}",
    "95 %",
    "p",
    "coverage",
    "novelty",
    "fit s",
    "MB",
    "ms per request",
)

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #d0d7de; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg { max-width: 100%; height: auto; }
caption { text-align: left; }
"""


def cells(line: Line) -> list[str]:
    """Give the cells of one row, as text."""
    change = line.difference
    return [
        line.name,
        f"{line.value.mean:.4f}",
        f"{line.value.low:.4f} to {line.value.high:.4f}",
        "" if change is None else f"{change.mean:+.4f}",
        "" if change is None else f"{change.low:+.4f} to {change.high:+.4f}",
        "" if change is None else f"{change.p_value:.3f}",
        f"{line.coverage:.3f}",
        f"{line.novelty:.2f}",
        f"{line.fit_seconds:.1f}",
        f"{line.artefact_mb:.2f}",
        f"{line.ms_per_request:.3f}",
    ]


def as_markdown(comparison: Comparison) -> str:
    """Give a heading and a table per goal."""
    parts = [f"# {_title(comparison)}\n"]
    for goal, lines in _by_goal(comparison).items():
        rows = [headings(comparison), ["---", *["---:"] * (len(HEADINGS) - 1)], *(cells(line) for line in lines)]
        table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
        parts.append(f"## {_goal_title(comparison, goal)}\n\n{table}\n")
    parts.append(_notes(comparison) + "\n")
    return "\n".join(parts)


def as_json(comparison: Comparison) -> str:
    """Give everything that is known, figures of every kind included."""
    return json.dumps(asdict(comparison), indent=1, allow_nan=False)


def as_html(comparison: Comparison) -> str:
    """Give a page of tables and pictures in one file; whatever a model is called stays text."""
    parts = []
    for number, (goal, lines) in enumerate(_by_goal(comparison).items()):
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in headings(comparison))
        body = "\n".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells(line)) + "</tr>" for line in lines
        )
        title = html.escape(_goal_title(comparison, goal))
        parts.append(
            f"<h2>{title}</h2>\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
            f"{_picture(_spans(comparison, lines), _said_spans(comparison, lines), f'a{number}')}\n"
            f"{_picture(_costs(comparison, lines), _said_costs(comparison, lines), f'b{number}')}"
        )
    title = html.escape(_title(comparison))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n</head>\n<body>\n'
        f"<h1>{title}</h1>\n" + "\n".join(parts) + f"\n<p>{html.escape(_notes(comparison))}</p>\n</body>\n</html>\n"
    )


def write_pages(comparison: Comparison, folder: Path) -> tuple[Path, ...]:
    """Write `comparison.md`, `comparison.json` and `comparison.html` into `folder`, which is made where missing."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"md": as_markdown(comparison), "json": as_json(comparison) + "\n", "html": as_html(comparison)}
    paths = []
    for suffix, text in texts.items():
        paths.append(folder / f"comparison.{suffix}")
        paths[-1].write_text(text, encoding="utf-8")
    return tuple(paths)


def _by_goal(comparison: Comparison) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in comparison.lines:
        found.setdefault(line.goal, []).append(line)
    return found


def _title(comparison: Comparison) -> str:
    return f"{comparison.data}, {comparison.protocol}, {comparison.part}"


def _goal_title(comparison: Comparison, goal: str) -> str:
    customers = {str(name): size for name, size in comparison.customers.items()}[goal]
    return f"{goal}: {comparison.figure} over {customers:,} customers"


def headings(comparison: Comparison) -> list[str]:
    """Give the heading of each cell."""
    return [name.format(figure=comparison.figure, baseline=comparison.baseline) for name in HEADINGS]


def _notes(comparison: Comparison) -> str:
    return (
        "Intervals and p-values are bootstraps over customers; differences are taken customer by customer against "
        f"{comparison.baseline}. Coverage: share of the items in at least one list. Novelty: bits per suggestion. "
        "Fit: wall time of one fit. Milliseconds per request: median, one history to one list, one thread."
    )


def _spans(comparison: Comparison, lines: Sequence[Line]) -> "Figure":
    figure, (panel,) = _panels(1, height=1.0 + 0.4 * len(lines))
    rows = list(range(len(lines)))[::-1]
    for row, line in zip(rows, lines, strict=True):
        colour = "#57606a" if line.difference is None else "#2563a8"
        panel.plot([line.value.low, line.value.high], [row, row], color=colour, linewidth=2)
        panel.plot(line.value.mean, row, "o", color=colour)
    panel.set_yticks(rows, [line.name for line in lines], parse_math=False)
    panel.set_xlabel(f"{comparison.figure} with its 95 % interval")
    panel.margins(y=0.15)
    return figure


def _costs(comparison: Comparison, lines: Sequence[Line]) -> "Figure":
    figure, (speed, width) = _panels(2, height=3.2)
    for line in lines:
        for panel, x in ((speed, line.ms_per_request), (width, line.coverage)):
            panel.plot(x, line.value.mean, "o", color="#2563a8")
            panel.annotate(
                line.name, (x, line.value.mean), (4, 4), textcoords="offset points", fontsize=8, parse_math=False
            )
    speed.set(xlabel="milliseconds per request", ylabel=comparison.figure)
    width.set(xlabel="coverage", ylabel=comparison.figure)
    for panel in (speed, width):
        panel.margins(0.2)
    return figure


def _panels(n: int, *, height: float) -> "tuple[Figure, list[Any]]":
    from matplotlib.figure import Figure  # noqa: PLC0415 - importing it makes folders in the user's home

    figure = Figure(figsize=(8.0, height), layout="constrained")
    return figure, list(figure.subplots(1, n, squeeze=False).ravel())


def _said_spans(comparison: Comparison, lines: Sequence[Line]) -> str:
    each = "; ".join(f"{one.name} {one.value.mean:.4f}, {one.value.low:.4f} to {one.value.high:.4f}" for one in lines)
    return f"{comparison.figure} of each model with its 95 % interval: {each}."


def _said_costs(comparison: Comparison, lines: Sequence[Line]) -> str:
    each = "; ".join(f"{one.name} {one.ms_per_request:.3f} ms, coverage {one.coverage:.3f}" for one in lines)
    return f"{comparison.figure} of each model by milliseconds per request and by coverage: {each}."


def _picture(figure: "Figure", said: str, prefix: str) -> str:
    """Give an SVG to stand inside a page: described for those who do not see it, its ids its own."""
    import matplotlib  # noqa: PLC0415 - as above

    text = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    _, _, svg = text.getvalue().decode().partition("<svg ")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    described = html.escape(said)
    return f'<figure><svg role="img" aria-label="{described}" {svg}</figure>'
