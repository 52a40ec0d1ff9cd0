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


def write(results: Results) -> list[Path]:
    """Write the page and the plots; returns the files."""
    files = rendered(results, PAGE.read_text(encoding="utf-8"))
    PLOTS.mkdir(exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return list(files)


def rendered(results: Results, text: str) -> dict[Path, str]:
    """Return the page, with its figures in the place of those in `text`, and the plots.

    Raises:
        SystemExit: the page has no place for a table.
    """
    if missing := results.tables.keys() - {name for _, name, _ in MARKERS.findall(text)}:
        message = f"{PAGE.name} has no places for the figures of {', '.join(sorted(missing))}"
        raise SystemExit(message)
    pictures = {name: svg for name, draw in DRAWINGS.items() if (svg := draw(results))}
    for name, measured in results.tables.items():
        if isinstance(measured.table, Growth):
            pictures[name] = plots.lines(f"Cost with {measured.table.across}", measured.table)
    text = MARKERS.sub(lambda found: f"{found[1]}{_content(found[2], results, pictures)}\n{found[3]}", text)
    return {PAGE: text, **{PLOTS / f"{name}.svg": svg for name, svg in pictures.items()}}


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
    "peers-starting": _beside_peers("From the command to the first answer (less is better)", "s", "peers-starting", "to the first answer"),
    "peers-chain": _beside_peers(
        "A chain of three services by reference, 10 MB (less is better)", "ms", "peers-chain", "by reference, 10 MB"
    ),
}
