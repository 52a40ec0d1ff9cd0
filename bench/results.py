"""What was measured, kept in a file: each table with the run that it comes from, so that a part can be measured again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from figures import Growth, Table

DIGITS = 5  # that count


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the benchmarks.

    Attributes:
        date: of its end.
        command: that repeats it.
        load: load average over a minute, before it began.
        machine: what the figures depend on.
        versions: of what was measured, by name.
    """

    date: str
    command: str
    load: float
    machine: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Measured:
    """A table and the number of its run."""

    run: int
    table: Table | Growth


@dataclass(frozen=True, slots=True)
class Results:
    """All tables that there are."""

    runs: Sequence[Run] = ()
    tables: Mapping[str, Measured] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read a file; returns nothing measured if there is none."""
        return ADAPTER.validate_json(path.read_bytes()) if path.exists() else cls()

    def save(self, path: Path) -> None:
        """Write a file whose changes are readable: the rounds of a figure stand on one line."""
        text = json.dumps(_rounded(ADAPTER.dump_python(self)), indent=1, ensure_ascii=False)
        path.write_text(re.sub(r"\[[\d\s.,e+-]*\]", lambda found: " ".join(found[0].split()), text) + "\n", encoding="utf-8")

    def updated(self, run: Run, tables: Sequence[Table | Growth]) -> Results:
        """Return these with the tables of a run in the place of older ones; runs that nothing comes from are left out."""
        merged = {**self.tables, **{table.name: Measured(len(self.runs), table) for table in tables}}
        runs = [*self.runs, run]
        used = sorted({measured.run for measured in merged.values()})
        places = {old: new for new, old in enumerate(used)}
        return Results([runs[old] for old in used], {name: Measured(places[m.run], m.table) for name, m in merged.items()})


ADAPTER = TypeAdapter(Results)


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.{DIGITS}g}")
        case dict():
            return {key: _rounded(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_rounded(inner) for inner in value]
        case _:
            return value
