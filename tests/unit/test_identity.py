"""What the identity of a node hangs on: its own code and all that it names, the same in every process, and nothing else."""

import json
import os
import subprocess
import sys

import pytest

SOURCE = """
import re

import motet
from pydantic import BaseModel

WORDS = {"one", "two", "three", "four"}
PATTERN = re.compile("a+")

class Inner(BaseModel):
    number: int = 1

class Answer(BaseModel):
    inner: list[Inner]

def mark(text):
    return text + "!"

class Marker(motet.Service):
    def __init__(self, count: int = 1) -> None:
        self.count = count

    @motet.endpoint
    def mark(self, text: str) -> str:
        return mark(text)

class Finder(motet.Service):
    def __init__(self, marker: Marker) -> None:
        self.marker = marker

    @motet.endpoint
    async def find(self, text: str) -> list[Answer]:
        return [Answer(inner=[])] if text in WORDS and PATTERN.match(text) else []

app = Finder.bind(Marker.bind())
"""

PRINT_DIGESTS = """
import json, module
from motet.graph import compile_graph
print(json.dumps({node.name: node.digest for node in compile_graph(module.app).nodes.values()}))
"""


@pytest.fixture
def digests(tmp_path):
    """Return the digests of both services of a source, computed in a process of its own."""

    def compute(source: str, *, seed: int = 0) -> dict[str, str]:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "module.py").write_text(source)
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(folder)}
        done = subprocess.run([sys.executable, "-c", PRINT_DIGESTS], env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return compute


@pytest.fixture
def changed(digests):
    """Return the services whose digest a replacement in the source changes."""

    def compare(old: str, new: str, *, preamble: str = "") -> set[str]:
        assert SOURCE.count(old) == 1
        before, after = digests(preamble + SOURCE), digests(preamble + SOURCE.replace(old, new))
        return {name for name in before if before[name] != after[name]}

    return compare


def test_it_is_the_same_in_every_process_and_wherever_the_lines_stand(digests):
    assert digests(SOURCE, seed=1) == digests("\n\n# a comment\n" + SOURCE, seed=2)


@pytest.mark.parametrize("preamble", ["", "from __future__ import annotations\n"], ids=["types", "strings"])
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("self.count = count", "self.count = count + 1", {"Marker"}),  # its own code; a caller holds a handle only
        ('text + "!"', 'text + "?"', {"Marker"}),  # a function that it calls
        ('"four"}', '"five"}', {"Finder"}),  # a constant that it names
        ('re.compile("a+")', 're.compile("b+")', {"Finder"}),
        ("number: int = 1", "number: int = 2", {"Finder"}),  # a model within a model of its annotation
    ],
)
def test_it_changes_with_what_the_code_names(changed, preamble, old, new, expected):
    assert changed(old, new, preamble=preamble) == expected


def test_an_object_that_cannot_be_looked_into_stands_for_its_whole_file(digests):
    opaque = SOURCE.replace('re.compile("a+")', 'type("Odd", (), {"match": len})()')
    before, after = digests(opaque), digests(opaque.replace('text + "!"', 'text + "?"'))
    assert before["Finder"] != after["Finder"]
    assert before == digests(opaque)
