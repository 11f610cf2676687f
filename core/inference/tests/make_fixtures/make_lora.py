"""Makes LoRA adapters of the golden Llama with PEFT, and the logits that they must give.

    python make_lora.py FIXTURES [ADAPTER ...]

FIXTURES is the folder `tests/fixtures`; the bases are its `llama3` and some of `families`. Each further
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

# All experts of a layer in two parameters, as transformers 5 has them, of ranks of their own; the
# router.
STACKED = LoraConfig(
    r=2,
    lora_alpha=5,
    target_modules=["q_proj"],
    target_parameters=["mlp.experts.gate_up_proj", "experts.down_proj", "mlp.gate.weight"],
    rank_pattern={r".*\.gate_up_proj": 3},
    alpha_pattern={r"layers\.2\.mlp\.experts\.down_proj": 9},
    task_type="CAUSAL_LM",
)

# One of the two, in one layer of three, of experts whose gate and up stand in alternate rows.
ALTERNATE = LoraConfig(
    r=2,
    lora_alpha=4,
    use_rslora=True,
    target_modules=["v_proj"],
    target_parameters=["1.mlp.experts.gate_up_proj"],
    task_type="CAUSAL_LM",
)
MADE = {
    "patterns": ("llama3", PATTERNS),
    "fused": ("families/phi3", FUSED),
    "stacked": ("families/qwen3_moe", STACKED),
    "alternate": ("families/gpt_oss", ALTERNATE),
}

# Spread of B's numbers, where another than of the others.
STRENGTH = {"stacked": 0.3, "alternate": 0.3}

# Experts as modules of their own, the layout of transformers 4.
APART = {
    "peft_type": "LORA",
    "r": 2,
    "lora_alpha": 3,
    "target_modules": ["k_proj", "gate", "w1", "w2", "w3"],
    "task_type": "CAUSAL_LM",
}


def base(fixtures, name):
    torch.manual_seed(7)
    return AutoModelForCausalLM.from_pretrained(
        fixtures / name, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def make(fixtures, folder, name, config):
    model = get_peft_model(base(fixtures, name), config)
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=STRENGTH.get(folder.name, 0.05))
    model.save_pretrained(folder)
    file = folder / "adapter_model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file)
    (folder / "README.md").unlink(missing_ok=True)


def make_apart(fixtures, folder, name):
    config = json.loads((fixtures / name / "config.json").read_text())
    hidden, width = config["hidden_size"], config["intermediate_size"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    modules = {"self_attn.k_proj": (hidden, keys)}
    modules["block_sparse_moe.gate"] = (hidden, config["num_local_experts"])
    for expert in range(config["num_local_experts"]):
        for kind, shape in {"w1": (hidden, width), "w2": (width, hidden), "w3": (hidden, width)}.items():
            modules[f"block_sparse_moe.experts.{expert}.{kind}"] = shape
    generator = torch.Generator().manual_seed(11)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for module, (inputs, outputs) in modules.items():
            start = f"base_model.model.model.layers.{layer}.{module}.lora_"
            for matrix, shape in {"A": (APART["r"], inputs), "B": (outputs, APART["r"])}.items():
                values = 0.2 * torch.randn(shape, generator=generator)
                tensors[f"{start}{matrix}.weight"] = values.half()
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(APART))


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
    make_apart(fixtures, home / "apart", "families/mixtral")
    bases["apart"] = "families/mixtral"
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
