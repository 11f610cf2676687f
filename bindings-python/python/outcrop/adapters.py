"""LoRA adapters beside a model."""

from __future__ import annotations

from dataclasses import dataclass

from .tables import RecordList, Table, size


@dataclass(frozen=True)
class AdapterInfo:
    """What is known of a loaded LoRA adapter."""

    #: The name that requests call it by.
    name: str
    #: The projections that it changes in some layer, such as `self_attn.q_proj`.
    modules: list[str]
    #: The ranks of its matrices, ascending.
    ranks: list[int]
    #: Bytes of its matrices in memory.
    bytes: int


class AdapterList(RecordList[AdapterInfo]):
    """The loaded adapters of a model, by name. Shows as a table."""

    def _table(self) -> Table:
        rows = [
            (e.name, ", ".join(map(str, e.ranks)), size(e.bytes), ", ".join(e.modules))
            for e in self
        ]
        return ("name", "ranks", "size", "modules"), rows
