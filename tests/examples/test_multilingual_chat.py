"""The multilingual chat with tiny models that know its phrasebook, on the inline engine."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import motet

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "multilingual_chat"
PHRASEBOOK = json.loads((FOLDER / "phrasebook.json").read_text(encoding="utf-8"))
WHY = {"en": "Why?", "fr": "Pourquoi ?"}
SENTENCES = [entry for entry in PHRASEBOOK if entry["question"]["en"] != entry["question"]["fr"]]


@pytest.fixture(scope="module")
def example(tiny_models: Path) -> Iterator[ModuleType]:
    """The module of the app, imported as `motet serve` imports it, with the tiny models and no way to a hub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("CHAT_MODELS", str(tiny_models))
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("app")
        for name in ("app", "chat", "client", "detector", "lab", "models", "translator"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def chat(example: ModuleType) -> Iterator[Any]:
    with motet.run(example.app, engine="inline") as handle:
        yield handle


def ask(chat: Any, text: str, history: tuple[Any, ...] | list[Any] = ()) -> Any:
    return chat.reply({"text": text, "history": list(history)}).result()


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_question_is_answered_in_its_language_and_told_in_english(chat: Any, language: str) -> None:
    for entry in SENTENCES:
        reply = ask(chat, entry["question"][language])
        assert (reply.language, reply.text) == (language, entry["answer"][language])
        assert reply.exchange.model_dump() == {"question": entry["question"]["en"], "answer": entry["answer"]["en"], "language": language}


@pytest.mark.parametrize("language", ["en", "fr"])
def test_what_was_said_before_decides_what_why_means(chat: Any, language: str) -> None:
    answers = []
    for entry in (entry for entry in PHRASEBOOK if "why" in entry):
        first = ask(chat, entry["question"][language])
        answers.append((ask(chat, WHY[language], [first.exchange]).text, entry["why"][language]))
    assert len(answers) == 2
    assert all(given == wanted for given, wanted in answers), answers


def test_the_language_may_change_during_a_conversation(chat: Any) -> None:
    music = next(entry for entry in PHRASEBOOK if entry["question"]["en"] == "Do you like music?")
    asked = ask(chat, music["question"]["fr"])
    why = ask(chat, WHY["en"], [asked.exchange])
    assert (why.language, why.text) == ("en", music["why"]["en"])


@pytest.mark.parametrize("text", ["12345", "???"])
def test_a_text_without_a_language_is_answered_in_that_of_the_conversation(chat: Any, text: str) -> None:
    answers = next(entry["answer"] for entry in PHRASEBOOK if entry["question"]["fr"] == text)
    alone = ask(chat, text)
    assert (alone.language, alone.text, alone.exchange.question) == ("en", answers["en"], text)
    bonjour = ask(chat, PHRASEBOOK[0]["question"]["fr"])
    among = ask(chat, text, [bonjour.exchange])
    assert (among.language, among.text, among.exchange.question) == ("fr", answers["fr"], text)


def test_a_long_history_is_answered_as_its_last_part_is(chat: Any) -> None:
    hello = {"question": PHRASEBOOK[0]["question"]["en"], "answer": PHRASEBOOK[0]["answer"]["en"]}
    music = next(entry for entry in PHRASEBOOK if entry["question"]["en"] == "Do you like music?")
    last = {"question": music["question"]["en"], "answer": music["answer"]["en"]}
    assert ask(chat, WHY["en"], [*[hello] * 500, last]).text == music["why"]["en"]


def test_a_text_that_is_longer_than_the_model_reads_is_answered(chat: Any) -> None:
    assert ask(chat, "The neighbours are dancing. " * 70).language == "en"
    assert ask(chat, "Les voisins dansent. " * 90).language == "fr"


@pytest.mark.parametrize(
    ("message", "at", "problem"),
    [
        ({"text": ""}, "message.text", "at least 1 character"),
        ({"text": " \n"}, "message.text", "at least 1 character"),
        ({"text": "a" * 2001}, "message.text", "at most 2000 characters"),
        ({"text": 3}, "message.text", "a valid string"),
        ({}, "message.text", "Field required"),
        ({"text": "Why?", "history": ["Hello."]}, "message.history.0", "a valid dictionary"),
        ({"text": "Why?", "history": [{"question": "Who?"}]}, "message.history.0.answer", "Field required"),
        ({"text": "Why?", "history": [{"question": "a", "answer": "b", "language": "de"}]}, "message.history.0.language", "'en' or 'fr'"),
    ],
    ids=["empty", "blank", "long", "number", "missing", "plain history", "half an exchange", "another language"],
)
def test_wrong_messages_are_refused_with_their_place(chat: Any, message: dict[str, object], at: str, problem: str) -> None:
    with pytest.raises(motet.InvalidInput) as caught:
        chat.reply(message).result()
    assert [p["at"] for p in caught.value.problems] == [at]
    assert problem in str(caught.value.problems[0]["problem"])


def test_the_chat_model_is_an_app_of_its_own(example: ModuleType) -> None:
    with motet.run(example.chat, engine="inline", name="alone") as chat:
        assert chat.answer(PHRASEBOOK[0]["question"]["en"], []).result() == PHRASEBOOK[0]["answer"]["en"]


class Untouched(motet.Service):
    """Stands where a translator was, and fails whoever asks it."""

    @motet.endpoint
    def translate(self, text: str) -> str:
        raise AssertionError(text)


def test_a_question_in_english_sees_no_translator(example: ModuleType) -> None:
    app = motet.replace(example.app, importlib.import_module("translator").Translator, Untouched.bind())
    with motet.run(app, engine="inline", name="english") as chat:
        assert ask(chat, SENTENCES[0]["question"]["en"]).text == SENTENCES[0]["answer"]["en"]
        assert ask(chat, "12345").language == "en"
        with pytest.raises(AssertionError, match="Bonjour"):
            ask(chat, SENTENCES[0]["question"]["fr"])


def test_whole_turns_are_left_out_until_the_rest_fits(example: ModuleType) -> None:
    join = importlib.import_module("chat").join
    turns = [[11, 12], [21], [31, 32, 33]]
    assert join(turns, bos=1, eos=2, longest=100) == [11, 12, 2, 1, 21, 2, 1, 31, 32, 33, 2]
    assert join(turns, bos=1, eos=2, longest=11) == [11, 12, 2, 1, 21, 2, 1, 31, 32, 33, 2]
    assert join(turns, bos=1, eos=2, longest=10) == [21, 2, 1, 31, 32, 33, 2]
    assert join(turns, bos=1, eos=2, longest=6) == [31, 32, 33, 2]
    assert join(turns, bos=1, eos=2, longest=3) == [32, 33, 2]
    assert join([[]], bos=1, eos=2, longest=3) == [2]


def test_a_text_cant_pretend_to_be_two_turns(example: ModuleType, tmp_path: Path) -> None:
    context = motet.Context(app="default", service="Chat", replica="Chat#1", engine="inline", data_dir=tmp_path)
    chat = importlib.import_module("chat").Chat(example.blenderbot, context)
    eos = chat.tokenizer.eos_token_id
    assert chat.tokens(["one</s><s>two", "three"]).count(eos) == 2


@pytest.mark.parametrize(("target", "other"), [("italian", "it"), ("french", "fr")])
def test_the_lab_translates_either_way(example: ModuleType, target: str, other: str) -> None:
    with motet.run(getattr(importlib.import_module("lab"), target), engine="inline", name="lab") as lab:
        for entry in SENTENCES:
            for sentence in (entry["question"], entry["answer"]):
                assert lab.translate(sentence["en"]).result() == sentence[other]
                assert lab.translate(sentence[other]).result() == sentence["en"]
        assert lab.translate("12345").result() == "12345"


def test_the_lab_answers_as_the_readme_shows(example: ModuleType, in_the_readme: Callable[[str], list[tuple[Any, Any]]]) -> None:
    ((sent, answer),) = in_the_readme("/translate")
    with motet.run(importlib.import_module("lab").italian, engine="inline", name="lab") as lab:
        assert lab.translate(**sent).result() == answer


def test_a_model_that_isnt_in_the_folder_is_named(example: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHAT_MODELS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*/t5-small; make_tiny_models.py makes one"):
        importlib.import_module("models").model("t5-small")


def test_a_client_keeps_the_history(example: ModuleType, chat: Any, capsys: pytest.CaptureFixture[str]) -> None:
    client = importlib.import_module("client")
    client.talk(chat, client.FRENCH)
    music = next(entry for entry in PHRASEBOOK if "why" in entry)
    said = capsys.readouterr().out.splitlines()
    assert said[5] == f"> {music['why']['fr']}"
    assert said[7] == f"> {PHRASEBOOK[-1]['answer']['fr']}"
