"""What is known of models."""

from __future__ import annotations

from dataclasses import dataclass

from .tables import RecordList, Table, html_table, pairs, size, text_table


@dataclass(frozen=True, repr=False)
class ModelInfo:
    """What is known of a loaded model."""

    #: The id that it was opened by.
    id: str
    #: `chat`, `embedding` or `rerank`.
    kind: str
    #: Hugging Face's `model_type`, such as `llama`; `quote` for the quoting reader, `scripted` and
    #: `openai` for models that are declared as data.
    architecture: str
    #: Number of parameters.
    parameters: int
    #: Storage of most weights, such as `F32`, `BF16` or `Q4_K`.
    quantization: str
    #: Most tokens that one sequence holds; 0 where a remote model does not tell.
    context_length: int
    #: Where it runs: `cpu`, `cuda:0`, or `remote`.
    device: str
    #: Bytes of its weights.
    bytes: int
    #: Length of an embedding, for an embedding model.
    dimensions: int | None = None
    #: Number of tokens that the logits range over, for a decoder.
    vocabulary: int | None = None
    #: Why it runs there, where that was not what the session asked for by name.
    device_reason: str | None = None

    def _table(self) -> Table:
        return pairs((name, getattr(self, name)) for name in self.__dataclass_fields__)

    def __repr__(self) -> str:
        return text_table(self._table())

    def _repr_html_(self) -> str:
        return html_table(self._table())


@dataclass(frozen=True)
class CatalogueEntry:
    """A model that a session knows."""

    #: The id to open it by.
    id: str
    #: The same as an ARN.
    arn: str
    #: What it is.
    description: str
    #: Whether it opens without a download.
    available: bool
    #: Where it is from: `built-in`, a path, `hf:org/name`, `script`, or `openai:` and the address and
    #: name of a remote model; empty where its record is damaged.
    source: str
    #: `chat`, `embedding` or `rerank`; None where its record is damaged.
    kind: str | None = None
    #: Bytes of its files on this machine, where they are here.
    bytes: int | None = None
    #: Bytes of memory that it needs once it is loaded, its KV cache full, where its files are here.
    memory: int | None = None
    #: Whether that is within what the machine has left, where the system tells.
    fits: bool | None = None
    #: Why its record in the home cannot be read, where it cannot: importing the model again under
    #: this id mends it.
    damaged: str | None = None


class ModelList(RecordList[CatalogueEntry]):
    """The catalogue. Shows as a table."""

    def _table(self) -> Table:
        rows = [
            (
                e.id,
                e.kind,
                e.available,
                size(e.bytes),
                size(e.memory),
                e.fits,
                e.source,
                e.damaged or e.description,
            )
            for e in self
        ]
        names = ("id", "kind", "available", "size", "memory", "fits", "source", "description")
        return names, rows
