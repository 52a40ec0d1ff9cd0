"""A chat model as a service. It speaks English; the client keeps what has been said."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import BaseModel
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import motet

Language = Literal["en", "fr"]


class Exchange(BaseModel):
    """A question and its answer, both in English, and the language in which the user asked."""

    question: str
    answer: str
    language: Language = "en"


class Chat(motet.Service):
    """Answers in English, with a sequence-to-sequence model such as Blenderbot.

    Args:
        model: name on the model hub, or folder.
        context: where it runs; says whether there is a GPU for it, and where its assets are.
    """

    config = motet.Config(resources=motet.Resources(gpus=0.5))  # so that two fit on one card

    def __init__(self, model: str, context: motet.Context = motet.injected) -> None:
        folder = context.assets.get(model, model)  # a model that was fetched ahead is loaded without asking the hub
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(folder).to(context.device)
        self.longest = self.model.config.max_position_embeddings

    @motet.endpoint
    def answer(self, text: str, history: list[Exchange]) -> str:
        """Return the answer to a text that follows on what has been said, the oldest first."""
        said = [turn for exchange in history for turn in (exchange.question, exchange.answer)]
        tokens = torch.tensor([self.tokens([*said, text])], device=self.model.device)
        answer = self.model.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=60)
        (text,) = self.tokenizer.batch_decode(answer, skip_special_tokens=True)
        return text.strip()

    def tokens(self, turns: list[str]) -> list[int]:
        """Return the ids of what the model reads: as many of the last turns as it can."""
        encoded = self.tokenizer(turns, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        return join(encoded, bos=self.tokenizer.bos_token_id, eos=self.tokenizer.eos_token_id, longest=self.longest)


def join(turns: Sequence[list[int]], *, bos: int, eos: int, longest: int) -> list[int]:
    """Join the last turns as Blenderbot has learned it: `one</s><s>two</s><s>three</s>`.

    Whole turns are left out, the oldest first, until `longest` tokens are enough. Of a last turn that is longer by itself the end is kept.
    """
    *earlier, last = turns
    joined = [*last[1 - longest :], eos]
    for turn in reversed(earlier):
        if len(turn) + 2 + len(joined) > longest:
            break
        joined = [*turn, eos, bos, *joined]
    return joined
