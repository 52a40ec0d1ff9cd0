"""The demo with its real models, on the inline engine."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import motet

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "ask_docs"
QUESTIONS = json.loads((FOLDER / "questions.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def demo() -> Iterator[ModuleType]:
    """The module of the demo, imported as `motet serve` imports it, with no way to a model hub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("app")
        for name in ("app", "paragraphs"):
            sys.modules.pop(name)


@pytest.fixture(scope="module")
def search(demo: ModuleType) -> Iterator[Any]:
    with motet.run(demo.app, engine="inline") as handle:
        yield handle


def test_the_right_section_comes_first_for_nine_of_ten_questions(search: Any) -> None:
    assert len(QUESTIONS) == 10
    wrong = {}
    for question in QUESTIONS:
        answer = search.ask({"text": question["question"]}).result()
        assert answer.language == "en"
        best = answer.passages[0]
        if (best.file, best.heading) != (question["file"], question["heading"]):
            wrong[question["question"]] = f"{best.file}: {best.heading} ({best.score})"
    assert len(wrong) <= 1, wrong


def test_as_many_sections_as_wanted_the_best_first(search: Any) -> None:
    passages = search.ask({"text": "What is a replica?", "top": 7}).result().passages
    assert len({(passage.file, passage.heading) for passage in passages}) == 7
    assert [passage.score for passage in passages] == sorted((passage.score for passage in passages), reverse=True)
    assert all((FOLDER.parents[1] / "docs" / passage.file).is_file() for passage in passages)


@pytest.mark.parametrize(
    ("text", "language"),
    [("Wie viele Anfragen laufen gleichzeitig?", "de"), ("Combien de requêtes à la fois ?", "fr"), ("¿Cuántas peticiones a la vez?", "es")],
)
def test_the_language_of_the_question_is_told(search: Any, text: str, language: str) -> None:
    assert search.ask({"text": text}).result().language == language


@pytest.mark.parametrize(
    ("question", "at", "problem"),
    [
        ({"text": ""}, "question.text", "at least 1 character"),
        ({"text": " \n"}, "question.text", "at least 1 character"),
        ({"text": "why " * 300}, "question.text", "at most 1000 characters"),
        ({"text": 3}, "question.text", "a valid string"),
        ({"text": "Why?", "top": 0}, "question.top", "greater than or equal to 1"),
        ({"text": "Why?", "top": 21}, "question.top", "less than or equal to 20"),
        ({"top": 3}, "question.text", "Field required"),
    ],
    ids=["empty", "blank", "long", "number", "none wanted", "too many wanted", "missing"],
)
def test_wrong_questions_are_refused_with_their_place(search: Any, question: dict[str, object], at: str, problem: str) -> None:
    with pytest.raises(motet.InvalidInput) as caught:
        search.ask(question).result()
    assert [p["at"] for p in caught.value.problems] == [at]
    assert problem in str(caught.value.problems[0]["problem"])


@pytest.mark.parametrize("text", ["12345", "レプリカとは何ですか"])
def test_a_language_that_is_not_known_is_refused(search: Any, text: str) -> None:
    with pytest.raises(motet.InvalidInput, match="the language of the text isn't known") as caught:
        search.ask({"text": text}).result()
    assert caught.value.found == repr(text)
    assert caught.value.instead == "a sentence in one of: en, fr, de, es"


def test_texts_in_one_batch_get_the_vectors_that_they_get_alone(demo: ModuleType) -> None:
    embedder = demo.Embedder()
    texts = ["a word", "A sentence with quite a few more words than that."]
    together = demo.Embedder.embed.__wrapped__(embedder, texts)
    alone = [embedder.embed(text).result() for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert one.shape == (384,)
        assert one.dtype == "float32"
        assert abs(float(one @ one) - 1) < 1e-5
        assert abs(one - other).max() < 1e-5


def test_code_and_headings_are_no_paragraphs(demo: ModuleType) -> None:
    markdown = "# Page\nIntro\n\n## First `x`\none\ntwo\n\n```sh\n# no heading\n```\nthree\n| a |\n|---|\n| b |\n### Last\nfour"
    cut = sys.modules["paragraphs"].cut
    assert [(p.title, p.heading, p.text) for p in cut("page.md", markdown)] == [
        ("Page", "Page", "Intro"),
        ("Page", "First x", "one two"),
        ("Page", "First x", "three | a | | b |"),
        ("Page", "Last", "four"),
    ]


def test_a_folder_without_pages_is_named(demo: ModuleType, tmp_path: Path) -> None:
    app = demo.Index.bind(tmp_path, demo.embedder)
    with pytest.raises(motet.StartError, match=r"Index could not start: FileNotFoundError: there is no text in any .*\.md"):
        motet.run(app, engine="inline", name="empty").start()
