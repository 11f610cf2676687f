"""Writes src/service_model/services.txt: what the four Bedrock services accept and answer.

    python make_service_model.py

Read from the service models of the installed botocore (Apache-2.0, see NOTICE); documentation is left
out. The form, one fact a line, so that a new botocore shows as a readable diff:

    service NAME API_VERSION
    operation NAME METHOD STATUS URI        then indented: input SHAPE, output SHAPE, errors SHAPE...
    structure NAME [union] [sensitive] [eventstream] [event] [error STATUS] [payload MEMBER]
      MEMBER[*] SHAPE [uri|query|header WIRE_NAME] [token]     * marks a required member
    list NAME MEMBER_SHAPE [MIN..MAX]       map NAME KEY_SHAPE VALUE_SHAPE [MIN..MAX]
    enum NAME VALUE|VALUE                   string NAME [MIN..MAX] [sensitive] [~PATTERN to the line's end]
    integer, long, float, double, boolean, blob, timestamp, document NAME [MIN..MAX] [sensitive] [format FORMAT]
"""

from pathlib import Path

import botocore
import botocore.session

SERVICES = ["bedrock", "bedrock-runtime", "bedrock-agent", "bedrock-agent-runtime"]
OUTPUT = Path(__file__).parent / "src" / "service_model" / "services.txt"
LOCATIONS = {"uri": "uri", "querystring": "query", "header": "header"}


def reachable(model):
    """The shapes that an operation's request, answer or errors lead to."""
    shapes, found = model["shapes"], set()
    waiting = []
    for operation in model["operations"].values():
        waiting += [operation["input"]["shape"], operation["output"]["shape"]]
        waiting += [error["shape"] for error in operation["errors"]]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        shape = shapes[name]
        waiting += [member["shape"] for member in shape.get("members", {}).values()]
        waiting += [shape[part]["shape"] for part in ("member", "key", "value") if part in shape]
    return sorted(found)


def limits(shape):
    low, high = shape.get("min"), shape.get("max")
    if low is None and high is None:
        return []
    return [f"{'' if low is None else low}..{'' if high is None else high}"]


def one_line(pattern):
    """The pattern with what cannot stand in a line of the file written as its escape.

    Some patterns are misprinted in the models: "/d{12}" where the service means twelve digits. Taken
    as they stand they would refuse every ARN.
    """
    pattern = pattern.replace("/d{12}", r"\d{12}").replace("/d+", r"\d+")
    return "".join(c if " " <= c <= "~" else f"\\x{{{ord(c):x}}}" for c in pattern)


def scalar(name, shape):
    words = [shape["type"], name, *limits(shape)]
    if shape.get("sensitive"):
        words.append("sensitive")
    if shape["type"] == "timestamp":
        words += ["format", shape.get("timestampFormat", "unixTimestamp")]
    if "pattern" in shape:
        words.append("~" + one_line(shape["pattern"]))
    return [" ".join(words)]


def structure(name, shape):
    if shape.get("document"):
        return [f"document {name}"]
    words = ["structure", name]
    words += [flag for flag in ("union", "sensitive", "eventstream", "event") if shape.get(flag)]
    if shape.get("exception"):
        words += ["error", str(shape["error"]["httpStatusCode"])]
    if "payload" in shape:
        words += ["payload", shape["payload"]]
    lines = [" ".join(words)]
    required = set(shape.get("required", []))
    for member, facts in shape["members"].items():
        words = [member + ("*" if member in required else ""), facts["shape"]]
        if "location" in facts:
            words += [LOCATIONS[facts["location"]], facts["locationName"]]
        if facts.get("idempotencyToken"):
            words.append("token")
        lines.append("  " + " ".join(words))
    return lines


def shape_lines(name, shape):
    kind = shape["type"]
    if kind == "structure":
        return structure(name, shape)
    if kind == "list":
        return [" ".join(["list", name, shape["member"]["shape"], *limits(shape)])]
    if kind == "map":
        return [" ".join(["map", name, shape["key"]["shape"], shape["value"]["shape"], *limits(shape)])]
    if "enum" in shape:
        words = ["enum", name] + (["sensitive"] if shape.get("sensitive") else []) + ["|".join(shape["enum"])]
        return [" ".join(words)]
    return scalar(name, shape)


def operation_lines(operation):
    http = operation["http"]
    return [
        f"operation {operation['name']} {http['method']} {http['responseCode']} {http['requestUri']}",
        f"  input {operation['input']['shape']}",
        f"  output {operation['output']['shape']}",
        "  errors " + " ".join(sorted(error["shape"] for error in operation["errors"])),
    ]


def main():
    loader = botocore.session.get_session().get_component("data_loader")
    lines = [f"# Made by make_service_model.py from botocore {botocore.__version__}; its form is told there. See NOTICE."]
    for service in SERVICES:
        model = loader.load_service_model(service, "service-2")
        lines += ["", f"service {service} {model['metadata']['apiVersion']}"]
        for name in sorted(model["operations"]):
            lines += operation_lines(model["operations"][name])
        for name in reachable(model):
            lines += shape_lines(name, model["shapes"][name])
    OUTPUT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
