"""Cuts Markdown files at their headings."""

from pathlib import Path
from typing import NamedTuple


class Section(NamedTuple):
    """What stands under one heading."""

    file: str
    heading: str
    text: str  # the title of the page and the heading come first: they say what the section is about


def read_sections(folder: Path) -> list[Section]:
    """Return the sections of all `*.md` files in `folder`, in order.

    Raises:
        FileNotFoundError: there are none.
    """
    sections = [section for file in sorted(folder.glob("*.md")) for section in cut(file.name, file.read_text(encoding="utf-8"))]
    if not sections:
        message = f"no section of any *.md file in {folder}"
        raise FileNotFoundError(message)
    return sections


def cut(file: str, markdown: str) -> list[Section]:
    """Return the sections of one file; headings without text of their own are left out."""
    sections: list[Section] = []
    title = heading = ""
    lines: list[str] = []
    fenced = False  # inside a code block, a line that begins with # is a comment

    def finish() -> None:
        body = "\n".join(lines).strip()
        if body:
            sections.append(Section(file, heading, f"{title}: {heading}\n{body}" if heading != title else f"{title}\n{body}"))
        lines.clear()

    for line in markdown.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        if line.startswith("#") and not fenced:
            finish()
            heading = line.lstrip("#").strip().replace("`", "")
            title = title or heading
        else:
            lines.append(line)
    finish()
    return sections
