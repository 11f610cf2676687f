"""Jobs that train a model on one's own data."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import checks
from .distillation import DistillationReport
from .errors import ModelErrorException, ValidationException
from .handle import Handle
from .progress import tqdm_class
from .tables import RecordList, Table

if TYPE_CHECKING:
    from .model import Model
    from .session import Session

#: What may be trained of a model.
METHODS = ("lora", "full")
#: What products may be computed in.
PRECISIONS = ("float32", "bfloat16")
#: How the learning rate may fall.
DECAYS = ("cosine", "linear", "constant")
#: Statuses of a job that has not ended.
AT_WORK = ("InProgress", "Stopping")
#: Seconds between two looks at a job.
LOOK = 0.2


@dataclass(frozen=True)
class TrainingStep:
    """What a step of training was."""

    #: The step's number, from 1.
    step: int
    #: The epoch that it is of, from 1.
    epoch: int
    #: Mean loss of the tokens that it learned, before it.
    loss: float
    #: The learning rate.
    learning_rate: float
    #: The norm of its gradients, before they were clipped.
    gradient_norm: float
    #: Tokens that went through the model.
    tokens: int
    #: Mean loss of the validation examples after it, where they were evaluated.
    validation_loss: float | None = None


class TrainingMetrics(RecordList[TrainingStep]):
    """The steps of a training job. Shows as a table."""

    def _table(self) -> Table:
        rows = [
            (s.step, s.epoch, f"{s.loss:.4f}", f"{s.learning_rate:.2e}", s.tokens,
             None if s.validation_loss is None else f"{s.validation_loss:.4f}")
            for s in self
        ]
        return ("step", "epoch", "loss", "learning rate", "tokens", "validation loss"), rows


class TrainingJob(Handle):
    """A job that trains a model; :meth:`Session.fine_tune` starts one.

    It goes on in the background, whoever watches it, in this process or another; after a kill, in
    the next session of its home.
    """

    def __init__(self, session: Session, status: str) -> None:
        self._session = session
        self._told: dict[str, Any] = json.loads(status)

    def _look(self) -> dict[str, Any]:
        native = self._session._handles().session
        self._told = json.loads(native.training_job(self.id, False))
        return self._told

    @property
    def id(self) -> str:
        """Its id."""
        return str(self._told["id"])

    @property
    def arn(self) -> str:
        """Its ARN."""
        return str(self._told["arn"])

    @property
    def name(self) -> str:
        """Its name, which is the model's too."""
        return str(self._told["name"])

    @property
    def status(self) -> str:
        """`InProgress`, `Completed`, `Failed`, `Stopping` or `Stopped`, now."""
        return str(self._look()["status"])

    @property
    def metrics(self) -> TrainingMetrics:
        """Its steps so far."""
        steps = self._session._handles().session.training_metrics(self.id, False)
        return TrainingMetrics(TrainingStep(**step) for step in json.loads(steps))

    @property
    def model_arn(self) -> str | None:
        """The ARN of the private custom model that it has made; None before its end."""
        arn = self._look()["model"]
        return None if arn is None else str(arn)

    @property
    def model(self) -> Model:
        """The private custom model that it has made, opened.

        Raises:
            ValidationException: It has made none, or none yet.
        """
        arn = self.model_arn
        if arn is None:
            raise ValidationException(f"job {self.name}: no model yet, it is {self._told['status']}")
        return self._session.model(arn)

    def wait(self, progress: bool = False) -> TrainingJob:
        """Waits for its end. Ctrl-C ends the waiting, not the job.

        Args:
            progress: Show a bar with the loss and the time left, where tqdm is there.

        Raises:
            ModelErrorException: It has failed; the message says why.
        """
        bar = _Bar(checks.flag("progress", progress))
        try:
            while True:
                now = self._look()
                bar.show(now)
                if now["status"] not in AT_WORK:
                    return self._ended(now)
                time.sleep(LOOK)
        finally:
            bar.close()

    async def await_end(self) -> TrainingJob:
        """The awaitable twin of :meth:`wait`."""
        import asyncio

        while True:
            now = self._look()
            if now["status"] not in AT_WORK:
                return self._ended(now)
            await asyncio.sleep(LOOK)

    def _ended(self, now: dict[str, Any]) -> TrainingJob:
        if now["status"] == "Failed":
            raise ModelErrorException(f"job {self.name}: {now['failure']}")
        return self

    @property
    def report(self) -> DistillationReport | None:
        """Of a distillation that has ended, how teacher and student compare; else None."""
        told = self._look()["report"]
        return None if told is None else DistillationReport._from(told)

    def stop(self) -> None:
        """Stops it: it ends after its step, and makes no model.

        Raises:
            ConflictException: It has ended.
        """
        self._session._handles().session.stop_training(self.id, False)

    def plot(self, ax: Any = None) -> Any:
        """Draws the losses over the steps, and gives matplotlib's axes.

        Args:
            ax: The axes to draw on. Default: new ones.

        Raises:
            ImportError: matplotlib is not there.
        """
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
        steps = self.metrics
        ax.plot([s.step for s in steps], [s.loss for s in steps], label="training")
        checked = [s for s in steps if s.validation_loss is not None]
        if checked:
            ax.plot([s.step for s in checked], [s.validation_loss for s in checked],
                    marker="o", label="validation")
        ax.set_xlabel("step")
        ax.set_ylabel("loss")
        ax.legend()
        return ax

    def __repr__(self) -> str:
        now = self._told
        return f"TrainingJob({now['name']!r}, {now['status']}, step {now['step']} of {now['steps']})"


class _Bar:
    """A tqdm bar of answers and then of steps, with the loss; nothing where tqdm is missing."""

    def __init__(self, shown: bool) -> None:
        self._class = tqdm_class() if shown else None
        self._bar: Any = None
        self._what: tuple[str, int] | None = None

    def show(self, now: dict[str, Any]) -> None:
        if self._class is None:
            return
        asks = now["prompts"] and now["answered"] < now["prompts"]
        done, total = (now["answered"], now["prompts"]) if asks else (now["step"], now["steps"])
        what = (f"answers of the {now['asked']}" if asks else "training", total)
        if not total:
            return
        if what != self._what:
            self.close()
            unit = "answer" if asks else "step"
            self._bar, self._what = self._class(total=total, initial=done, unit=unit, desc=what[0]), what
        if now["loss"] is not None and not asks:
            self._bar.set_postfix(loss=f"{now['loss']:.4f}", refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def options(given: dict[str, Any]) -> dict[str, Any]:
    """What a request says of the training; `given` are named arguments of :meth:`Session.fine_tune`."""
    lora: dict[str, Any] = {
        "rank": checks.whole("lora_rank", given["lora_rank"]),
        "alpha": checks.real("lora_alpha", given["lora_alpha"]),
        "dropout": checks.real("lora_dropout", given["lora_dropout"]),
    }
    if given["target_modules"] is not None:
        lora["target_modules"] = checks.texts("target_modules", given["target_modules"])
    training: dict[str, Any] = {
        "epochs": checks.whole("epochs", given["epochs"]),
        "batch_size": checks.whole("batch_size", given["batch_size"]),
        "learning_rate": checks.real("learning_rate", given["learning_rate"]),
        "warmup_steps": checks.integer("warmup_steps", given["warmup_steps"]),
        "decay": checks.choice("decay", given["decay"], DECAYS),
        "seed": checks.integer("seed", given["seed"]),
        "precision": checks.choice("precision", given["precision"], PRECISIONS),
    }
    patience = given["early_stopping_patience"]
    if patience is not None:
        patience = checks.whole("early_stopping_patience", patience)
        training["early_stopping"] = {"threshold": 0.0, "patience": patience}
    wanted: dict[str, Any] = {
        "name": checks.text("name", given["name"]),
        "lora": lora,
        "training": training,
    }
    if given["method"] is not None:
        wanted["method"] = checks.choice("method", given["method"], METHODS)
    if "temperature" in given:
        training["temperature"] = checks.real("temperature", given["temperature"])
    for field in ("validation", "output"):
        if given[field] is not None:
            wanted[field] = checks.place(field, given[field])
    for field in ("max_tokens", "checkpoint_every"):
        if given[field] is not None:
            wanted[field] = checks.whole(field, given[field])
    return wanted


def request(base_model: checks.Path, training_data: checks.Path, **given: Any) -> str:
    """A `FineTuneRequest` as JSON; `given` are the named arguments of :meth:`Session.fine_tune`."""
    return json.dumps({
        "base_model": checks.model_name("base_model", base_model),
        "training_data": checks.place("training_data", training_data),
        **options(given),
    })
