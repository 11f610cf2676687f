"""The operation cases, through real boto3 clients: in the process, and over HTTP."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from botocore.validate import ParamValidator

from case_form import differs, events_differ, filled, sent, shown

FOLDER = Path(__file__).resolve().parents[1] / "core" / "outcrop" / "cases"
CASES = sorted(FOLDER.glob("*.json"))
#: A case's call is one call, and may be one that boto3 itself would refuse.
CONFIG = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
#: Longest wait for a job of a case, in seconds.
PATIENCE = 20


@pytest.fixture(params=["in_process", "http"])
def endpoint(request, own_session):
    """How the test's session is asked: in the process, or at the URL of its own server."""
    if request.param == "in_process":
        yield {}
        return
    serve = [sys.executable, "-m", "outcrop", "serve", "--port", "0", "--insecure-loopback"]
    command = [*serve, "--home", own_session.home, "--offline", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = json.loads(server.stdout.readline())["url"]
            keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
            yield {"endpoint_url": url, "region_name": "us-east-1", **keys}
        finally:
            server.terminate()


class Case:
    """A case on its way."""

    def __init__(self, session, endpoint, checked, folder):
        self.session = session
        self.kept = {"folder": str(folder)}
        self.folder = folder
        self._endpoint, self._checked = endpoint, checked
        self._clients = {}

    def prepare(self, case):
        for name, text in case.get("files", {}).items():
            place = self.folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
        for name, spec in case.get("models", {}).items():
            self.session.register_model(name, filled(spec, self.kept), replace=True)
        for name, folder in case.get("buckets", {}).items():
            self.session.map_bucket(name, self.folder / folder)
        for name, target in case.get("aliases", {}).items():
            self.session.alias(name, target)

    def client(self, service):
        if service not in self._clients:
            made = self.session.client(service, config=CONFIG, **self._endpoint)
            self._clients[service] = self._checked(made)
        return self._clients[service]

    def call(self, name, given):
        """The output, the events and the error of a call."""
        service, operation = name.split(".")
        client = self.client(service)
        model = client.meta.service_model.operation_model(operation)
        given = sent(model.input_shape, given) if model.input_shape else {}
        method = next(m for m, o in client.meta.method_to_api_mapping.items() if o == operation)
        events = []
        try:
            output = getattr(client, method)(**given)
            output.pop("ResponseMetadata")
            if model.has_event_stream_output:
                stream = output.pop(next(n for n, v in output.items() if hasattr(v, "close")))
                try:
                    events.extend(shown(event) for event in stream)
                except EventStreamError as error:
                    events.append({"$exception": told(error)})
            return shown(output), events, None
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            return None, events, {"status": status, **told(error)}


def told(error):
    """An error's members as a case writes them."""
    members = {k: v for k, v in error.response.items() if k not in ("Error", "ResponseMetadata")}
    given = error.response["Error"]
    return shown({"code": given["Code"], "message": given.get("Message"), **members})


def as_boto3_tells(event):
    """An expected event; of an exception in a stream, boto3 keeps its code and its message."""
    if isinstance(event, dict) and "$exception" in event:
        known = event["$exception"].items()
        return {"$exception": {k: v for k, v in known if k in ("code", "message")}}
    return event


def is_refused_by_boto3(case, name, given):
    """Whether boto3 itself does not send it: its own check knows required members and types."""
    service, operation = name.split(".")
    model = case.client(service).meta.service_model.operation_model(operation)
    report = ParamValidator().validate(sent(model.input_shape, given), model.input_shape)
    return report.has_errors()


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path, own_session, endpoint, checked, tmp_path):
    written = json.loads(path.read_text(encoding="utf-8"))
    case = Case(own_session, endpoint, checked, tmp_path / "files")
    case.prepare(written)
    for at, step in enumerate(written["calls"]):
        where = f"call {at} {step['call']}"
        given = filled(step.get("input", {}), case.kept)
        if "error" in step and is_refused_by_boto3(case, step["call"], given):
            continue
        output, events, error = patient_call(case, step, given)
        if "error" in step:
            assert error is not None, f"{where}: expected {step['error']}, got {output}"
            expected = filled(step["error"], case.kept)
            assert differs(expected, error, "error", case.kept) is None, where
            continue
        assert error is None, f"{where}: {error}"
        expected = filled(step.get("output", {}), case.kept)
        assert differs(expected, output, "output", case.kept) is None, where
        if "events" in step:
            expected = [as_boto3_tells(event) for event in filled(step["events"], case.kept)]
            assert events_differ(expected, events, case.kept) is None, where


def patient_call(case, step, given):
    """The call's answer, once its output is what the step waits for."""
    started = time.monotonic()
    while True:
        answer = case.call(step["call"], given)
        if "until" not in step:
            return answer
        expected = filled(step["until"], case.kept)
        problem = differs(expected, answer[0], "until", dict(case.kept))
        if problem is None:
            return answer
        assert answer[2] is None and time.monotonic() - started < PATIENCE, (problem, answer[2])
        time.sleep(0.05)
