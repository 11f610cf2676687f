"""What an agent's steps cost beside the model and the functions, and many sessions at once.

The model is a script that answers at once, and the function is empty: what is left is the turn, its
decisions and its journal. A step is a model call with the function call behind it. Memory is the
process's own, before and with five hundred sessions under way at the same time.
"""

import asyncio
import json
import resource
import statistics
import tempfile
import time

import outcrop

STEPS = 10
ROUNDS = 40
SESSIONS = 500


@outcrop.tool
def step(n: int) -> int:
    """Does nothing."""
    return n


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def advisor(session: outcrop.Session) -> outcrop.Agent:
    use = {"name": "step"}
    rules = [
        {"match": {"tool_result": {"content": {"equals": str(n)}}},
         "answer": {"tool_uses": [{**use, "input": {"n": n + 1}}]}}
        for n in range(1, STEPS)
    ]
    rules.append({"match": {"tool_result": {"name": "step"}}, "answer": "Done."})
    rules.append({"answer": {"tool_uses": [{**use, "input": {"n": 1}}]}})
    session.register_model("acme.steps-v1", {"script": rules})
    return session.create_agent(
        "bench", model="acme.steps-v1", action_groups=[outcrop.ActionGroup("work", [step])]
    )


async def together(agent: outcrop.Agent) -> None:
    turns = [agent.ainvoke("Go.", session_id=f"many-{n}") for n in range(SESSIONS)]
    results = await asyncio.gather(*turns)
    assert all(result.text == "Done." for result in results)


def main() -> None:
    with tempfile.TemporaryDirectory() as home, outcrop.Session(home, offline=True) as session:
        agent = advisor(session)
        model = session.model("acme.steps-v1")
        turns, models = [], []
        for n in range(ROUNDS):
            began = time.perf_counter()
            result = agent.invoke("Go.", session_id=f"one-{n}")
            turns.append((time.perf_counter() - began) / result.steps * 1e6)
            began = time.perf_counter()
            model.converse("Go.")
            models.append((time.perf_counter() - began) * 1e6)
        turn, call = statistics.median(turns), statistics.median(models)
        print(json.dumps({
            "bench": "agents", "what": f"a step of {STEPS + 1}", "microseconds": round(turn),
            "of_which_a_model_call_alone": round(call), "beside": round(turn - call),
        }), flush=True)
        before = megabytes()
        began = time.perf_counter()
        asyncio.run(together(agent))
        print(json.dumps({
            "bench": "agents", "what": f"{SESSIONS} sessions at once",
            "seconds": round(time.perf_counter() - began, 2),
            "megabytes_before": round(before), "megabytes": round(megabytes()),
        }), flush=True)


if __name__ == "__main__":
    main()
