"""The page of figures: tables between their markers, and a plot beside each of them that says more as a picture."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import plots
from figures import Figure, Growth, Table
from plots import Bar
from results import Results, Run

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "plots"
MARKERS = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
ABOUT = "Each figure is the median of its rounds, with the least and the greatest in brackets; ratios are taken round by round."
PEERS = "peers-"  # tables whose figures name a peer and, after a comma, the task


def write(results: Results) -> list[Path]:
    """Write the page and the plots; returns the files.

    Raises:
        SystemExit: the page has no place for a table.
    """
    text = PAGE.read_text(encoding="utf-8")
    if missing := results.tables.keys() - {name for _, name, _ in MARKERS.findall(text)}:
        message = f"{PAGE.name} has no places for the figures of {', '.join(sorted(missing))}"
        raise SystemExit(message)
    pictures = {name: svg for name, draw in DRAWINGS.items() if (svg := draw(results))}
    pictures |= {name: plots.lines(_title(m.table), m.table) for name, m in results.tables.items() if isinstance(m.table, Growth)}
    PLOTS.mkdir(exist_ok=True)
    for name, svg in pictures.items():
        (PLOTS / f"{name}.svg").write_text(svg, encoding="utf-8")
    text = MARKERS.sub(lambda found: f"{found[1]}{_content(found[2], results, pictures)}\n{found[3]}", text)
    PAGE.write_text(text, encoding="utf-8")
    return [PAGE, *(PLOTS / f"{name}.svg" for name in pictures)]


def in_columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def in_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def _content(name: str, results: Results, pictures: Mapping[str, str]) -> str:
    parts: list[str] = []
    if name == "machine":
        parts.append("\n\n".join([*(_about(run, results) for run in results.runs), ABOUT]))
    elif name in results.tables:
        parts.append(in_markdown(results.tables[name].table.rows()))
    elif name not in pictures:
        parts.append("Not measured yet.")
    if name in pictures:
        parts.append(f"![{re.search('<title>(.*)</title>', pictures[name])[1]}](plots/{name}.svg)")  # type: ignore[index]
    return "\n\n".join(parts)


def _about(run: Run, results: Results) -> str:
    number = results.runs.index(run)
    names = sorted(name for name, measured in results.tables.items() if measured.run == number)
    what = "Measured" if len(results.runs) == 1 else f"{', '.join(names)}: measured"
    facts = run.machine
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    return (
        f"{what} on {run.date} by `{run.command}` on {facts['cpu']}, {facts['cores']} cores,\n{facts['memory']}, {facts['system']}, "
        f"Python {facts['python']}; {versions}.\nThe load average before was {run.load:g}."
    )


def _title(table: Table | Growth) -> str:
    return f"Cost with {table.across}" if isinstance(table, Growth) else table.name


def _figures(results: Results, name: str) -> Sequence[Figure]:
    measured = results.tables.get(name)
    return measured.table.figures if measured and isinstance(measured.table, Table) else ()


def _goals(results: Results) -> str:
    rows = {
        f"{name}: {figure.what}".replace("`", ""): figure.goal.reached(figure)
        for name in results.tables
        for figure in _figures(results, name)
        if figure.goal and figure.values
    }
    return plots.reached("How much of each goal is reached; to the right is better", rows) if rows else ""


def _beside_peers(title: str, unit: str, table: str, task: str) -> Callable[[Results], str]:
    def draw(results: Results) -> str:
        found = [figure for figure in _figures(results, table) if figure.what.endswith(f", {task}")]
        if not found:
            return ""
        bare = [figure for figure in found if figure.what.startswith("bare")]
        peers = [figure for figure in found if figure not in bare]
        ours = [value for figure in found for value in figure.values]
        rows = [
            *(Bar(figure.what.removesuffix(f", {task}"), figure.peers, "limit") for figure in bare),
            Bar("Motet", ours, "motet"),
            *(Bar(figure.what.removesuffix(f", {task}"), figure.peers, "other") for figure in peers),
        ]
        return plots.bars(title, unit, rows)

    return draw


DRAWINGS: Mapping[str, Callable[[Results], str]] = {
    "goals": _goals,
    "peers-echo": _beside_peers("HTTP echo of a typed body, 32 connections", "req/s", "peers-echo", "32 connections"),
    "peers-replicas": _beside_peers("The same with two replicas", "req/s", "peers-replicas", "32 connections"),
    "peers-batches": _beside_peers("Batches of up to 32, 64 clients", "items/s", "peers-batches", "64 clients"),
    "peers-streams": _beside_peers("Small pieces streamed over HTTP", "items/s", "peers-streams", "one stream"),
    "peers-chain": _beside_peers("A chain of three services with a 10 MB array", "ms", "peers-chain", "10 MB"),
}
