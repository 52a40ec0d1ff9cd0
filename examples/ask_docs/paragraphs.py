"""Cuts Markdown files at their headings, and the sections into paragraphs."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Paragraph(NamedTuple):
    """Lines that belong together, with the place where they stand."""

    file: str
    title: str  # of the page
    heading: str
    text: str


def read_paragraphs(folder: Path) -> list[Paragraph]:
    """Return the paragraphs of all `*.md` files in a folder.

    Raises:
        FileNotFoundError: there are none.
    """
    found = [paragraph for file in sorted(folder.glob("*.md")) for paragraph in cut(file.name, file.read_text(encoding="utf-8"))]
    if not found:
        message = f"there is no text in any {folder}/*.md"
        raise FileNotFoundError(message)
    return found


def cut(file: str, markdown: str) -> Iterator[Paragraph]:
    """Yield the paragraphs of a file, without its code blocks and rows of figures, which answer no question in words."""
    title = heading = ""
    lines: list[str] = []
    in_code = False
    for line in [*markdown.splitlines(), ""]:
        fence = line.startswith("```")
        in_code ^= fence
        if in_code or fence or line.startswith("|--") or _is_figures(line):
            continue
        is_heading = line.startswith("#")
        if lines and (is_heading or not line):
            yield Paragraph(file, title, heading, " ".join(lines))
            lines.clear()
        if is_heading:
            heading = line.strip("# ").replace("`", "")
            title = title or heading
        elif line:
            lines.append(line.strip())


def _is_figures(line: str) -> bool:
    """Whether a line is a row of a table that holds more digits than a third of its letters."""
    return line.startswith("|") and 3 * sum(map(str.isdigit, line)) > sum(map(str.isalpha, line))
