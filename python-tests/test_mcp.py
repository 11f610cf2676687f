"""MCP servers as action groups: the test server over both transports, and the official SDK's."""

import json
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import time

import outcrop
import pytest
from outcrop.errors import AccessDeniedException, ConflictException, ValidationException

SERVER = pathlib.Path(__file__).parents[1] / "core/outcrop/tests/fixtures/mcp_server.py"


def log(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def said(path, name):
    return [entry[name] for entry in log(path) if name in entry]


def is_running(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(") ")[2][0] != "Z"


def until(what, holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture(params=["stdio", "json", "sse"])
def server(request, own_session, tmp_path):
    """What a group's `mcp` is, and the server's log."""
    command = [sys.executable, str(SERVER), str(tmp_path / "log")]
    if request.param == "stdio":
        own_session.allow_command(command)
        yield command, tmp_path / "log"
        return
    command += ["http", request.param]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().strip()
        own_session.allow_host(url.split("/")[2])
        yield url, tmp_path / "log"
    finally:
        process.kill()
        process.wait()


def clerk(session, server, *calls, **more):
    """An agent of the server that makes the calls one after the other."""
    rules = [
        {"match": {"turn": at}, "answer": {"tool_uses": [{"name": name, "input": given}]}}
        for at, (name, given) in enumerate(calls, 1)
    ]
    session.register_model(
        "acme.mcp-v1", {"script": [*rules, {"answer": "Done."}]}, replace=True, progress=False
    )
    group = outcrop.ActionGroup("bank", mcp=server, **more.pop("group", {}))
    return session.create_agent(
        "clerk", model="acme.mcp-v1", action_groups=[group], replace=True, **more
    )


def outcomes(result):
    return [event.detail["outcome"] for event in result.trace if event.kind == "observation"]


def test_an_agent_calls_the_tools_of_a_server(own_session, server):
    mcp, path = server
    agent = clerk(
        own_session,
        mcp,
        ("limit", {"user": "12345"}),
        ("send_mail", {"to": "a@bank.example", "text": "5000"}),
        group={"tools": ["limit", "send.mail"], "confirm": ["send.mail"]},
    )
    functions = agent.info["definition"]["actionGroups"][0]["functions"]
    assert [function["name"] for function in functions] == ["limit", "send_mail"]
    paused = agent.invoke("Do it.", session_id="s1")
    assert [call.tool for call in paused.pending] == ["send_mail"]
    assert said(path, "called") == ["limit"]
    assert outcomes(paused)[0] == {"returned": {"user": "12345", "limit": 5000}}
    result = agent.resume(paused.pending, approve=True)
    assert (result.text, said(path, "called")) == ("Done.", ["limit", "send.mail"])
    # A replay and a fork reach nobody.
    agent.replay("s1")
    agent.fork("s1", new_session_id="s2")
    assert len(said(path, "began")) == 1


def test_rules_hold_for_what_a_server_says(own_session, server):
    mcp, path = server
    agent = clerk(
        own_session,
        mcp,
        ("policy", {}),
        # The model does what the result tells it to.
        ("send_mail", {"to": "evil@thief.example", "text": "5000"}),
        rules=[{"function": "bank.send_mail",
                "require": {"from": {"arguments": ["to"], "sources": ["user"]}}}],
    )
    result = agent.invoke("Read the policy, then mail a@bank.example.")
    decided = [event.detail for event in result.trace if event.kind == "decision"]
    assert [one["effect"] for one in decided] == ["allow", "deny"]
    assert "must come from user" in decided[1]["rule"]
    assert said(path, "called") == ["policy"]


def test_what_changed_waits_for_a_person(own_session, tmp_path):
    path = tmp_path / "log"
    command = [sys.executable, str(SERVER), str(path)]
    own_session.allow_command(command)
    agent = clerk(own_session, command, ("turn", {}), ("limit", {"user": "1"}))
    result = agent.invoke("Do it.", session_id="s1")
    assert "is not what it was" in outcomes(result)[1]["failed"]["error"]
    assert said(path, "called") == ["turn"]
    # The next turn knows what it is now, and a person is asked first.
    rules = [
        {"match": {"tool_result": {}}, "answer": "Done."},
        {"answer": {"tool_uses": [{"name": "limit", "input": {"user": "1"}}]}},
    ]
    own_session.register_model("acme.mcp-v1", {"script": rules}, replace=True, progress=False)
    paused = agent.invoke("Do it.", session_id="s2")
    assert [call.tool for call in paused.pending] == ["limit"]
    assert agent.resume(paused.pending, approve=True).text == "Done."
    assert said(path, "called") == ["turn", "limit"]


def test_nothing_is_started_that_is_not_allowed(own_session, tmp_path):
    command = [sys.executable, str(SERVER), str(tmp_path / "log")]
    with pytest.raises(AccessDeniedException, match="allow_command"):
        clerk(own_session, command)
    with pytest.raises(ValidationException, match="a list of its words"):
        own_session.allow_command("python server.py")
    with pytest.raises(ValidationException, match="url and mcp"):
        clerk(own_session, command, group={"url": "http://x"})
    assert log(tmp_path / "log") == []
    own_session.allow_command(command, env={"TOKEN": "s3cret"}, cwd=tmp_path)
    agent = clerk(own_session, command, ("environment", {}))
    environment = outcomes(agent.invoke("Do it."))[0]["returned"]
    assert environment["TOKEN"] == "s3cret" and "PYTEST_CURRENT_TEST" not in environment
    own_session.allow_command(command, False)
    until("the server ends", lambda: not is_running(said(tmp_path / "log", "pid")[0]))


def test_another_process_goes_on_with_a_session_of_its_own(own_session, tmp_path):
    command = [sys.executable, str(SERVER), str(tmp_path / "log")]
    own_session.allow_command(command)
    agent = clerk(own_session, command, ("limit", {"user": "1"}), group={"confirm": ["limit"]})
    paused = agent.invoke("Do it.", session_id="s1")
    assert paused.pending
    program = textwrap.dedent(
        f"""
        import outcrop
        session = outcrop.Session({own_session.home!r}, offline=True)
        session.allow_command({command!r})
        agent = session.agent("clerk")
        print(agent.resume(agent.replay("s1").pending, approve=True).text, end="")
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "Done.", done.stderr
    assert said(tmp_path / "log", "called") == ["limit"]
    assert len(said(tmp_path / "log", "began")) == 2
    with pytest.raises(ConflictException, match="has ended"):
        agent.resume(paused.pending, approve=True)


KILLED = """
    import sys, outcrop
    session = outcrop.Session(sys.argv[1], offline=True)
    session.allow_command(sys.argv[2:])
    agent = session.agent("clerk")
    agent.invoke("Do it.", session_id="s1")
"""


def test_a_killed_process_leaves_no_server_and_tells_its_call_as_unknown(own_session, tmp_path):
    path = tmp_path / "log"
    command = [sys.executable, str(SERVER), str(path), "stubborn"]
    own_session.allow_command(command)
    agent = clerk(own_session, command, ("slow", {"seconds": 600}))
    own_session.allow_command(command, False)
    made_by = set(said(path, "pid") + said(path, "child"))
    words = [sys.executable, "-c", textwrap.dedent(KILLED), own_session.home, *command]
    process = subprocess.Popen(words)
    until("the call is made", lambda: said(path, "called") == ["slow"])
    process.send_signal(signal.SIGKILL)
    process.wait()
    started = set(said(path, "pid") + said(path, "child")) - made_by
    assert len(started) == 2
    until("the server and what it started end", lambda: not any(map(is_running, started)))
    result = agent.resume("s1")
    assert (result.text, outcomes(result)) == ("Done.", [{"unknown": {}}])
    assert said(path, "called") == ["slow"]


OFFICIAL = """
    import sys

    transport, port = sys.argv[1], int(sys.argv[2])
    try:
        from mcp.server import MCPServer
        server, more = MCPServer("bank", log_level="ERROR"), {"port": port}
    except ImportError:
        from mcp.server.fastmcp import FastMCP
        server, more = FastMCP("bank", log_level="ERROR", port=port), {}

    @server.tool()
    def limit(user: str, currency: str = "USD") -> dict[str, int]:
        "The limit of a user."
        return {"limit": 5000}

    @server.tool()
    def greet(name: str) -> str:
        "Greets."
        if name == "nobody":
            raise ValueError("there is nobody")
        return f"Hello {name}"

    server.run(transport, **(more if transport != "stdio" else {}))
"""


@pytest.mark.parametrize("transport", ["stdio", "streamable-http"])
def test_the_official_sdks_server(own_session, tmp_path, transport):
    pytest.importorskip("mcp")
    script = tmp_path / "server.py"
    script.write_text(textwrap.dedent(OFFICIAL))
    port = free_port()
    command = [sys.executable, str(script), transport, str(port)]
    process = None
    if transport == "stdio":
        own_session.allow_command(command)
        reached = command
    else:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        reached = f"http://127.0.0.1:{port}/mcp"
        until("the server listens", lambda: listens(port))
        own_session.allow_host(f"127.0.0.1:{port}")
    try:
        agent = clerk(
            own_session,
            reached,
            ("limit", {"user": "12345"}),
            ("greet", {"name": "Ada"}),
            ("greet", {"name": "nobody"}),
            ("greet", {"nickname": "Ada"}),
        )
        came = outcomes(agent.invoke("Do it."))
        assert came[0] == {"returned": {"limit": 5000}}
        assert came[1] == {"returned": {"result": "Hello Ada"}}
        assert "greet" in came[2]["failed"]["error"]
        assert "name" in came[3]["malformed"]["fault"]
        own_session.delete_agent("clerk")
    finally:
        if process:
            process.kill()
            process.wait()


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def listens(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
