"""PyTorch's side of training.py: one AdamW step of a Hugging Face Llama for each line of its input.

usage: torch_training_peer.py CONFIG.json SEQUENCES TOKENS THREADS
"""

import json
import resource
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

config, (sequences, tokens, threads) = sys.argv[1], map(int, sys.argv[2:5])
torch.set_num_threads(threads)
torch.manual_seed(1)
with open(config, encoding="utf-8") as file:
    model = LlamaForCausalLM(LlamaConfig(**json.load(file), attn_implementation="sdpa"))
model.train()
# The fastest form that PyTorch has on a CPU.
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
ids = torch.randint(0, model.config.vocab_size, (sequences, tokens))
print("ready", flush=True)
for _ in sys.stdin:
    started = time.perf_counter()
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(seconds, loss.item(), peak, flush=True)
