"""Distillation: how a teacher and the student that it taught compare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import checks
from .replies import Usage
from .tables import Table, html_table, record, text_table


@dataclass(frozen=True)
class ModelReport:
    """How one model did on the prompts held out."""

    #: The model.
    model: str
    #: Its weights; None where it is not a model of this machine's files.
    parameters: int | None
    #: Share of the prompts that it answered with the very text of the reference.
    score: float
    #: Prompts that it answered.
    answered: int
    #: Tokens a second of one answer, in the mean, 16 being made at a time; None for recorded answers.
    tokens_per_second: float | None
    #: Tokens that it read and made.
    usage: Usage
    #: Dollars that these tokens cost.
    cost: float


@dataclass(frozen=True, repr=False)
class DistillationReport:
    """Teacher, student before and student after, on prompts that the student has not learned from.
    Shows as a table.
    """

    #: Prompts that the teacher was asked to be learned from.
    prompts: int
    #: Answers that were learned.
    examples: int
    #: Why others were not: `failed`, `cut` by the limit on their tokens, `unfit`, `other_records`.
    left_out: dict[str, int]
    #: Prompts that the models are compared on.
    held_out: int
    #: What an answer is compared with: `completion`, the right answers that came with the prompts, or
    #: `teacher`, whose own score is then 1 for whatever it has answered.
    reference: str
    #: The teacher.
    teacher: ModelReport
    #: The student before its training.
    student_before: ModelReport
    #: The student after it.
    student: ModelReport

    @classmethod
    def _from(cls, told: Mapping[str, Any]) -> DistillationReport:
        def model(name: str) -> ModelReport:
            of = told[name]
            return ModelReport(**{**of, "usage": record(Usage, of["usage"])})

        models = {name: model(name) for name in ("teacher", "student_before", "student")}
        return cls(**{**told, **models})

    def _table(self) -> Table:
        rows = []
        for name in ("teacher", "student_before", "student"):
            of: ModelReport = getattr(self, name)
            speed = None if of.tokens_per_second is None else f"{of.tokens_per_second:.0f}"
            rows.append((name.replace("_", " "), of.parameters, f"{of.score:.3f}",
                         f"{of.answered} of {self.held_out}", speed, f"{of.cost:.6f}"))
        return ("model", "parameters", "score", "answered", "tokens a second", "cost"), rows

    def __repr__(self) -> str:
        return text_table(self._table())

    def _repr_html_(self) -> str:
        caption = f"{self.held_out} prompts held out, compared with the {self.reference}"
        return html_table(self._table(), caption)


#: The members of a price.
_PRICE = ("input", "output")


def price(field: str, value: Mapping[str, float]) -> dict[str, float]:
    """Dollars for a million tokens that are read, and that are made."""
    given = dict(value)
    unknown = [name for name in given if name not in _PRICE]
    if unknown:
        raise checks.wrong(field, "input and output", unknown[0])
    return {name: checks.real(f"{field}.{name}", of) for name, of in given.items()}


def logs(field: str, value: Any) -> dict[str, Any]:
    """Where recorded calls are: a place, or an object with it."""
    if isinstance(value, Mapping):
        given: dict[str, Any] = json.loads(checks.encode(field, dict(value)))
        return {**given, "uri": checks.place(f"{field}.uri", given.get("uri"))}
    return {"uri": checks.place(field, value)}


def request(training: dict[str, Any], **given: Any) -> str:
    """A `DistillRequest` as JSON; `given` are the named arguments of :meth:`Session.distill`."""
    wanted: dict[str, Any] = {
        "teacher": checks.model_name("teacher", given["teacher"]),
        "student": checks.model_name("student", given["student"]),
        "max_response_tokens": checks.whole("max_response_tokens", given["max_response_tokens"]),
        **training,
    }
    if given["prompts"] is not None:
        wanted["prompts"] = checks.place("prompts", given["prompts"])
    if given["invocation_logs"] is not None:
        wanted["invocation_logs"] = logs("invocation_logs", given["invocation_logs"])
    for field in ("teacher_price", "student_price"):
        if given[field] is not None:
            wanted[field] = price(field, given[field])
    return json.dumps(wanted)
