"""Translation as a service: one class for models that are told by a prefix what to do (T5) and those that know it (Marian)."""

import warnings

import motet


class Translator(motet.Service):
    """Translates texts, up to 16 at once.

    `transformers` looks for sentencepiece as soon as a tokenizer needs it. So the import waits for the constructor, which runs in this
    service's environment only.

    Args:
        model: name on the model hub, or folder.
        prefix: what the model wants to have in front of each text.
        context: where it runs; says whether there is a GPU for it, and where its assets are.
    """

    config = motet.Config(environment=motet.Environment(pip=["sentencepiece==0.2.1"]), idempotent=True)

    def __init__(self, model: str, prefix: str = "", context: motet.Context = motet.injected) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer  # noqa: PLC0415  # see above

        self.prefix = prefix
        folder = context.assets.get(model, model)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")  # tidies quotation marks, no more
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(folder).to(context.device)

    @motet.batched(max_size=16)
    def translate(self, texts: list[str]) -> list[str]:
        """Return the translations of texts. What is too long for the model is cut."""
        prompts = [self.prefix + text for text in texts]
        tokens = self.tokenizer(prompts, padding=True, truncation=True, max_length=512, return_tensors="pt").to(self.model.device)
        translated = self.model.generate(**tokens, max_new_tokens=200)
        return [text.strip() for text in self.tokenizer.batch_decode(translated, skip_special_tokens=True)]
