"""Agents: models that call functions, look things up and ask before they act."""

from __future__ import annotations

import concurrent.futures
import inspect
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Union

from . import checks
from .agent_requests import (
    failed,
    memory_names,
    memory_settings,
    returned,
    rule_of,
    sessions,
)
from .agent_result import AgentResult, MemorySession, PendingCall
from .agent_trace import TraceEvent
from .errors import ValidationException
from .handle import Handle
from .telemetry import TurnSpans, turn_spans
from .tools import ActionGroup, Collaborator, Tool

if TYPE_CHECKING:
    from . import _native
    from .session import Session

Pending = Union[PendingCall, Iterable[PendingCall]]
#: What a stream gives: a part of what the model says, a step of the trace, and at last the result.
AgentEvent = Union[str, TraceEvent, AgentResult]


class Agent(Handle):
    """A model that works in turns; :meth:`Session.create_agent` makes one.

    It calls the functions of its action groups and no others, looks things up in its knowledge
    bases, and asks for approval where it must. Every step is recorded in the session's home before
    the next: a turn whose process is gone goes on with :meth:`resume`, and no function that may
    have run is run again.
    """

    def __init__(
        self, session: Session, id: str, name: str, tools: Mapping[str, Tool] | None
    ) -> None:
        self._session = session
        self._id = id
        self._name = name
        self._tools = tools

    @property
    def _native(self) -> _native.Agent:
        return self._session._native_agent(self._id)

    @property
    def id(self) -> str:
        """Its id."""
        return self._id

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def info(self) -> dict[str, Any]:
        """Its ARN, its model, its instruction, its action groups, its limits."""
        return dict(json.loads(self._native.info(False)))

    def invoke(
        self,
        input: str = "",
        session_id: str | None = None,
        *,
        session_attributes: Mapping[str, str] | None = None,
        prompt_session_attributes: Mapping[str, str] | None = None,
        memory_id: str | None = None,
        end_session: bool = False,
    ) -> AgentResult:
        """Runs one turn: until the agent answers, or waits for an approval or a result.

        Args:
            input: What the user says.
            session_id: The conversation that it belongs to, which is made where there is none.
                Default: a fresh one.
            session_attributes: Facts about the session, for tools and policies. They stay for
                later turns.
            prompt_session_attributes: Facts about this turn, which the model is told.
            memory_id: The memory that the session reads when it begins and that keeps its summary
                when it ends. Default: none, or the one that the session began with.
            end_session: Whether the session ends with the turn, unless the turn is paused; at once
                without `input`, which stops a turn that is paused. Where the session has a memory,
                the agent's model sums up what it held; a failure of that stands in
                :attr:`AgentResult.summary_failure`, and it is tried again with the next call that
                asks about the memory.

        Raises:
            ValidationException: An empty input, a session id of the wrong form, or a memory id
                where the agent has no memory.
            ConflictException: The session's last turn has not ended, is under way elsewhere, or
                began with another memory.
        """
        request = self._request(locals())
        return self._result(self._native.invoke(request, False))

    async def ainvoke(
        self,
        input: str = "",
        session_id: str | None = None,
        *,
        session_attributes: Mapping[str, str] | None = None,
        prompt_session_attributes: Mapping[str, str] | None = None,
        memory_id: str | None = None,
        end_session: bool = False,
    ) -> AgentResult:
        """The awaitable twin of :meth:`invoke`."""
        request = self._request(locals())
        return await self._aresult(await self._native.invoke(request, True))

    def stream(
        self,
        input: str = "",
        session_id: str | None = None,
        *,
        session_attributes: Mapping[str, str] | None = None,
        prompt_session_attributes: Mapping[str, str] | None = None,
        memory_id: str | None = None,
        end_session: bool = False,
    ) -> Iterator[AgentEvent]:
        """:meth:`invoke`, told as it happens.

        Gives `str` for parts of what the model says, :class:`TraceEvent` for steps, and at last
        the :class:`AgentResult`. Leaving the loop stops the turn, which :meth:`resume` goes on
        with.
        """
        request = self._request(locals())
        return self._events(self._native.invoke(request, False))

    async def astream(
        self,
        input: str = "",
        session_id: str | None = None,
        *,
        session_attributes: Mapping[str, str] | None = None,
        prompt_session_attributes: Mapping[str, str] | None = None,
        memory_id: str | None = None,
        end_session: bool = False,
    ) -> AsyncIterator[AgentEvent]:
        """The async twin of :meth:`stream`: an async iterator."""
        request = self._request(locals())
        async for event in self._aevents(await self._native.invoke(request, True)):
            yield event

    def resume(
        self,
        pending: Pending | str,
        approve: bool | None = None,
        *,
        reason: str = "",
        results: Mapping[str, Any] | None = None,
    ) -> AgentResult:
        """Goes on with a turn that is paused, or whose process is gone: from any process.

        Args:
            pending: What :attr:`AgentResult.pending` gave, or some of it; or the session's id, to
                go on with a turn that waits for nobody.
            approve: Whether the calls that wait for an approval may be made.
            reason: Why not, for the model.
            results: What the calls gave that were made outside, by their ids.

        Raises:
            ResourceNotFoundException: The session has no turn.
            ConflictException: The turn has ended, is under way elsewhere, or does not wait for
                this.
        """
        request = _resume_request(pending, approve, reason, results)
        return self._result(self._native.resume(request, False))

    async def aresume(
        self,
        pending: Pending | str,
        approve: bool | None = None,
        *,
        reason: str = "",
        results: Mapping[str, Any] | None = None,
    ) -> AgentResult:
        """The awaitable twin of :meth:`resume`."""
        request = _resume_request(pending, approve, reason, results)
        return await self._aresult(await self._native.resume(request, True))

    def stop(self, session_id: str, reason: str = "stopped by its caller") -> AgentResult:
        """Ends a turn that is paused, or whose process is gone.

        What that process had begun and not ended is told as unknown.

        Raises:
            ResourceNotFoundException: The session has no turn.
            ConflictException: The turn has ended, or is under way elsewhere.
        """
        name, why = checks.text("session_id", session_id), checks.text("reason", reason)
        return self._result(self._native.stop(name, why, False))

    async def astop(self, session_id: str, reason: str = "stopped by its caller") -> AgentResult:
        """The awaitable twin of :meth:`stop`."""
        name, why = checks.text("session_id", session_id), checks.text("reason", reason)
        return await self._aresult(await self._native.stop(name, why, True))

    def replay(self, session_id: str, to_step: int | None = None) -> AgentResult:
        """Where a session stood after a step, from what was recorded: nothing is run.

        The events of the trace are those that were told then, byte for byte.

        Args:
            session_id: The session.
            to_step: The step: :attr:`TraceEvent.step`. Default: the last.

        Raises:
            ResourceNotFoundException: There is no such session.
            ValidationException: It has no such step.
        """
        step = None if to_step is None else checks.integer("to_step", to_step)
        name = checks.text("session_id", session_id)
        return AgentResult._from(json.loads(self._native.replay(name, step, False)))

    async def areplay(self, session_id: str, to_step: int | None = None) -> AgentResult:
        """The awaitable twin of :meth:`replay`."""
        step = None if to_step is None else checks.integer("to_step", to_step)
        name = checks.text("session_id", session_id)
        return AgentResult._from(json.loads(await self._native.replay(name, step, True)))

    def fork(
        self,
        session_id: str,
        step: int | None = None,
        edit: Mapping[str, Any] | None = None,
        new_session_id: str | None = None,
    ) -> AgentResult:
        """Makes another session with the same beginning; the first stays as it is.

        :meth:`resume` with the new session's id goes on with it.

        Args:
            session_id: The session.
            step: The last step that both share: :attr:`TraceEvent.step`. Default: the last.
            edit: What is changed: `{"instruction": "..."}`, or `{"call": "1.1.1", "result": ...}`
                for what a call gave.
            new_session_id: The new session's id. Default: a fresh one.

        Raises:
            ResourceNotFoundException: There is no such session.
            ValidationException: It has no such step, or the edit is none.
            ConflictException: There is a session of the new id, or the edit does not fit there.
        """
        arguments = _fork_arguments(session_id, step, edit, new_session_id)
        return AgentResult._from(json.loads(self._native.fork(*arguments, False)))

    async def afork(
        self,
        session_id: str,
        step: int | None = None,
        edit: Mapping[str, Any] | None = None,
        new_session_id: str | None = None,
    ) -> AgentResult:
        """The awaitable twin of :meth:`fork`."""
        arguments = _fork_arguments(session_id, step, edit, new_session_id)
        return AgentResult._from(json.loads(await self._native.fork(*arguments, True)))

    def memory(self, memory_id: str) -> list[MemorySession]:
        """What is kept of the sessions that had a memory, the latest first.

        Sessions in which nobody has spoken for too long are ended, and those that have ended are
        summed up by the agent's model, before it is read.

        Args:
            memory_id: The memory.
        """
        name = checks.text("memory_id", memory_id)
        return sessions(self._native.memory(name, False))

    async def amemory(self, memory_id: str) -> list[MemorySession]:
        """The awaitable twin of :meth:`memory`."""
        name = checks.text("memory_id", memory_id)
        return sessions(await self._native.memory(name, True))

    def delete_memory(self, memory_id: str | None = None, session_id: str | None = None) -> None:
        """Forgets what is kept of sessions that have ended.

        What happened in the sessions stays in their journals.

        Args:
            memory_id: The memory. Default: every memory of the agent.
            session_id: The session of that memory. Default: all of its.

        Raises:
            ResourceNotFoundException: Nothing is kept of the memory, or of the session.
            ValidationException: A session without its memory.
        """
        self._native.delete_memory(*memory_names(memory_id, session_id), False)

    async def adelete_memory(
        self, memory_id: str | None = None, session_id: str | None = None
    ) -> None:
        """The awaitable twin of :meth:`delete_memory`."""
        await self._native.delete_memory(*memory_names(memory_id, session_id), True)

    def __repr__(self) -> str:
        return f"<outcrop.Agent {self._name} ({self._id})>"

    def _request(self, arguments: Mapping[str, Any]) -> str:
        request: dict[str, Any] = {
            "input": checks.text("input", arguments["input"]),
            "endSession": checks.flag("end_session", arguments["end_session"]),
            # The turn is paused for a function that this process has not.
            "runs": list(self._tools or ()),
        }
        for name, member in (("session_id", "sessionId"), ("memory_id", "memoryId")):
            if arguments[name] is not None:
                request[member] = checks.text(name, arguments[name])
        for name, member in (
            ("session_attributes", "sessionAttributes"),
            ("prompt_session_attributes", "promptSessionAttributes"),
        ):
            if arguments[name] is not None:
                request[member] = {
                    checks.text(name, key): checks.text(f"{name}.{key}", value)
                    for key, value in arguments[name].items()
                }
        return checks.encode("request", request)

    def _result(self, run: _native.AgentRun) -> AgentResult:
        for event in self._events(run):
            if isinstance(event, AgentResult):
                return event
        raise ValidationException("the turn was closed before its end")

    async def _aresult(self, run: _native.AgentRun) -> AgentResult:
        async for event in self._aevents(run):
            if isinstance(event, AgentResult):
                return event
        raise ValidationException("the turn was closed before its end")

    def _events(self, run: _native.AgentRun) -> Iterator[AgentEvent]:
        spans = turn_spans(self._id, self._name)
        try:
            while (batch := run.next(False)) is not None:
                for event in json.loads(batch):
                    spans.saw(event)
                    if "calls" in event:
                        self._run_calls(run, _calls(event), spans)
                    elif "delegated" not in event:
                        yield _event(event)
        except GeneratorExit:
            raise
        except BaseException as error:
            spans.failed(None, error)
            raise
        finally:
            run.close()
            spans.end()

    async def _aevents(self, run: _native.AgentRun) -> AsyncIterator[AgentEvent]:
        import asyncio

        spans = turn_spans(self._id, self._name)
        try:
            while (batch := await run.next(True)) is not None:
                for event in json.loads(batch):
                    spans.saw(event)
                    if "calls" in event:
                        calls = (self._arun(run, call, spans) for call in _calls(event))
                        await asyncio.gather(*calls)
                    elif "delegated" not in event:
                        yield _event(event)
        except GeneratorExit:
            raise
        except BaseException as error:
            spans.failed(None, error)
            raise
        finally:
            run.close()
            spans.end()

    def _run_calls(
        self, run: _native.AgentRun, calls: list[dict[str, Any]], spans: TurnSpans
    ) -> None:
        """Runs calls, side by side where there are several."""
        if len(calls) == 1:
            self._give(run, calls[0], spans)
            return
        with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
            for each in [pool.submit(self._give, run, call, spans) for call in calls]:
                each.result()

    def _give(self, run: _native.AgentRun, call: dict[str, Any], spans: TurnSpans) -> None:
        with spans.tool(call) as span:
            try:
                outcome = returned(_settled(self._start(call)))
            except Exception as error:
                spans.failed(span, error)
                outcome = failed(error)
        run.give(call["id"], outcome)

    async def _arun(self, run: _native.AgentRun, call: dict[str, Any], spans: TurnSpans) -> None:
        import asyncio

        with spans.tool(call) as span:
            try:
                if self._tool(call).is_async:
                    outcome = returned(await self._start(call))
                else:
                    # A function that waits must not hold up the loop.
                    outcome = returned(await asyncio.to_thread(self._start, call))
            except Exception as error:
                spans.failed(span, error)
                outcome = failed(error)
        run.give(call["id"], outcome)

    def _tool(self, call: Mapping[str, Any]) -> Tool:
        target = call["target"]["function"]
        name = f"{target['actionGroup']}.{target['function']}"
        if call["agent"] != self._id:
            name = f"{call['agent']}/{name}"
        if not self._tools or name not in self._tools:
            raise ValidationException(f"the function {name} is not known in this process")
        return self._tools[name]

    def _start(self, call: Mapping[str, Any]) -> Any:
        return self._tool(call)._call(call["arguments"])


def _calls(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The calls that are to be run, each with the agent that makes it."""
    return [{**call, "agent": event["agent"]} for call in event["calls"]]


def _event(event: Mapping[str, Any]) -> AgentEvent:
    if "text" in event:
        return str(event["text"])
    if "trace" in event:
        return TraceEvent._from(event["trace"])
    return AgentResult._from(event["result"])


def _settled(value: Any) -> Any:
    """The value of an async function that is called where no loop is running."""
    if not inspect.iscoroutine(value):
        return value
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(value)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, value).result()


def _resume_request(
    pending: Pending | str,
    approve: bool | None,
    reason: str,
    results: Mapping[str, Any] | None,
) -> str:
    if isinstance(pending, str):
        return checks.encode("pending", {"sessionId": pending})
    calls = [pending] if isinstance(pending, PendingCall) else list(pending)
    if not calls or not all(isinstance(call, PendingCall) for call in calls):
        raise checks.wrong("pending", "what AgentResult.pending gave, or a session's id", pending)
    given = dict(results or {})
    answers = []
    for call in calls:
        if call.id in given:
            said: Any = {"result": json.loads(returned(given.pop(call.id)))}
        elif approve is None:
            raise ValidationException(
                f"call {call.id} of {call.tool} waits for {call.asks}: expected approve or a result "
                "of it in results"
            )
        else:
            is_approved = checks.flag("approve", approve)
            why = checks.text("reason", reason)
            said = {"approved": {}} if is_approved else {"rejected": {"reason": why}}
        answers.append({"call": call.id, "answer": said})
    if given:
        raise ValidationException(f"results: {min(given)}: no pending call has this id")
    return checks.encode("results", {"sessionId": calls[0].session_id, "answers": answers})


def _fork_arguments(
    session_id: str,
    step: int | None,
    edit: Mapping[str, Any] | None,
    new_session_id: str | None,
) -> tuple[tuple[str, int | None], str | None, str | None]:
    where = (
        checks.text("session_id", session_id),
        None if step is None else checks.integer("step", step),
    )
    new = None if new_session_id is None else checks.text("new_session_id", new_session_id)
    if edit is None:
        return where, None, new
    if isinstance(edit, Mapping) and set(edit) == {"instruction"}:
        return where, checks.encode("edit", dict(edit)), new
    if isinstance(edit, Mapping) and set(edit) == {"call", "result"}:
        outcome = json.loads(returned(edit["result"]))
        value = {"result": {"call": checks.text("edit.call", edit["call"]), "outcome": outcome}}
        return where, checks.encode("edit", value), new
    raise checks.wrong("edit", 'a dict of "instruction", or of "call" and "result"', edit)


def agent_request(arguments: Mapping[str, Any]) -> tuple[str, dict[str, Tool]]:
    """An `AgentRequest` as JSON, and the functions that run here, by `group.function`."""
    groups = list(arguments["action_groups"] or ())
    team = collaborators_of(arguments["collaborators"])
    tools = {**tools_of(groups), **team_tools(team)}
    limits = {
        member: checks.integer(name, arguments[name])
        for name, member in (("max_steps", "maxSteps"), ("max_tokens", "maxTokens"))
        if arguments[name] is not None
    }
    for name, member in (("max_seconds", "maxSeconds"), ("max_cost", "maxCost")):
        if arguments[name] is not None:
            limits[member] = checks.real(name, arguments[name])  # type: ignore[assignment]
    price, policy = arguments["price"], arguments["policy"]
    rules = list(arguments["rules"] or ())
    request = {
        "name": checks.text("name", arguments["name"]),
        "model": getattr(arguments["model"], "_name", None)
        or checks.model_name("model", arguments["model"]),
        "instruction": checks.text("instruction", arguments["instruction"]),
        "description": arguments["description"],
        "actionGroups": [group._declaration() for group in groups],
        "apiSchemas": {group.name: schema for group in groups if (schema := group._schema())},
        "knowledgeBases": [
            checks.text(f"knowledge_bases[{at}]", getattr(base, "id", base))
            for at, base in enumerate(arguments["knowledge_bases"] or ())
        ],
        "collaborators": [
            collaborator._request(f"collaborators[{at}]")
            for at, collaborator in enumerate(team)
        ],
        "collaboration": checks.text("collaboration", arguments["collaboration"]),
        "inferenceConfig": {
            member: arguments[name]
            for name, member in (("temperature", "temperature"), ("seed", "seed"))
            if arguments[name] is not None
        },
        "limits": limits,
        "policy": None if policy is None else checks.text("policy", policy),
        "rules": [rule_of(f"rules[{at}]", rule) for at, rule in enumerate(rules)],
        "memory": memory_settings(arguments["memory"]),
        "replace": checks.flag("replace", arguments["replace"]),
    }
    if arguments["idle_session_ttl"] is not None:
        request["idleSessionSeconds"] = checks.real(
            "idle_session_ttl", arguments["idle_session_ttl"]
        )
    if price is not None:
        request["price"] = {
            name: checks.real(f"price.{name}", price[name]) for name in ("input", "output")
        }
    return checks.encode("", request), tools


def tools_of(groups: Iterable[ActionGroup] | None) -> dict[str, Tool]:
    """The functions of action groups that run here, by `group.function`."""
    groups = [_group(at, group) for at, group in enumerate(groups or ())]
    return {f"{group.name}.{made.name}": made for group in groups for made in group._tools()}


def collaborators_of(given: Iterable[Any] | None) -> list[Collaborator]:
    """What `collaborators` names, each as a :class:`Collaborator`."""
    return [
        one if isinstance(one, Collaborator) else Collaborator(one) for one in (given or ())
    ]


def team_tools(team: Iterable[Collaborator]) -> dict[str, Tool]:
    """The functions of collaborators that run here, by `agentId/group.function`."""
    return {
        name if "/" in name else f"{one.agent.id}/{name}": made
        for one in team
        if isinstance(one.agent, Agent)
        for name, made in (one.agent._tools or {}).items()
    }


def _group(at: int, group: Any) -> ActionGroup:
    if not isinstance(group, ActionGroup):
        raise checks.wrong(f"action_groups[{at}]", "an outcrop.ActionGroup", group)
    return group
