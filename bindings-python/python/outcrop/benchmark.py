"""How fast a model is on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from .tables import RecordList, Table


@dataclass(frozen=True)
class Measurement:
    """One thing that was measured."""

    #: The model's id.
    model: str
    #: `load`, `prefill`, `decode`, `embed` or `rerank`.
    measure: str
    #: The median of the runs.
    value: float
    #: What the value is in: `seconds`, `tokens/s` or `texts/s`.
    unit: str
    #: Sequences or texts at once.
    sequences: int
    #: Tokens that stood in each sequence before what was timed.
    context: int
    #: Tokens of each sequence or text in what was timed.
    tokens: int
    #: The value of each run.
    runs: list[float]


class Benchmark(RecordList[Measurement]):
    """The measurements of a model. Shows as a table."""

    def _table(self) -> Table:
        rows = [
            (e.measure, e.sequences, e.context, e.tokens, f"{e.value:,.4g}", e.unit) for e in self
        ]
        return ("measure", "at once", "context", "tokens", "median", "unit"), rows
