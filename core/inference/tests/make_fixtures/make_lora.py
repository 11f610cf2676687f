"""Makes LoRA adapters of the golden Llama with PEFT, and the logits that they must give.

    python make_lora.py FIXTURES [ADAPTER ...]

FIXTURES is the folder `tests/fixtures`; the bases are its `llama3` and `families/phi3`. Each further
ADAPTER is a PEFT folder of the former that is copied and run as well. Needs torch, transformers and
peft. F32, eager.
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

# Modules that are several projections here, in one layer of three.
FUSED = LoraConfig(
    r=2,
    lora_alpha=6,
    target_modules=r".*\.(self_attn\.(qkv|o)_proj|mlp\.gate_up_proj)",
    exclude_modules=r".*layers\.[02]\.mlp.*",
    task_type="CAUSAL_LM",
)
MADE = {"patterns": ("llama3", PATTERNS), "fused": ("families/phi3", FUSED)}


def base(fixtures, name):
    torch.manual_seed(7)
    return AutoModelForCausalLM.from_pretrained(
        fixtures / name, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def make(fixtures, folder, name, config):
    model = get_peft_model(base(fixtures, name), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder)
    file = folder / "adapter_model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file)
    (folder / "README.md").unlink(missing_ok=True)


def golden(fixtures, folder, name, ids):
    model = PeftModel.from_pretrained(base(fixtures, name), folder).float().eval()
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
        greedy = list(ids)
        for _ in range(16):
            greedy.append(int(model(torch.tensor([greedy])).logits[0, -1].argmax()))
    return {
        "ids": ids,
        "last_logits": [float(f"{value:.6g}") for value in logits[-1].tolist()],
        "argmax_all": logits.argmax(-1).tolist(),
        "greedy": greedy[len(ids):],
    }


def main():
    fixtures = Path(sys.argv[1])
    home = fixtures / "lora"
    bases = {}
    for folder, (name, config) in MADE.items():
        make(fixtures, home / folder, name, config)
        bases[folder] = name
    for other in map(Path, sys.argv[2:]):
        shutil.copytree(other, home / other.name, dirs_exist_ok=True)
        bases[other.name] = "llama3"
    found = {}
    for folder, name in sorted(bases.items()):
        config = home / folder / "adapter_config.json"
        described = json.loads(config.read_text())
        described["base_model_name_or_path"] = name
        config.write_text(json.dumps(described, indent=1) + "\n")
        prompt = json.loads((fixtures / "llama3/golden.json").read_text())["prompts"][0]["ids"]
        if name != "llama3":
            prompt = [id % 250 for id in prompt]
        found[folder] = golden(fixtures, home / folder, name, prompt)
    (home / "golden.json").write_text(json.dumps(found) + "\n")


main()
