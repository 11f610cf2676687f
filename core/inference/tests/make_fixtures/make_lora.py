"""Makes LoRA adapters of the golden Llama with PEFT, and the logits that they must give.

    python make_lora.py FIXTURES [ADAPTER ...]

FIXTURES is the folder `tests/fixtures`; the base is its `llama3`. Each further ADAPTER is a PEFT
folder of that base that is copied and run as well. Needs torch, transformers and peft. F32, eager.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

# Ranks and alphas by module, rank-stabilised, not in every layer, and stored in F16.
PATTERNS = LoraConfig(
    r=4,
    lora_alpha=8,
    use_rslora=True,
    target_modules=["q_proj", "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    exclude_modules=["layers.0.mlp.up_proj"],
    rank_pattern={"layers.1.self_attn.q_proj": 3, "down_proj": 6},
    alpha_pattern={"k_proj": 5},
    task_type="CAUSAL_LM",
)


def base(fixtures):
    torch.manual_seed(7)
    return AutoModelForCausalLM.from_pretrained(
        fixtures / "llama3", dtype=torch.float32, attn_implementation="eager"
    ).eval()


def make_patterns(fixtures, folder):
    model = get_peft_model(base(fixtures), PATTERNS)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder)
    file = folder / "adapter_model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file)
    (folder / "README.md").unlink(missing_ok=True)


def golden(fixtures, folder, ids):
    model = PeftModel.from_pretrained(base(fixtures), folder).float().eval()
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
        greedy = list(ids)
        for _ in range(16):
            greedy.append(int(model(torch.tensor([greedy])).logits[0, -1].argmax()))
    return {
        "last_logits": [float(f"{value:.6g}") for value in logits[-1].tolist()],
        "argmax_all": logits.argmax(-1).tolist(),
        "greedy": greedy[len(ids):],
    }


def main():
    fixtures = Path(sys.argv[1])
    home = fixtures / "lora"
    make_patterns(fixtures, home / "patterns")
    for other in map(Path, sys.argv[2:]):
        shutil.copytree(other, home / other.name, dirs_exist_ok=True)
    prompt = json.loads((fixtures / "llama3/golden.json").read_text())["prompts"][0]
    found = {"ids": prompt["ids"]}
    for folder in sorted(home.iterdir()):
        if folder.is_dir():
            config = folder / "adapter_config.json"
            described = json.loads(config.read_text())
            described["base_model_name_or_path"] = "llama3"
            config.write_text(json.dumps(described, indent=1) + "\n")
            found[folder.name] = golden(fixtures, folder, prompt["ids"])
    (home / "golden.json").write_text(json.dumps(found) + "\n")


main()
