"""Trains the tokenizer: byte-level BPE whose pieces are the same wherever a name, number or code stands.

Digits and spaces before capitals are tokens of their own, so that what is copied from a text into JSON is copied
token by token. Sentences that Outcrop itself puts into prompts, and the one that says that there is no answer, are
one token each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from corpus.calls import CITE
from corpus.grounded import INSTRUCTION, NO_ANSWER
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CONTROL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|tools|>", "[TOOL_CALLS]", "[ARGS]"]
# Numbers of sentences, as the chat template gives them.
NUMBERS = [f"<|{number}|>" for number in range(64)]
SENTENCES = [INSTRUCTION, NO_ANSWER, CITE]

# What merges are learned within: finer than the split that is shipped.
LEARNED = r" ?[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*|\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# What text is split by: GGUF files name it `qwen2`. No merge crosses what LEARNED splits, so both give the same tokens.
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def splitting(pattern: str) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def train(texts: Iterable[str], size: int, folder: Path) -> Tokenizer:
    """Trains on rendered conversations and writes what belongs to a model's folder."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = splitting(LEARNED)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True, normalized=False) for text in CONTROL]
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SENTENCES) - len(NUMBERS),
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        max_token_length=12,
    )
    plain = [*CONTROL, *NUMBERS, *SENTENCES]

    def without(text: str) -> str:
        for mark in sorted(plain, key=len, reverse=True):
            text = text.replace(mark, "\n")
        return text

    tokenizer.train_from_iterator((without(text) for text in texts), trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in SENTENCES])
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in NUMBERS])
    tokenizer.pre_tokenizer = splitting(QWEN2)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    template = Path(__file__).parent / "chat_template.jinja"
    (folder / "chat_template.jinja").write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
    return tokenizer
