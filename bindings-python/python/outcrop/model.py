"""Models that chat, continue, embed and rerank."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

from . import checks, requests
from .chat_messages import Messages
from .handle import Handle
from .model_info import ModelInfo
from .replies import Completion, Reply
from .stream import Stream
from .tables import record

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    from . import _native
    from .session import Session

Tools = Optional[Sequence[Mapping[str, Any]]]
ToolChoice = Union[str, Mapping[str, Any], None]
Stop = Union[str, Sequence[str], None]


class Model(Handle):
    """A loaded model; :meth:`Session.model` gives it.

    Calls from several threads and tasks share one continuous batch, and each gives the same bytes
    as it would alone. A method that the model is not made for raises a `ValidationException`.
    """

    def __init__(self, session: Session, name: str, native: _native.Model) -> None:
        self._session = session
        self._name = name
        self._info = record(ModelInfo, json.loads(native.info()))
        if self._info.kind != "chat":
            # What embeds will need it: better imported here than at the first of many threads.
            import numpy  # noqa: F401

    @property
    def _native(self) -> _native.Model:
        return self._session._native_model(self._name)

    @property
    def id(self) -> str:
        """The id that it was opened by."""
        return self._info.id

    @property
    def info(self) -> ModelInfo:
        """Architecture, parameters, quantisation, context length, device, bytes."""
        return self._info

    def converse(
        self,
        messages: Messages,
        system: str | None = None,
        max_tokens: int | None = 512,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        stop: Stop = None,
        seed: int | None = None,
        tools: Tools = None,
        tool_choice: ToolChoice = None,
        response_schema: Mapping[str, Any] | None = None,
        reasoning: bool | None = None,
        *,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        template_variables: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Answers a conversation.

        Args:
            messages: A str, or Converse messages: dicts of `role`, `"user"` or `"assistant"`, and
                `content`, a str or a list of content blocks. Messages of chat completions (a first
                `system` message, `tool_calls`, role `tool`) are taken too.
            system: Instructions that stand before the conversation.
            max_tokens: Most tokens to generate. The prompt and they must fit the context.
            temperature: Softmax temperature, at least 0. Default 0: the most likely token.
            top_p: Nucleus sampling, in (0, 1]. Default 1.
            top_k: Only the k most likely tokens. Default: all.
            stop: Texts that end the reply; they are not part of it. At most 16.
            seed: Seed of the sampler. Default 0. The same input and seed give the same reply.
            tools: Tools that the model may ask for: Converse's `toolSpec` dicts, dicts of `name`,
                `description` and `input_schema`, or function schemas.
            tool_choice: `"auto"`, `"any"`, a tool's name, or Converse's form.
            response_schema: A JSON schema that the reply must follow.
            reasoning: Sets the chat template's `enable_thinking`. None leaves its default.
            min_p: Only tokens at least this fraction as likely as the likeliest, in [0, 1].
            repetition_penalty: Divides positive logits of tokens that occurred, multiplies negative
                ones; above 0. Default 1.
            template_variables: Further variables of the chat template, such as `date_string`.

        Raises:
            ValidationException: An argument is wrong, the prompt is longer than the context, or the
                model does not chat.
            ThrottlingException: The engine's queue is full.
        """
        request = requests.converse_request(**_without_self(locals()))
        return Reply._from(json.loads(self._native.converse(request, False)), self.id)

    async def aconverse(
        self,
        messages: Messages,
        system: str | None = None,
        max_tokens: int | None = 512,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        stop: Stop = None,
        seed: int | None = None,
        tools: Tools = None,
        tool_choice: ToolChoice = None,
        response_schema: Mapping[str, Any] | None = None,
        reasoning: bool | None = None,
        *,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        template_variables: Mapping[str, Any] | None = None,
    ) -> Reply:
        """The awaitable twin of :meth:`converse`. Cancelling the task stops the engine."""
        request = requests.converse_request(**_without_self(locals()))
        return Reply._from(json.loads(await self._native.converse(request, True)), self.id)

    def stream(
        self,
        messages: Messages,
        system: str | None = None,
        max_tokens: int | None = 512,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        stop: Stop = None,
        seed: int | None = None,
        tools: Tools = None,
        tool_choice: ToolChoice = None,
        response_schema: Mapping[str, Any] | None = None,
        reasoning: bool | None = None,
        *,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        template_variables: Mapping[str, Any] | None = None,
    ) -> Stream:
        """Answers a conversation as it is being written: `for delta in model.stream(...)`.

        The arguments and the errors are those of :meth:`converse`; a request that cannot be served
        raises here, before the first delta. :attr:`Stream.reply` is the whole reply at the end.
        """
        request = requests.converse_request(**_without_self(locals()))
        stream = Stream(self._native.stream(request), self.id)
        stream._fetch()
        return stream

    def astream(
        self,
        messages: Messages,
        system: str | None = None,
        max_tokens: int | None = 512,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        stop: Stop = None,
        seed: int | None = None,
        tools: Tools = None,
        tool_choice: ToolChoice = None,
        response_schema: Mapping[str, Any] | None = None,
        reasoning: bool | None = None,
        *,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        template_variables: Mapping[str, Any] | None = None,
    ) -> Stream:
        """The asyncio twin of :meth:`stream`: `async for delta in model.astream(...)`.

        `await model.astream(...)` gives the stream once it has begun. Cancelling the task that
        reads it stops the engine.
        """
        request = requests.converse_request(**_without_self(locals()))
        return Stream(self._native.stream(request), self.id)

    def generate(
        self,
        prompt: str | Iterable[int],
        max_tokens: int | None = 512,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        stop: Stop = None,
        seed: int | None = None,
        *,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
    ) -> Completion:
        """Continues a prompt, without a chat template.

        Args:
            prompt: A text, to which the tokenizer's special tokens are added, or token ids, which
                are taken as they are.

        The other arguments and the errors are those of :meth:`converse`.
        """
        request = requests.generate_request(**_without_self(locals()))
        return Completion._from(json.loads(self._native.generate(request, False)))

    async def agenerate(
        self,
        prompt: str | Iterable[int],
        max_tokens: int | None = 512,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        stop: Stop = None,
        seed: int | None = None,
        *,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
    ) -> Completion:
        """The awaitable twin of :meth:`generate`. Cancelling the task stops the engine."""
        request = requests.generate_request(**_without_self(locals()))
        return Completion._from(json.loads(await self._native.generate(request, True)))

    def embed(
        self, texts: str | Iterable[str], normalize: bool = True, truncate: bool = False
    ) -> NDArray[float32]:
        """Vectors of texts: a numpy array (texts, dimensions), one row a text, in order.

        A row is the same, bit for bit, whatever texts stand beside it. The array owns the engine's
        buffer; nothing is copied.

        Args:
            texts: The texts; one str stands for a list of one.
            normalize: Scale each vector to length 1.
            truncate: Cut a text that is longer than the model reads, keeping its beginning.

        Raises:
            ValidationException: A text is longer than the model reads and `truncate` is False, or
                the model does not embed.
        """
        values = checks.texts("texts", texts)
        flags = checks.flag("normalize", normalize), checks.flag("truncate", truncate)
        return self._native.embed(values, *flags, False)

    async def aembed(
        self, texts: str | Iterable[str], normalize: bool = True, truncate: bool = False
    ) -> NDArray[float32]:
        """The awaitable twin of :meth:`embed`."""
        values = checks.texts("texts", texts)
        flags = checks.flag("normalize", normalize), checks.flag("truncate", truncate)
        return await self._native.embed(values, *flags, True)

    def rerank(self, query: str, texts: Iterable[str]) -> NDArray[float32]:
        """Scores of texts for a query: a numpy array (texts,), higher is more relevant.

        The scores are the model's raw output.

        Raises:
            ValidationException: Query and text together are longer than the model reads, or the
                model does not rerank.
        """
        query, values = checks.text("query", query), checks.texts("texts", texts)
        return self._native.rerank(query, values, False)

    async def arerank(self, query: str, texts: Iterable[str]) -> NDArray[float32]:
        """The awaitable twin of :meth:`rerank`."""
        query, values = checks.text("query", query), checks.texts("texts", texts)
        return await self._native.rerank(query, values, True)

    def logits(self, ids: Iterable[int]) -> NDArray[float32]:
        """Logits after each of the token ids: a numpy array (ids, vocabulary)."""
        return self._native.logits(checks.ids("ids", ids), False)

    async def alogits(self, ids: Iterable[int]) -> NDArray[float32]:
        """The awaitable twin of :meth:`logits`."""
        return await self._native.logits(checks.ids("ids", ids), True)

    def tokenize(self, text: str, add_special: bool = True) -> list[int]:
        """The token ids of a text; `add_special` adds what the model expects around it."""
        special = checks.flag("add_special", add_special)
        return self._native.tokenize(checks.text("text", text), special)

    def detokenize(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of token ids; `skip_special` leaves special tokens out."""
        skip = checks.flag("skip_special", skip_special)
        return self._native.detokenize(checks.ids("ids", ids), skip)

    def chat_prompt(
        self,
        messages: Messages,
        system: str | None = None,
        tools: Tools = None,
        *,
        reasoning: bool | None = None,
        template_variables: Mapping[str, Any] | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        """The prompt that a conversation becomes, by the model's chat template."""
        request = requests.converse_request(
            messages,
            system,
            tools,
            reasoning=reasoning,
            template_variables=template_variables,
        )
        generation = checks.flag("add_generation_prompt", add_generation_prompt)
        return self._native.chat_prompt(request, generation)

    def __repr__(self) -> str:
        info = self._info
        return f"<outcrop.Model {info.id}: {info.architecture}, {info.kind}, {info.device}>"

    def _repr_html_(self) -> str:
        return self._info._repr_html_()


def _without_self(arguments_of_call: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in arguments_of_call.items() if name != "self"}
