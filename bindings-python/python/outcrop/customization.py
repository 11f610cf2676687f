"""The part of a session that makes models of one's own data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from . import checks
from .checks import Path
from .distillation import request as distillation_request
from .tables import record
from .tokenizer import TrainedTokenizer, tokenizer_request
from .training import TrainingJob
from .training import options as training_options
from .training import request as training_request
from .twins import arguments_of, told

if TYPE_CHECKING:
    from .session import Session


class CustomizationFace:
    """Fine-tuning, distillation and tokenizers."""

    def _handles(self) -> Any:
        """What this process has open; a session's own."""
        raise NotImplementedError

    def fine_tune(
        self,
        base_model: Path,
        training_data: Path,
        name: str,
        *,
        validation: Path | None = None,
        method: str | None = None,
        precision: str = "float32",
        epochs: int = 3,
        batch_size: int = 8,
        learning_rate: float = 1e-4,
        warmup_steps: int = 0,
        decay: str = "cosine",
        lora_rank: int = 8,
        lora_alpha: float = 16.0,
        lora_dropout: float = 0.0,
        target_modules: Sequence[str] | None = None,
        early_stopping_patience: int | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.05,
        seed: int = 0,
        checkpoint_every: int | None = None,
        output: Path | None = None,
    ) -> TrainingJob:
        """Starts training a model on one's own data, in the background.

        Every line is read, and the memory is estimated, before the job starts. The same data,
        options and seed give the same weights, to the byte, also where the job was killed and
        went on.

        Args:
            base_model: The model that is trained on: an id, an ARN or a folder.
            training_data: A `.jsonl` file, a folder of them or an `s3://` URI. A line is
                `{"prompt", "completion"}`, `{"messages"}` in Converse's form, or `{"input"}`; of an
                embedding model `{"anchor", "positive"}`, with `negative`, a text or several, or
                without.
            name: The job's name, and the private model's.
            validation: Data to measure the loss on, in the same forms.
            method: `lora` trains a low-rank adapter, `full` all weights. Default: `lora`, and `full`
                of an embedding model.
            precision: What products are computed in: `float32`, or `bfloat16` with sums in F32,
                which AMX multiplies several times as fast.
            epochs: Times that all examples are seen.
            batch_size: Examples of a step.
            learning_rate: The highest learning rate.
            warmup_steps: Steps before it is reached.
            decay: How it falls then: `cosine`, `linear` or `constant`.
            lora_rank: Rank of the adapter's matrices.
            lora_alpha: The adapter's change is multiplied by `lora_alpha / lora_rank`.
            lora_dropout: Probability of dropping an element of what goes into the adapter.
            target_modules: Modules that the adapter changes. Default: all linear ones.
            early_stopping_patience: Evaluations without a better validation loss before it
                stops; the best weights are kept.
            max_tokens: The longest example. Default: 2048, or what the model takes.
            temperature: What cosines are divided by where an embedding model is trained.
            seed: Of the order of the examples, the adapter's start and what is dropped.
            checkpoint_every: Steps between checkpoints. Default: every half a minute.
            output: A folder or an `s3://` prefix for the tables of metrics.

        Raises:
            ValidationException: Bad lines, each with its number; an option that cannot be
                followed; too little memory.
            ConflictException: The name is taken.
        """
        asked = training_request(**{k: v for k, v in locals().items() if k != "self"})
        return TrainingJob(cast("Session", self), self._handles().session.fine_tune(asked, False))

    @arguments_of(fine_tune)
    async def afine_tune(self, *given: Any, **options: Any) -> TrainingJob:
        """The awaitable twin of :meth:`fine_tune`."""
        asked = training_request(**told(CustomizationFace.fine_tune, given, options))
        return TrainingJob(cast("Session", self), await self._handles().session.fine_tune(asked, True))

    def distill(
        self,
        teacher: Path,
        student: Path,
        prompts: Path | None = None,
        *,
        name: str,
        invocation_logs: Path | Mapping[str, Any] | None = None,
        validation: Path | None = None,
        max_response_tokens: int = 512,
        teacher_price: Mapping[str, float] | None = None,
        student_price: Mapping[str, float] | None = None,
        method: str = "lora",
        precision: str = "float32",
        epochs: int = 3,
        batch_size: int = 8,
        learning_rate: float = 1e-4,
        warmup_steps: int = 0,
        decay: str = "cosine",
        lora_rank: int = 8,
        lora_alpha: float = 16.0,
        lora_dropout: float = 0.0,
        target_modules: Sequence[str] | None = None,
        early_stopping_patience: int | None = None,
        max_tokens: int | None = None,
        seed: int = 0,
        checkpoint_every: int | None = None,
        output: Path | None = None,
    ) -> TrainingJob:
        """Starts training a student on a teacher's answers, in the background.

        Each answer is kept as soon as it is there: after a kill only what was not answered is asked.
        The job's `report` compares teacher and student on prompts that the student has not learned
        from.

        Args:
            teacher: The model that answers: any that chats, a registered remote one included.
            student: The model that is trained: an id, an ARN or a folder.
            prompts: A `.jsonl` file, a folder of them or an `s3://` URI. A line is `{"prompt"}` or
                `{"messages"}`; with a `completion`, or a last turn of the assistant, it tells the
                right answer, which is not learned.
            name: The job's name, and the private model's.
            invocation_logs: Where recorded calls are, or `{"uri", "use_responses", "filters"}`: with
                `use_responses` the teacher's recorded answers are learned; `filters` are Bedrock's
                `requestMetadataFilters`.
            validation: The prompts to compare on. Default: a tenth of the others, at most 200.
            max_response_tokens: Most tokens of an answer. One that this cuts off is not learned.
            teacher_price: Dollars for a million tokens: `{"input", "output"}`. Default: nothing.
            student_price: The same of the student.
            method: As of :meth:`fine_tune`, with all that follows.

        Raises:
            ValidationException: Bad lines, each with its number; an option that cannot be
                followed; too little memory.
            ConflictException: The name is taken.
        """
        given = {k: v for k, v in locals().items() if k != "self"}
        asked = distillation_request(training_options(given), **given)
        return TrainingJob(cast("Session", self), self._handles().session.distill(asked, False))

    @arguments_of(distill)
    async def adistill(self, *given: Any, **options: Any) -> TrainingJob:
        """The awaitable twin of :meth:`distill`."""
        named = told(CustomizationFace.distill, given, options)
        asked = distillation_request(training_options(named), **named)
        return TrainingJob(cast("Session", self), await self._handles().session.distill(asked, True))

    def train_tokenizer(
        self,
        training_data: Path,
        folder: Path,
        *,
        vocab_size: int = 4096,
        special_tokens: Sequence[str] | None = None,
        eos_token: str | None = None,
        chat_template: str | None = None,
        model: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> TrainedTokenizer:
        """Learns a byte-level BPE tokenizer from one's own text, and writes its folder.

        With `model`, the folder is a new Llama-shaped model of random weights, which
        :meth:`fine_tune` trains. The same text and options give the same bytes.

        Args:
            training_data: A `.txt`, `.md` or `.jsonl` file, a folder of them or an `s3://` URI. Of
                JSON lines every text but the roles is read.
            folder: The folder that it writes. Other files of it stay.
            vocab_size: Words of the vocabulary, the 256 bytes and the special tokens included.
            special_tokens: Tokens that stand for themselves. Default: ChatML's three.
            eos_token: The one of them that ends an answer. Default: the last.
            chat_template: The chat template, in Jinja. Default: ChatML where its tokens are there.
            model: Members of the new model's `config.json`: `hidden_size`, `intermediate_size`,
                `num_hidden_layers`, `num_attention_heads`, `num_key_value_heads` and others.
            seed: Of the new model's weights.

        Raises:
            ValidationException: Data that cannot be read, or an option that cannot be followed.
            ConflictException: The folder holds a model already.
        """
        asked = tokenizer_request(**{k: v for k, v in locals().items() if k != "self"})
        made = self._handles().session.train_tokenizer(asked, False)
        return record(TrainedTokenizer, json.loads(made))

    @arguments_of(train_tokenizer)
    async def atrain_tokenizer(self, *given: Any, **options: Any) -> TrainedTokenizer:
        """The awaitable twin of :meth:`train_tokenizer`."""
        asked = tokenizer_request(**told(CustomizationFace.train_tokenizer, given, options))
        made = await self._handles().session.train_tokenizer(asked, True)
        return record(TrainedTokenizer, json.loads(made))

    def training_job(self, name: str) -> TrainingJob:
        """The training job by its name, id or ARN, whichever process has started it.

        Raises:
            ResourceNotFoundException: There is none.
        """
        found = self._handles().session.training_job(checks.text("name", name), False)
        return TrainingJob(cast("Session", self), found)

    async def atraining_job(self, name: str) -> TrainingJob:
        """The awaitable twin of :meth:`training_job`."""
        found = await self._handles().session.training_job(checks.text("name", name), True)
        return TrainingJob(cast("Session", self), found)
