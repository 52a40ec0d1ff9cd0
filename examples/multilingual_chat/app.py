"""Chat in English or French with a model that knows English only: four services, three environments.

`motet serve examples/multilingual_chat/app.py:app` serves it, and `...app.py:chat` the chat model alone.
"""

from typing import Annotated

from chat import Chat, Exchange, Language
from detector import Detector
from models import model
from pydantic import BaseModel, Field, StringConstraints
from translator import Translator

import motet

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class Message(BaseModel):
    """What a client sends: a text, and what has been said before, the oldest first."""

    text: Text = Field(examples=["Bonjour, comment allez-vous ?"])
    history: list[Exchange] = Field(default=[], max_length=1000)


class Reply(BaseModel):
    """What a client gets: the answer in its own language, and the exchange in English to append to the history."""

    text: str
    language: Language
    exchange: Exchange


class MultilingualChat(motet.Service):
    """Answers in the language of the question."""

    def __init__(self, detector: Detector, to_english: Translator, chat: Chat, to_french: Translator) -> None:
        self.detector = detector
        self.to_english = to_english
        self.chat = chat
        self.to_french = to_french

    @motet.endpoint
    async def reply(self, message: Message) -> Reply:
        """Answer a message in English or in French.

        A text without a language, such as `12345`, needs no translation, and is answered in the language of the conversation so far.
        """
        detected = await self.detector.language(message.text)
        so_far = message.history[-1].language if message.history else "en"
        language: Language = "fr" if (detected or so_far) == "fr" else "en"

        question = await self.to_english.translate(message.text) if detected == "fr" else message.text
        answer = await self.chat.answer(question, message.history)
        text = await self.to_french.translate(answer) if language == "fr" else answer
        return Reply(text=text, language=language, exchange=Exchange(question=question, answer=answer, language=language))


blenderbot = model("facebook/blenderbot-400M-distill")
opus = model("Helsinki-NLP/opus-mt-fr-en")
t5 = model("google-t5/t5-small")

chat = Chat.bind(blenderbot).options(assets=motet.Assets(models=[blenderbot]))
to_english = Translator.bind(opus).options(name="ToEnglish", assets=motet.Assets(models=[opus]))
to_french = Translator.bind(t5, prefix="translate English to French: ").options(name="ToFrench", assets=motet.Assets(models=[t5]))
app = MultilingualChat.bind(detector=Detector.bind(["en", "fr"]), to_english=to_english, chat=chat, to_french=to_french)
