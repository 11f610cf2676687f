"""Training on one's own data, from Python."""

import asyncio
import json
import subprocess
import sys

import outcrop
import pytest
from conftest import FIXTURES

BASE = FIXTURES / "llama3"


def write(folder, count=16):
    data = folder / "train.jsonl"
    lines = [json.dumps({"prompt": f"Rate {i}?", "completion": f"{i} %"}) for i in range(count)]
    data.write_text("\n".join(lines), encoding="utf-8")
    return data


def test_a_job_trains_and_its_model_opens(tmp_path):
    with outcrop.Session(tmp_path / "home", offline=True) as session:
        data = write(tmp_path)
        job = session.fine_tune(BASE, data, "advisor", validation=data, method="full",
                                batch_size=4, learning_rate=1e-3)
        assert job.wait() is job and job.status == "Completed"
        steps = job.metrics
        assert "learning rate" in repr(steps[:2]) and repr(steps[:2]) != repr(steps)
        assert len(steps) == 12 and steps[-1].loss < steps[0].loss
        assert steps[3].validation_loss is not None and "validation loss" in repr(steps)
        assert job.model_arn.startswith("arn:aws:bedrock:")
        reply = job.model.converse("Rate 3?", max_tokens=3)
        assert reply.usage.output_tokens <= 3
        about = session.client("bedrock").get_custom_model(modelIdentifier="advisor")
        assert about["modelArn"] == job.model_arn
        with pytest.raises(outcrop.errors.ConflictException):
            job.stop()


def test_another_process_watches_it(tmp_path):
    home = tmp_path / "home"
    with outcrop.Session(home, offline=True) as session:
        job = session.fine_tune(BASE, write(tmp_path), "advisor", epochs=1, precision="bfloat16")
        job.wait()
        program = (f"import outcrop\njob = outcrop.Session({str(home)!r}).training_job('advisor')\n"
                   "print(job.status, len(job.metrics))")
        said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert said.stdout.split() == ["Completed", "2"]
        awaited = asyncio.run(_watch(session))
        assert awaited == "Completed"


async def _watch(session):
    job = await session.atraining_job("advisor")
    return (await job.await_end()).status


def test_bad_lines_are_told_before_the_job_starts(tmp_path):
    with outcrop.Session(tmp_path / "home", offline=True) as session:
        data = write(tmp_path, 2)
        data.write_text(data.read_text(encoding="utf-8") + "\n{broken\n", encoding="utf-8")
        with pytest.raises(outcrop.errors.ValidationException, match="line 3: expected a JSON object"):
            session.fine_tune(BASE, data, "advisor")
        with pytest.raises(outcrop.errors.ValidationException, match="method: expected one of"):
            session.fine_tune(BASE, data, "advisor", method="half")
        with pytest.raises(outcrop.errors.ValidationException, match="precision: expected one of"):
            session.fine_tune(BASE, data, "advisor", precision="half")
        with pytest.raises(outcrop.errors.ResourceNotFoundException):
            session.training_job("advisor")
