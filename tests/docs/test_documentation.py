"""Every Python block of the documentation runs, every command and link in it exists."""

import contextlib
import io
import re
import shlex
import sys
import types
from pathlib import Path

import click
import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

from motet.cli import main

ROOT = Path(__file__).resolve().parents[2]
run_python = PythonEvaluator()


def evaluate(example: Example) -> None:
    """Run a block; where it has comments such as `# -> 3`, what it prints has to be exactly these, in order."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run_python(example)
    expected = re.findall(r"# -> (.*)$", str(example.parsed), re.MULTILINE)
    assert not expected or printed.getvalue().splitlines() == expected, f"{example.path}:{example.line}"


python_blocks = Sybil(parsers=[CodeBlockParser("python", evaluate)])
console_blocks = Sybil(parsers=[CodeBlockParser(language, lambda _: None) for language in ("console", "sh")])


PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@every_page
def test_python_blocks_run(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The blocks of a page share a module of their own, so that its classes are found by name as those of a file are.
    module = types.ModuleType("page_" + re.sub(r"\W", "_", page.stem))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    document = python_blocks.parse(page)
    document.namespace = module.__dict__
    for example in document.examples():
        example.evaluate()


def commands(page: Path) -> list[tuple[int, list[str]]]:
    """Return line number and words of each `motet ...` command in the console blocks of a page."""
    found = []
    for example in console_blocks.parse(page).examples():
        for number, line in enumerate(str(example.parsed).splitlines(), example.line + 1):
            text = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
            if text.startswith("motet "):
                found.append((number, shlex.split(text, comments=True)[1:]))
    return found


@every_page
def test_commands_exist(page: Path) -> None:
    assert isinstance(main, click.Group)
    for line, (name, *words) in commands(page):
        where = f"{page.name}:{line}: motet {name}"
        if name.startswith("-"):
            continue
        assert name in main.commands, where
        command = main.commands[name]
        if isinstance(command, click.Group) and words:
            assert words[0] in command.commands, where
            command = command.commands[words[0]]
        options = {text for parameter in command.params for text in (*parameter.opts, *parameter.secondary_opts)}
        unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in options | {"--help"}]
        assert not unknown, f"{where} has no {unknown}"


def anchors(page: Path) -> set[str]:
    """Return what links may name after the # in a page."""
    outside_of_code = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", outside_of_code, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name}: {target}"
