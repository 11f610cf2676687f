"""Tokenizers that are learned from one's own text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from . import checks


@dataclass(frozen=True)
class TrainedTokenizer:
    """What :meth:`Session.train_tokenizer` has made."""

    #: The folder: of a tokenizer, or of a new model with it.
    folder: str
    #: Words of the vocabulary: fewer than asked for where the text holds no more pairs.
    vocab_size: int
    #: Bytes of the text that it was learned from.
    bytes: int
    #: Tokens that this text becomes.
    tokens: int
    #: Weights of the new model; 0 where none was asked for.
    parameters: int


def tokenizer_request(training_data: checks.Path, folder: checks.Path, **given: Any) -> str:
    """A `TokenizerRequest` as JSON; `given` are the named arguments of :meth:`Session.train_tokenizer`."""
    options: dict[str, Any] = {
        "vocab_size": checks.integer("vocab_size", given["vocab_size"]),
        "seed": checks.integer("seed", given["seed"]),
    }
    if given["special_tokens"] is not None:
        options["special_tokens"] = checks.texts("special_tokens", given["special_tokens"])
    for field in ("eos_token", "chat_template"):
        if given[field] is not None:
            options[field] = checks.text(field, given[field])
    if given["model"] is not None:
        options["model"] = json.loads(checks.encode("model", dict(given["model"])))
    wanted = {
        "training_data": checks.place("training_data", training_data),
        "folder": checks.folder("folder", folder),
        "options": options,
    }
    return json.dumps(wanted)
