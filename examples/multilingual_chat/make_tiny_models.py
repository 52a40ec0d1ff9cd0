"""Makes tiny models that know the sentences of `phrasebook.json`, in a few seconds, with nothing to download.

They are of the same classes as the models on the hub, and lie in folders that are called like those:

    python make_tiny_models.py models
"""

import io
import json
import math
import random
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import sentencepiece
import torch
from chat import join
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    BlenderbotConfig,
    BlenderbotForConditionalGeneration,
    BlenderbotTokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)
from transformers.utils.logging import disable_progress_bar

PHRASEBOOK = json.loads((Path(__file__).parent / "phrasebook.json").read_text(encoding="utf-8"))
WHY = {"en": "Why?", "fr": "Pourquoi ?", "it": "Perché?"}
KNOWN = 0.03  # loss of the worst batch
MOST_EPOCHS = 500
LANGUAGES = {"en": "English", "fr": "French", "it": "Italian"}
SIZE = (
    {"d_model": 64, "dropout": 0.0}
    | dict.fromkeys(["encoder_layers", "decoder_layers"], 2)
    | dict.fromkeys(["encoder_attention_heads", "decoder_attention_heads"], 4)
    | dict.fromkeys(["encoder_ffn_dim", "decoder_ffn_dim"], 128)
)


class Sample(NamedTuple):
    """What a model is given, as ids of tokens, and what it should answer."""

    given: list[int]
    wanted: list[int]


def make_tiny_models(folder: Path) -> None:
    """Make a chat model, two translators and a model that follows instructions, each in a folder of its own."""
    torch.set_num_threads(1)  # such small matrices gain nothing by a second one
    disable_progress_bar()
    make_chat_model(folder / "blenderbot-400M-distill")
    make_translator_to_french(folder / "t5-small")
    make_translator_to_english(folder / "opus-mt-fr-en")
    make_instructed_model(folder / "flan-t5-large")


def phrases() -> list[dict[str, str]]:
    """Return every sentence of the phrasebook in all its languages."""
    return [WHY, *(phrase for entry in PHRASEBOOK for phrase in entry.values())]


def make_chat_model(folder: Path) -> None:
    """Train a Blenderbot on conversations."""
    sentences = [phrase["en"] for phrase in phrases()]
    bpe = ByteLevelBPETokenizer(add_prefix_space=True)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator(sentences, vocab_size=400, min_frequency=1, special_tokens=special, show_progress=False)
    learned = json.loads(bpe.to_str())["model"]
    tokenizer = BlenderbotTokenizer(vocab=learned["vocab"], merges=[tuple(pair) for pair in learned["merges"]], model_max_length=64)
    model = BlenderbotForConditionalGeneration(
        BlenderbotConfig(vocab_size=len(tokenizer), max_position_embeddings=64, encoder_no_repeat_ngram_size=0, **SIZE)
    )
    samples = []
    for *turns, answer in conversations():
        encoded = tokenizer(turns, add_special_tokens=False)["input_ids"]
        given = join(encoded, bos=tokenizer.bos_token_id, eos=tokenizer.eos_token_id, longest=64)
        samples.append(Sample(given, [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]))
    train(model, tokenizer, samples, folder)


def conversations() -> Iterator[list[str]]:
    """Yield lists of what was said in turn, the last of them an answer: questions in any order, and "Why?" about some answers."""
    choose = random.Random(0)  # noqa: S311  # the same conversations each time
    for entry in PHRASEBOOK * 300:  # so many that no whole conversation is learned by heart
        earlier = choose.sample(PHRASEBOOK, choose.choice([0, 1, 2, 3, 5]))
        turns = [said["en"] for before in (*earlier, entry) for said in (before["question"], before["answer"])]
        if "why" in entry and choose.random() < 0.5:  # noqa: PLR2004  # every other time
            turns += [WHY["en"], entry["why"]["en"]]
        yield turns


def make_translator_to_french(folder: Path) -> None:
    """Train a T5 to translate from English to French."""
    make_t5(folder, [("English", "French", phrase["en"], phrase["fr"]) for phrase in phrases()])


def make_instructed_model(folder: Path) -> None:
    """Train a T5 to translate between English and two other languages, either way, as its prompt says."""
    pairs = [pair for other in ("fr", "it") for pair in (("en", other), (other, "en"))]
    make_t5(folder, [(LANGUAGES[a], LANGUAGES[b], phrase[a], phrase[b]) for phrase in phrases() for a, b in pairs])


def make_t5(folder: Path, translations: list[tuple[str, str, str, str]]) -> None:
    """Train a T5 on translations: from which language, to which, what, and what it is."""
    prompts = [f"translate {source} to {target}: {text}" for source, target, text, _ in translations]
    pieces = train_pieces([*prompts, *(wanted for *_, wanted in translations)], pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    vocabulary = [(pieces.IdToPiece(i), pieces.GetScore(i)) for i in range(len(pieces))]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=512)
    sizes = {"d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0, "feed_forward_proj": "gated-gelu"}
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), d_model=64, decoder_start_token_id=0, **sizes))
    wanted = [text for *_, text in translations]
    train(model, tokenizer, [Sample(*sample) for sample in zip(ids(tokenizer, prompts), ids(tokenizer, wanted), strict=True)], folder)


def make_translator_to_english(folder: Path) -> None:
    """Train a Marian to translate from French to English."""
    folder.mkdir(parents=True, exist_ok=True)
    french, english = ([phrase[language] for phrase in phrases()] for language in ("fr", "en"))
    source, target = (train_pieces(texts, unk_id=0, eos_id=1, bos_id=-1, pad_id=-1) for texts in (french, english))
    known = dict.fromkeys([spm.IdToPiece(i) for spm in (source, target) for i in range(len(spm))] + ["<pad>"])
    files = {name: folder / name for name in ("source.spm", "target.spm", "vocab.json")}
    files["source.spm"].write_bytes(source.serialized_model_proto())
    files["target.spm"].write_bytes(target.serialized_model_proto())
    files["vocab.json"].write_text(json.dumps({piece: i for i, piece in enumerate(known)}), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        tokenizer = MarianTokenizer(*map(str, files.values()), source_lang="fr", target_lang="en")
    pad = tokenizer.pad_token_id
    special = {"pad_token_id": pad, "decoder_start_token_id": pad, "eos_token_id": tokenizer.eos_token_id, "forced_eos_token_id": None}
    model = MarianMTModel(MarianConfig(vocab_size=len(known), max_position_embeddings=512, **special, **SIZE))
    wanted = tokenizer(text_target=english)["input_ids"]
    train(model, tokenizer, [Sample(*sample) for sample in zip(ids(tokenizer, french), wanted, strict=True)], folder)


def train_pieces(texts: list[str], **special: int) -> sentencepiece.SentencePieceProcessor:
    """Learn how to cut texts into pieces of words."""
    learned = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=learned,
        vocab_size=300,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
        **special,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=learned.getvalue())


def train(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, samples: list[Sample], folder: Path) -> None:
    """Train a model until it knows its samples, and save both."""
    began = time.monotonic()
    pad = model.config.pad_token_id
    given = padded([sample.given for sample in samples], pad)
    wanted = padded([sample.wanted for sample in samples], -100)  # which the loss leaves out
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    worst, epochs = math.inf, 0
    while worst > KNOWN and epochs < MOST_EPOCHS:
        worst, epochs = 0.0, epochs + 1
        for rows in torch.randperm(len(samples)).split(64):
            loss = model(input_ids=given[rows], attention_mask=(given[rows] != pad).long(), labels=wanted[rows]).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            worst = max(worst, loss.item())
    if worst > KNOWN:
        sys.exit(f"{folder}: after {epochs} epochs the loss is {worst:.2f} still")
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    print(f"{folder}: {epochs} epochs, {time.monotonic() - began:.0f} s", flush=True)


def padded(rows: list[list[int]], filler: int) -> torch.Tensor:
    """Return rows of different lengths as one int64 matrix."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=filler)


def ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Return the ids of the tokens of each text."""
    return tokenizer(texts)["input_ids"]


if __name__ == "__main__":
    torch.manual_seed(0)
    make_tiny_models(Path(sys.argv[1]))
