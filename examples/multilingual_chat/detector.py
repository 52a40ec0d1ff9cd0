"""Language detection as a service, with a library that the others can't share: lingua 1.3 wants NumPy 1 and an old regex."""

from lingua import IsoCode639_1, Language, LanguageDetectorBuilder

import motet


class Detector(motet.Service):
    """Tells which of a few languages a text is written in.

    Args:
        languages: ISO 639-1 codes of the languages to choose from, two or more.
    """

    config = motet.Config(environment=motet.Environment(pip=["lingua-language-detector==1.3.2"]), idempotent=True)

    def __init__(self, languages: list[str]) -> None:
        known = [Language.from_iso_code_639_1(getattr(IsoCode639_1, code.upper())) for code in languages]
        self.detector = LanguageDetectorBuilder.from_languages(*known).with_preloaded_language_models().build()

    @motet.endpoint
    def language(self, text: str) -> str | None:
        """Return the ISO 639-1 code of the language of a text, or None if it has none, as `12345`."""
        found = self.detector.detect_language_of(text)
        return None if found is None else found.iso_code_639_1.name.lower()
