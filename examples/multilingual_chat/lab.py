"""Translates between English and another language, whichever it is given, with one model that is told in words what to do.

`motet serve examples/multilingual_chat/lab.py:italian` serves it, and `...lab.py:french`.
"""

from detector import Detector
from models import model
from translator import Translator

import motet

NAMES = {"en": "English", "fr": "French", "it": "Italian"}


class EitherWay(motet.Service):
    """Translates from English to another language, and from that to English.

    Args:
        other: ISO 639-1 code of the other language.
        detector: tells which of the two a text is written in.
        translator: has a model that follows instructions, such as Flan-T5.
    """

    def __init__(self, other: str, detector: Detector, translator: Translator) -> None:
        self.other = other
        self.detector = detector
        self.translator = translator

    @motet.endpoint
    async def translate(self, text: str) -> str:
        """Return a text in the other of the two languages; one without a language, such as `12345`, as it is."""
        source = await self.detector.language(text)
        if source is None:
            return text
        target = self.other if source == "en" else "en"
        return await self.translator.translate(f"translate {NAMES[source]} to {NAMES[target]}: {text}")


flan = model("google/flan-t5-large")
translator = Translator.bind(flan).options(assets=motet.Assets(models=[flan]))
italian = EitherWay.bind("it", Detector.bind(["en", "it"]), translator)
french = EitherWay.bind("fr", Detector.bind(["en", "fr"]), translator)
