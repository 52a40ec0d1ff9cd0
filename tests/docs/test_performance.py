"""The page of figures says what was measured."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    for name in ("figures", "page", "plots", "results"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("page")


def test_tables_and_plots_are_those_of_the_results(page: ModuleType) -> None:
    results = page.Results.load(ROOT / "bench" / "results.json")
    for path, text in page.rendered(results, page.PAGE.read_text(encoding="utf-8")).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} was changed by hand: run `python bench/run.py --render`"


def test_every_plot_belongs_to_a_table_that_was_measured(page: ModuleType) -> None:
    results = page.Results.load(ROOT / "bench" / "results.json")
    drawn = page.rendered(results, page.PAGE.read_text(encoding="utf-8")).keys()
    assert set(page.PLOTS.glob("*.svg")) == {path for path in drawn if path.suffix == ".svg"}
