"""Distillation, tokenizers of one's own and custom models, from Python."""

import asyncio
import json
import time

import outcrop
import pytest
from conftest import FIXTURES
from served import CHAT, served

STUDENT = FIXTURES / "llama3"
TEACHER = {"script": [{"answer": "7 %"}]}


def write(path, lines):
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_a_student_learns_from_a_teacher_and_the_report_compares_them(tmp_path):
    with outcrop.Session(tmp_path / "home", offline=True) as session:
        session.register_model("acme.teacher-v1", TEACHER)
        prompts = write(tmp_path / "prompts.jsonl", [{"prompt": f"Rate {i}?"} for i in range(120)])
        job = session.distill("acme.teacher-v1", STUDENT, prompts, name="pupil", method="full", epochs=2,
                              learning_rate=3e-3, max_response_tokens=8, teacher_price={"output": 4.0})
        assert job.report is None or job.report.held_out == 12
        job.wait(progress=True)
        report = job.report
        assert (report.prompts, report.held_out, report.reference) == (108, 12, "teacher")
        assert report.student_before.score == 0 and report.student.score >= 0.9
        assert report.teacher.cost == pytest.approx(4e-6 * report.teacher.usage.output_tokens)
        assert report.left_out == {"failed": 0, "cut": 0, "unfit": 0, "other_records": 0}
        assert "student before" in repr(report) and "<table>" in report._repr_html_()
        assert job.model.converse("Rate 500?", max_tokens=8, temperature=0).text == "7 %"


def test_a_server_elsewhere_teaches(tmp_path):
    with served(tmp_path / "far") as server, outcrop.Session(tmp_path / "home", offline=True) as session:
        openai = {"base_url": f"{server.url}/v1", "model": CHAT, "api_key": server.key["bearerToken"]}
        session.register_model("acme.far-v1", {"openai": openai})
        prompts = write(tmp_path / "prompts.jsonl", [{"prompt": f"Say {i}"} for i in range(60)])
        job = session.distill("acme.far-v1", STUDENT, prompts, name="pupil", method="full", epochs=4,
                              learning_rate=3e-3, max_response_tokens=16)
        job.wait(progress=False)
        report = job.report
        assert (report.prompts, report.held_out) == (54, 6)
        assert report.student_before.score < 0.1 and report.student.score >= 0.9
        log = [json.loads(line) for file in (tmp_path / "far" / "logs" / "audit").iterdir()
               for line in file.read_text().splitlines()]
        asked = [one for one in log if one["eventName"].startswith("Converse")]
        assert len(asked) == 60, "each prompt is asked once"


def test_what_cannot_be_followed_is_told(tmp_path):
    with outcrop.Session(tmp_path / "home", offline=True) as session:
        session.register_model("acme.teacher-v1", TEACHER)
        with pytest.raises(outcrop.errors.ValidationException, match="prompts: expected"):
            session.distill("acme.teacher-v1", STUDENT, name="pupil")
        with pytest.raises(outcrop.errors.ValidationException, match="teacher_price: expected"):
            session.distill("acme.teacher-v1", STUDENT, "a", name="pupil", teacher_price={"both": 1})
        with pytest.raises(outcrop.errors.ValidationException, match="vocab_size: expected at least"):
            session.train_tokenizer(write(tmp_path / "a.jsonl", ["b"]), tmp_path / "new", vocab_size=9)


def test_a_tokenizer_and_a_new_model_are_made_of_text(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("The overdraft fee is 12 euros.\n" * 50, encoding="utf-8")
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
             "num_attention_heads": 2, "num_key_value_heads": 1}
    with outcrop.Session(tmp_path / "home", offline=True) as session:
        made = session.train_tokenizer(text, tmp_path / "new", vocab_size=300, model=shape)
        assert made.vocab_size <= 300 and made.parameters > 0 and made.tokens < made.bytes
        model = session.model(made.folder)
        assert model.detokenize(model.tokenize("overdraft fee: Ω")) == "overdraft fee: Ω"
        assert model.chat_prompt("Hi").endswith("<|im_start|>assistant\n")
        with pytest.raises(outcrop.errors.ConflictException, match="holds a model already"):
            asyncio.run(session.atrain_tokenizer(text, tmp_path / "new"))


def test_a_custom_model_of_own_files_runs_by_its_deployment(tmp_path):
    with outcrop.Session(tmp_path / "home", offline=True) as session:
        session.map_bucket("acme-models", FIXTURES)
        bedrock, runtime = session.client("bedrock"), session.client("bedrock-runtime")
        source = {"s3DataSource": {"s3Uri": "s3://acme-models/llama3/"}}
        model = bedrock.create_custom_model(modelName="mine", modelSourceConfig=source)["modelArn"]
        while bedrock.get_custom_model(modelIdentifier=model)["modelStatus"] == "Creating":
            time.sleep(0.02)
        made = bedrock.create_custom_model_deployment(modelDeploymentName="advisor", modelArn=model)
        arn = made["customModelDeploymentArn"]
        about = bedrock.get_custom_model_deployment(customModelDeploymentIdentifier=arn)
        assert (about["status"], about["modelArn"]) == ("Active", model)
        reply = runtime.converse(modelId=arn, inferenceConfig={"maxTokens": 2},
                                 messages=[{"role": "user", "content": [{"text": "Hi"}]}])
        assert reply["usage"]["outputTokens"] <= 2
        listed = bedrock.list_custom_model_deployments()["modelDeploymentSummaries"]
        assert [one["customModelDeploymentName"] for one in listed] == ["advisor"]
        assert bedrock.update_custom_model_deployment(
            customModelDeploymentIdentifier="advisor", modelArn=model)["customModelDeploymentArn"] == arn
        bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier="advisor")
        bedrock.delete_custom_model(modelIdentifier="mine")
        assert bedrock.list_custom_models()["modelSummaries"] == []


def test_an_embedding_model_learns_pairs(tmp_path):
    topics = {"wire money abroad": "A transfer costs 30 euros.", "replace a lost card": "A new one is sent.",
              "close my account": "It ends after notice.", "pay in a cheque": "Drafts are credited."}
    lines = [{"anchor": form.format(topic), "positive": passage}
             for topic, passage in topics.items() for form in ("How do I {}?", "I want to {}.")]
    with outcrop.Session(tmp_path / "home", offline=True) as session:
        data = write(tmp_path / "pairs.jsonl", lines)
        job = session.fine_tune(FIXTURES / "bert_minilm", data, "finder", epochs=30, batch_size=8,
                                learning_rate=2e-3, temperature=0.1).wait()
        assert job.metrics[-1].loss < 0.5 * job.metrics[0].loss
        queries = job.model.embed([f"Can I {topic} today?" for topic in topics])
        passages = job.model.embed(list(topics.values()))
        assert ((queries @ passages.T).argmax(axis=1) == range(4)).all()
        with pytest.raises(outcrop.errors.ValidationException, match="expected full"):
            session.fine_tune(FIXTURES / "bert_minilm", data, "other", method="lora")
