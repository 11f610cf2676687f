"""Models that chat, continue, embed and rerank."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import checks, requests
from .adapters import AdapterInfo, AdapterList
from .benchmark import Benchmark, Measurement
from .chat_messages import Messages
from .checks import Path
from .handle import Handle
from .model_info import ModelInfo
from .perplexity import Perplexity
from .prefix import Prefix
from .replies import Completion, Reply
from .requests import Quote, Request, Schema, Stop, ToolChoice, Tools
from .statistics import EngineStatistics
from .stream import Stream
from .tables import record
from .telemetry import ModelSpan
from .twins import arguments_of

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    from . import _native
    from .session import Session


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
        response_schema: Schema = None,
        reasoning: bool | None = None,
        *,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        template_variables: Mapping[str, Any] | None = None,
        regex: str | re.Pattern[str] | None = None,
        lark: str | None = None,
        quote: Quote = None,
        adapter: str | None = None,
        logprobs: int | None = None,
        speculation: str | None = None,
        caller: str | None = None,
        priority: int | None = None,
        deadline: float | None = None,
        request_metadata: Mapping[str, str] | None = None,
    ) -> Reply:
        """Answers a conversation.

        At most one of `response_schema`, `regex`, `lark` and `quote` may be given: what every
        reply must look like. The model cannot leave it; a reply that `max_tokens` cuts off says so
        in :attr:`Reply.stop_reason`.

        Args:
            messages: A str, or Converse messages: dicts of `role`, `"user"` or `"assistant"`, and
                `content`, a str or a list of content blocks. Messages of chat completions (a first
                `system` message, `tool_calls`, role `tool`) are taken too.
            system: Instructions that stand before the conversation.
            max_tokens: Most tokens to generate. The prompt and they must fit the context. None:
                512, or as many as still fit.
            temperature: Softmax temperature, at least 0. Default 0: the most likely token.
            top_p: Nucleus sampling, in (0, 1]. Default 1.
            top_k: Only the k most likely tokens. Default: all.
            stop: Texts that end the reply; they are not part of it. At most 16.
            seed: Seed of the sampler. Default 0. The same input and seed give the same reply.
            tools: Tools that the model may ask for: Converse's `toolSpec` dicts, dicts of `name`,
                `description` and `input_schema`, or function schemas.
            tool_choice: `"auto"`, `"any"`, a tool's name, or Converse's form.
            response_schema: A JSON schema (draft 2020-12), a dataclass or a pydantic model class:
                the reply is JSON that it accepts, and :attr:`Reply.parsed` its value.
            reasoning: Sets the chat template's `enable_thinking`. None leaves its default.
            min_p: Only tokens at least this fraction as likely as the likeliest, in [0, 1].
            repetition_penalty: Divides positive logits of tokens that occurred, multiplies negative
                ones; above 0. Default 1.
            template_variables: Further variables of the chat template, such as `date_string`.
            regex: A regular expression that matches the whole reply, without look-around and back
                references; `\\d` and `\\w` are Unicode's. A compiled pattern without flags is
                taken too.
            lark: A Lark grammar; the reply is of its rule `start`.
            quote: Texts; the reply is one verbatim span of one of them.
            adapter: Name of a loaded LoRA adapter (:meth:`load_adapter`). Default: the base model.
            logprobs: Log-probabilities of each generated token and of so many of the likeliest
                ones beside it, 0 to 20: :attr:`Reply.logprobs`. Default: none.
            speculation: How tokens are guessed ahead: `"off"`, `"prompt_lookup"` or `"draft"`. It
                changes the speed, never the reply. `"draft"` needs a model that was opened with a
                draft model. Default: as the model was opened.
            caller: Who asks; callers take turns, however many requests each has waiting.
            priority: Higher runs first. Default 0.
            deadline: Seconds from the call after which it raises a `ModelTimeoutException`.
                Default: none.
            request_metadata: Tags of your own, texts by name, for records and for scripted models;
                no other model sees them.

        Raises:
            ValidationException: An argument is wrong, the prompt is longer than the context, or the
                model does not chat.
            ThrottlingException: The engine's queue is full.
            ModelTimeoutException: The `deadline` passed.
        """
        request = requests.converse_request(**_without_self(locals()))
        with ModelSpan("chat", self._name, request.json) as span:
            value = json.loads(self._native.converse(request.json, False))
            span.replied(value)
        return self._replied(request, value)

    @arguments_of(converse)
    async def aconverse(self, *args: Any, **options: Any) -> Reply:
        """The awaitable twin of :meth:`converse`. Cancelling the task stops the engine."""
        request = requests.converse_request(*args, **options)
        with ModelSpan("chat", self._name, request.json) as span:
            value = json.loads(await self._native.converse(request.json, True))
            span.replied(value)
        return self._replied(request, value)

    @arguments_of(converse)
    def stream(self, *args: Any, **options: Any) -> Stream[Reply]:
        """Answers a conversation as it is being written: `for delta in model.stream(...)`.

        The arguments and the errors are those of :meth:`converse`; a request that cannot be served
        raises here, before the first delta. :attr:`Stream.reply` is the whole reply at the end.
        """
        stream = self.astream(*args, **options)
        stream._fetch()
        return stream

    @arguments_of(converse)
    def astream(self, *args: Any, **options: Any) -> Stream[Reply]:
        """The asyncio twin of :meth:`stream`: `async for delta in model.astream(...)`.

        `await model.astream(...)` gives the stream once it has begun. Cancelling the task that
        reads it stops the engine.
        """
        request = requests.converse_request(*args, **options)
        span = ModelSpan("chat", self._name, request.json)
        with span.open():
            events = self._native.stream(request.json)
        return Stream(events, self.id, lambda value: self._replied(request, value), span)

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
        response_schema: Schema = None,
        regex: str | re.Pattern[str] | None = None,
        lark: str | None = None,
        quote: Quote = None,
        adapter: str | None = None,
        logprobs: int | None = None,
        speculation: str | None = None,
        caller: str | None = None,
        priority: int | None = None,
        deadline: float | None = None,
    ) -> Completion:
        """Continues a prompt, without a chat template.

        Args:
            prompt: A text, to which the tokenizer's special tokens are added, or token ids, which
                are taken as they are.

        The other arguments and the errors are those of :meth:`converse`.
        """
        request = requests.generate_request(**_without_self(locals()))
        with ModelSpan("text_completion", self._name, request.json) as span:
            value = json.loads(self._native.generate(request.json, False))
            span.replied(value)
        return self._completed(request, value)

    @arguments_of(generate)
    async def agenerate(self, *args: Any, **options: Any) -> Completion:
        """The awaitable twin of :meth:`generate`. Cancelling the task stops the engine."""
        request = requests.generate_request(*args, **options)
        with ModelSpan("text_completion", self._name, request.json) as span:
            value = json.loads(await self._native.generate(request.json, True))
            span.replied(value)
        return self._completed(request, value)

    @arguments_of(generate)
    def generate_stream(self, *args: Any, **options: Any) -> Stream[Completion]:
        """Continues a prompt as it is being written, as :meth:`stream` does with a conversation.

        :attr:`Stream.reply` is the whole :class:`Completion` at the end.
        """
        stream = self.agenerate_stream(*args, **options)
        stream._fetch()
        return stream

    @arguments_of(generate)
    def agenerate_stream(self, *args: Any, **options: Any) -> Stream[Completion]:
        """The asyncio twin of :meth:`generate_stream`."""
        request = requests.generate_request(*args, **options)
        span = ModelSpan("text_completion", self._name, request.json)
        with span.open():
            events = self._native.generate_stream(request.json)
        return Stream(events, self.id, lambda value: self._completed(request, value), span)

    def _replied(self, request: Request, value: Mapping[str, Any]) -> Reply:
        return Reply._from(value, self.id, self._texts, request.parser)

    def _completed(self, request: Request, value: Mapping[str, Any]) -> Completion:
        return Completion._from(value, self._texts, request.parser)

    def _texts(self, ids: list[int]) -> list[str]:
        return self._native.token_texts(ids)

    def embed(
        self,
        texts: str | Iterable[str],
        normalize: bool = True,
        truncate: bool = False,
        *,
        prompt: str | None = None,
    ) -> NDArray[float32]:
        """Vectors of texts: a numpy array (texts, dimensions), one row a text, in order.

        A row is the same, bit for bit, whatever texts stand beside it. The array owns the engine's
        buffer; nothing is copied.

        Args:
            texts: The texts; one str stands for a list of one.
            normalize: Scale each vector to length 1.
            truncate: Cut a text that is longer than the model reads, keeping its beginning.
            prompt: Which of the model's own prompts (instructions, prefixes) goes before each
                text: `"query"` for texts that look for others, `"document"` for texts that are
                looked for, or another that the model has. Default: the model's default, which most
                do not have.

        Raises:
            ValidationException: A text is longer than the model reads and `truncate` is False, the
                model has no such prompt, or it does not embed.
        """
        values, options = _embed_request(texts, normalize, truncate, prompt=prompt)
        return self._native.embed(values, options, False)

    @arguments_of(embed)
    async def aembed(self, *args: Any, **options: Any) -> NDArray[float32]:
        """The awaitable twin of :meth:`embed`."""
        return await self._native.embed(*_embed_request(*args, **options), True)

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

    def logits(self, ids: Iterable[int], *, adapter: str | None = None) -> NDArray[float32]:
        """Logits after each of the token ids: a numpy array (ids, vocabulary).

        Args:
            ids: Token ids, at most as many as the context holds.
            adapter: Name of a loaded LoRA adapter. Default: the base model.
        """
        return self._native.logits(checks.ids("ids", ids), _adapter(adapter), False)

    async def alogits(self, ids: Iterable[int], *, adapter: str | None = None) -> NDArray[float32]:
        """The awaitable twin of :meth:`logits`."""
        return await self._native.logits(checks.ids("ids", ids), _adapter(adapter), True)

    def score(
        self,
        prompt: str | Iterable[int],
        continuation: str | Iterable[int],
        *,
        adapter: str | None = None,
    ) -> NDArray[float32]:
        """Log-probabilities (natural) of the tokens of a continuation: a numpy array (tokens,).

        Each is of a token after the prompt and the continuation's tokens before it, by the model's
        own softmax; their sum is that of the whole continuation.

        Args:
            prompt: What stands before: a text, to which the tokenizer's special tokens are added,
                or token ids.
            continuation: What is scored. Two texts are tokenised as one, so that a token may hold
                the end of the prompt and the start of the continuation.
            adapter: Name of a loaded LoRA adapter. Default: the base model.

        Raises:
            ValidationException: Prompt or continuation have no tokens, both are longer than the
                context, or the model is no language model.
        """
        return self._native.score(*_score_request(prompt, continuation, adapter=adapter), False)

    @arguments_of(score)
    async def ascore(self, *args: Any, **options: Any) -> NDArray[float32]:
        """The awaitable twin of :meth:`score`."""
        return await self._native.score(*_score_request(*args, **options), True)

    def perplexity(
        self,
        texts: str | Iterable[str],
        *,
        window: int | None = None,
        stride: int | None = None,
        adapter: str | None = None,
    ) -> Perplexity:
        """How well the model predicts texts, each and together. Shows as a table.

        Args:
            texts: The texts, each of two tokens or more; one str stands for a list of one.
            window: Most tokens that the model sees to predict one, that token included; 2 to the
                context's length. Default: the context's length.
            stride: Tokens by which the window moves on over a text that is longer than it, 1 to
                `window`. Default: such a text is refused.
            adapter: Name of a loaded LoRA adapter. Default: the base model.

        Raises:
            ValidationException: There are no texts, one has fewer than two tokens or is longer than
                the window and `stride` is None, or the model is no language model.
        """
        values, options = _perplexity_request(texts, window, stride, adapter)
        return Perplexity._from(json.loads(self._native.perplexity(values, options, False)), values)

    @arguments_of(perplexity)
    async def aperplexity(self, texts: str | Iterable[str], **options: Any) -> Perplexity:
        """The awaitable twin of :meth:`perplexity`."""
        values, given = _perplexity_request(texts, **options)
        value = await self._native.perplexity(values, given, True)
        return Perplexity._from(json.loads(value), values)

    @property
    def adapters(self) -> AdapterList:
        """The loaded LoRA adapters, by name. Shows as a table."""
        return AdapterList(AdapterInfo(**entry) for entry in json.loads(self._native.adapters()))

    @property
    def stats(self) -> EngineStatistics:
        """What the engine of a language model is doing, and what it counted. Shows as a table."""
        return record(EngineStatistics, json.loads(self._native.stats()))

    def prefix(self, prompt: str | Iterable[int]) -> Prefix:
        """Computes the keys and values of a prompt's beginning and holds them in the cache.

        Prompts of the base model that begin with the same tokens start behind them, until the
        prefix is released. Known prefixes are found without it too; holding one keeps others from
        driving it out. The KV budget bounds all that is held.

        Args:
            prompt: A text, with the special tokens that the tokenizer adds, or token ids. For
                conversations: `tokenize(chat_prompt(…), add_special=False)`.

        Raises:
            ValidationException: The prompt is empty or does not fit the context.
            ServiceQuotaExceededException: The KV budget has no room for it.
        """
        return Prefix(self._native.prefix(requests.prompt_json("prompt", prompt), False))

    async def aprefix(self, prompt: str | Iterable[int]) -> Prefix:
        """The awaitable twin of :meth:`prefix`."""
        return Prefix(await self._native.prefix(requests.prompt_json("prompt", prompt), True))

    def load_prefix(self, path: Path) -> Prefix:
        """Holds the prefix that :meth:`Prefix.save` wrote to `path`, without computing it.

        Raises:
            ResourceNotFoundException: There is no such file.
            ConflictException: It is of another model or another `kv_dtype`; the message names both.
            InternalServerException: The file is damaged.
            ServiceQuotaExceededException: The KV budget has no room for it.
        """
        return Prefix(self._native.load_prefix(checks.folder("path", path), False))

    async def aload_prefix(self, path: Path) -> Prefix:
        """The awaitable twin of :meth:`load_prefix`."""
        return Prefix(await self._native.load_prefix(checks.folder("path", path), True))

    def load_adapter(self, name: str, path: Path) -> AdapterInfo:
        """Loads a PEFT LoRA adapter beside the model, which it leaves as it is.

        Requests choose it by `adapter=name`; those of several adapters share a batch.

        Args:
            name: What requests call it by. An adapter of that name is replaced for requests to
                come; running ones keep theirs.
            path: PEFT's folder: `adapter_config.json` and `adapter_model.safetensors`.

        Raises:
            ResourceNotFoundException: Nothing is at `path`.
            ModelErrorException: Its files are damaged, not supported, or do not fit this model.
            ValidationException: The model is no language model.
        """
        name, folder = checks.text("name", name), checks.folder("path", path)
        info = self._native.load_adapter(name, folder, False)
        return self._adapter_loaded(name, folder, info)

    async def aload_adapter(self, name: str, path: Path) -> AdapterInfo:
        """The awaitable twin of :meth:`load_adapter`."""
        name, folder = checks.text("name", name), checks.folder("path", path)
        info = await self._native.load_adapter(name, folder, True)
        return self._adapter_loaded(name, folder, info)

    def _adapter_loaded(self, name: str, folder: str, info: str) -> AdapterInfo:
        self._session._adapters.setdefault(self._name, {})[name] = folder
        return AdapterInfo(**json.loads(info))

    def unload_adapter(self, name: str) -> None:
        """Lets go of an adapter; requests that run with it end with it.

        Raises:
            ResourceNotFoundException: None is loaded by that name.
        """
        self._native.unload_adapter(checks.text("name", name))
        self._session._adapters.get(self._name, {}).pop(name, None)

    def bench(self) -> Benchmark:
        """Measures how fast the model is on this machine. Shows as a table; it takes a while.

        Of a language model: tokens a second of reading a prompt of 512, of decoding after a prompt
        of 128, and of 8 sequences decoding at once; of another, texts a second at 32, 128 and 256
        tokens; of both, how long it took to load. Each is the median of three runs, without
        speculation. A context that is shorter bounds them; each measurement says its tokens.
        """
        return Benchmark(Measurement(**entry) for entry in json.loads(self._native.bench(False)))

    async def abench(self) -> Benchmark:
        """The awaitable twin of :meth:`bench`."""
        found = json.loads(await self._native.bench(True))
        return Benchmark(Measurement(**entry) for entry in found)

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
        request = requests.prompt_request(messages, system, tools, reasoning, template_variables)
        generation = checks.flag("add_generation_prompt", add_generation_prompt)
        return self._native.chat_prompt(request, generation)

    def __repr__(self) -> str:
        info = self._info
        return f"<outcrop.Model {info.id}: {info.architecture}, {info.kind}, {info.device}>"

    def _repr_html_(self) -> str:
        return self._info._repr_html_()


def _embed_request(
    texts: str | Iterable[str],
    normalize: bool = True,
    truncate: bool = False,
    *,
    prompt: str | None = None,
) -> tuple[list[str], str]:
    options: dict[str, Any] = {
        "normalize": checks.flag("normalize", normalize),
        "truncate": checks.flag("truncate", truncate),
    }
    if prompt is not None:
        options["prompt"] = checks.text("prompt", prompt)
    return checks.texts("texts", texts), json.dumps(options)


def _adapter(name: str | None) -> str | None:
    return None if name is None else checks.text("adapter", name)


def _score_request(
    prompt: str | Iterable[int],
    continuation: str | Iterable[int],
    *,
    adapter: str | None = None,
) -> tuple[str, str, str | None]:
    before = requests.prompt_json("prompt", prompt)
    return before, requests.prompt_json("continuation", continuation), _adapter(adapter)


def _perplexity_request(
    texts: str | Iterable[str],
    window: int | None = None,
    stride: int | None = None,
    adapter: str | None = None,
) -> tuple[list[str], str]:
    options: dict[str, Any] = {}
    if window is not None:
        options["window"] = checks.integer("window", window)
    if stride is not None:
        options["stride"] = checks.integer("stride", stride)
    if adapter is not None:
        options["adapter"] = checks.text("adapter", adapter)
    return checks.texts("texts", texts), json.dumps(options)


def _without_self(arguments_of_call: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in arguments_of_call.items() if name != "self"}
