"""Tiny random embedding and reranking models with what they must answer.

    python make_encoders.py ../fixtures

Needs torch, transformers 5, sentence-transformers and tokenizers. The answers are those of
sentence-transformers over the stored weights, computed in F32 with eager attention.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.cross_encoder.modules import LogitScore
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "The harbour master keeps a ledger of every ship that enters before the tide turns.",
    "A customer may close the account at any branch, and the fee for it is four euros.",
    "Water boils at one hundred degrees at sea level, and at less on a high mountain.",
    "What does it cost to close an account? Which ships came in before noon?",
    "query: passage: Instruct: Given a web search query, retrieve relevant passages that answer "
    "the query. Judge whether the Document meets the requirements based on the Query and the "
    'Instruct provided. Note that the answer can only be "yes" or "no".',
    "Zürich, naïve café, 東京は雨です, Привет мир, 🙂🚀",
]
TEXTS = [
    "A customer may close the account at any branch.",
    "Which ships came in before noon?",
    "",
    "東京は雨です 🙂 naïve café",
    "Water boils at one hundred degrees. " * 12,
    "fee",
    "The harbour master keeps a ledger\nof every ship.",
    "  spaces   and UPPER case  ",
]
PAIRS = [
    ("What does it cost to close an account?", "The fee for it is four euros."),
    ("What does it cost to close an account?", "Water boils at one hundred degrees."),
    ("Which ships came in?", "The harbour master keeps a ledger of every ship."),
    ("東京", "Привет мир 🙂"),
    ("", "A customer may close the account."),
    ("fee", ""),
]
WIDTH, HEADS, INNER, LAYERS = 32, 4, 36, 2


def unigram() -> PreTrainedTokenizerFast:
    """As XLM-RoBERTa's: sentencepiece's unigram model, `<s>` and `</s>` around a text."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=260, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", cls_token="<s>",
        sep_token="</s>", pad_token="<pad>", unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )


def word_piece() -> PreTrainedTokenizerFast:
    """As BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=260, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]",
        unk_token="[UNK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def byte_level(post_processor: TemplateProcessing | None, special: list[str], **names: str):
    """As ModernBERT's and Qwen3's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS + ["yes no"] * 20, trainer)
    if post_processor is not None:
        tokenizer.post_processor = post_processor
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], **names
    )


def modernbert_tokenizer() -> PreTrainedTokenizerFast:
    around = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 0), ("[SEP]", 1)],
    )
    return byte_level(
        around, ["[CLS]", "[SEP]", "[PAD]"], cls_token="[CLS]", sep_token="[SEP]",
        pad_token="[PAD]",
    )


def qwen3_tokenizer(adds_end: bool) -> PreTrainedTokenizerFast:
    end = TemplateProcessing(
        single="$A <|endoftext|>", pair="$A $B <|endoftext|>",
        special_tokens=[("<|endoftext|>", 0)],
    )
    return byte_level(
        end if adds_end else None, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        eos_token="<|endoftext|>", pad_token="<|endoftext|>",
    )


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights that make attention and norms matter, rounded to what bfloat16 holds."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            values = torch.randn(parameter.shape, generator=generator)
            is_norm = parameter.dim() == 1 and "norm" in name.lower() and "weight" in name
            parameter.copy_((1 + 0.2 * values if is_norm else 0.25 * values).bfloat16().float())


def shrink(folder: Path) -> None:
    """Stores the weights of a folder as bfloat16."""
    for file in folder.rglob("model.safetensors"):
        tensors = {name: t.bfloat16().contiguous() for name, t in load_file(file).items()}
        save_file(tensors, file, metadata={"format": "pt"})
    for name in ["README.md", "special_tokens_map.json"]:
        (folder / name).unlink(missing_ok=True)


def rounded(values) -> list[float]:
    return [float(f"{float(value):.7g}") for value in values]


def write(folder: Path, golden: dict) -> None:
    (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
    print(folder.name, sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))


EAGER = {"dtype": torch.float32, "attn_implementation": "eager"}


def save_transformer(folder: Path, model, tokenizer, max_tokens: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer.model_max_length = max_tokens
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def embedding(folder: Path, model, tokenizer, tail: list, prompts: dict, max_tokens=32) -> None:
    """Saves an embedding model and its answers."""
    with tempfile.TemporaryDirectory() as temporary:
        save_transformer(Path(temporary), model, tokenizer, max_tokens)
        shutil.rmtree(folder, ignore_errors=True)
        modules = [Transformer(temporary, model_kwargs=EAGER), *tail]
        SentenceTransformer(modules=modules, prompts=prompts).save(str(folder))
    shrink(folder)
    write(folder, embedding_golden(folder, prompts))


def embedding_golden(folder: Path, prompts: dict) -> dict:
    whole = SentenceTransformer(str(folder), device="cpu", model_kwargs=EAGER)
    golden = {"texts": [], "prompts": {}}
    limit = whole.max_seq_length
    vectors = whole.encode(TEXTS, batch_size=3)
    for text, vector in zip(TEXTS, vectors, strict=True):
        alone = whole.encode([text])[0]
        assert abs(alone - vector).max() < 2e-6, (folder, text)
        golden["texts"].append(
            {
                "text": text,
                "ids": whole.tokenizer(text, truncation=True, max_length=limit)["input_ids"],
                "tokens": len(whole.tokenizer(text)["input_ids"]),
                "embedding": rounded(vector),
            }
        )
    tokens = whole.encode([TEXTS[0]], output_value="token_embeddings")[0]
    golden["token_embeddings_of_text_0"] = [rounded(row) for row in tokens]
    for name in prompts:
        golden["prompts"][name] = rounded(whole.encode([TEXTS[0]], prompt_name=name)[0])
    return golden


def pairs_golden(score) -> dict:
    singles = [score([pair])[0] for pair in PAIRS]
    together = score(PAIRS)
    assert max(abs(a - b) for a, b in zip(singles, together, strict=True)) < 2e-5
    pairs = [
        {
            "query": query, "document": document, "score": float(f"{float(raw):.7g}"),
            "sigmoid": float(f"{torch.sigmoid(torch.tensor(float(raw))):.7g}"),
        }
        for (query, document), raw in zip(PAIRS, singles, strict=True)
    ]
    return {"pairs": pairs}


def reranking(folder: Path, model, tokenizer) -> None:
    """Saves a cross-encoder and its raw scores."""
    save_transformer(folder, model, tokenizer, 256)
    shrink(folder)
    whole = CrossEncoder(str(folder), device="cpu", model_kwargs=EAGER)
    identity = torch.nn.Identity()
    write(folder, pairs_golden(lambda pairs: whole.predict(pairs, activation_fn=identity)))


def bert_like(tokenizer, **more) -> dict:
    return {
        "vocab_size": len(tokenizer), "hidden_size": WIDTH, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "intermediate_size": INNER, **more,
    }


def xlm_roberta(fixtures: Path) -> None:
    tokenizer = unigram()
    config = transformers.XLMRobertaConfig(
        **bert_like(tokenizer), max_position_embeddings=66, type_vocab_size=1, pad_token_id=1,
        bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5,
    )
    model = transformers.XLMRobertaModel(config)
    randomise(model, 1)
    tail = [Pooling(WIDTH, "cls"), Normalize()]
    prompts = {"query": "query: ", "passage": "passage: "}
    embedding(fixtures / "xlm_roberta", model, tokenizer, tail, prompts)
    config.num_labels, config.max_position_embeddings = 1, 130
    classifier = transformers.XLMRobertaForSequenceClassification(config)
    randomise(classifier, 2)
    reranking(fixtures / "xlm_roberta_reranker", classifier, tokenizer)


def modernbert(fixtures: Path) -> None:
    tokenizer = modernbert_tokenizer()
    shape = bert_like(tokenizer, max_position_embeddings=128, local_attention=8)
    names = {"cls_token_id": 0, "sep_token_id": 1, "pad_token_id": 2, "bos_token_id": 0,
             "eos_token_id": 1}
    shape["num_hidden_layers"] = 4
    model = transformers.ModernBertModel(transformers.ModernBertConfig(**shape, **names))
    randomise(model, 3)
    folder = fixtures / "modernbert"
    tail = [Pooling(WIDTH, ("mean", "mean_sqrt_len_tokens")), Normalize()]
    embedding(folder, model, tokenizer, tail, {}, max_tokens=40)
    # As the repositories have it: a rule for the layers and two bases.
    config = json.loads((folder / "config.json").read_text())
    del config["layer_types"], config["rope_parameters"]
    config |= {"global_attn_every_n_layers": 3, "global_rope_theta": 160000.0,
               "local_rope_theta": 10000.0}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    write(folder, embedding_golden(folder, {}))
    shape["num_hidden_layers"] = 2
    classifier = transformers.ModernBertForSequenceClassification(
        transformers.ModernBertConfig(
            **shape, **names, num_labels=1, classifier_pooling="mean",
            layer_types=["full_attention", "sliding_attention"],
            rope_parameters={
                "full_attention": {"rope_type": "default", "rope_theta": 5000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 700.0},
            },
        )
    )
    randomise(classifier, 4)
    reranking(fixtures / "modernbert_reranker", classifier, tokenizer)


def nomic(fixtures: Path) -> None:
    tokenizer = word_piece()
    config = transformers.NomicBertConfig(
        **bert_like(tokenizer), max_position_embeddings=64, type_vocab_size=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0}, pad_token_id=0,
    )
    model = transformers.NomicBertModel(config)
    randomise(model, 5)
    prompts = {"search_query": "search_query: ", "document": "search_document: "}
    tail = [Pooling(WIDTH, "mean", include_prompt=False)]
    folder = fixtures / "nomic_bert"
    embedding(folder, model, tokenizer, tail, prompts)
    # The layout of nomic-embed-text-v1.5, which transformers reads by renaming.
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model_type": "nomic_bert", "architectures": ["NomicBertModel"],
                "activation_function": "swiglu", "n_embd": WIDTH, "n_head": HEADS,
                "n_inner": INNER, "n_layer": LAYERS, "n_positions": 64,
                "max_trained_positions": 64, "layer_norm_epsilon": 1e-12,
                "vocab_size": len(tokenizer), "type_vocab_size": 2, "qkv_proj_bias": False,
                "mlp_fc1_bias": False, "mlp_fc2_bias": False, "prenorm": False,
                "use_rms_norm": False, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0,
                "rotary_emb_interleaved": False, "rotary_emb_scale_base": None,
                "rotary_scaling_factor": None,
            },
            indent=1,
        )
        + "\n"
    )
    tensors = load_file(folder / "model.safetensors")
    if not any("Wqkv" in name for name in tensors):
        hub = {}
        for name, tensor in tensors.items():
            for part, of_hub in [
                ("layers.", "encoder.layers."), ("embeddings.LayerNorm", "emb_ln"),
                ("self_attn.o_proj", "attn.out_proj"), ("up_proj", "fc11"),
                ("gate_proj", "fc12"), ("down_proj", "fc2"),
                ("post_attention_layernorm", "norm1"), ("post_mlp_layernorm", "norm2"),
            ]:
                name = name.replace(part, of_hub)
            hub[name] = tensor
        for layer in range(LAYERS):
            at = f"encoder.layers.{layer}."
            parts = [hub.pop(f"{at}self_attn.{p}_proj.weight") for p in "qkv"]
            hub[f"{at}attn.Wqkv.weight"] = torch.cat(parts)
        save_file(hub, folder / "model.safetensors", metadata={"format": "pt"})


JUDGE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
ANSWER = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
PAIR_TEMPLATE = (
    "{%- set ns = namespace(i='Find it', q='', d='') -%}"
    "{%- for m in messages -%}{%- if m.role == 'system' -%}{%- set ns.i = m.content -%}"
    "{%- elif m.role == 'query' -%}{%- set ns.q = m.content -%}"
    "{%- elif m.role == 'document' -%}{%- set ns.d = m.content -%}{%- endif -%}{%- endfor -%}"
    "{{ '<|im_start|>user\\n<Instruct>: ' + ns.i + '\\n<Query>: ' + ns.q + '\\n<Document>: ' + ns.d"
    " + '<|im_end|>\\n' }}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def qwen3(fixtures: Path) -> None:
    tokenizer = qwen3_tokenizer(adds_end=True)
    config = transformers.Qwen3Config(
        **bert_like(tokenizer), num_key_value_heads=2, head_dim=12, max_position_embeddings=512,
        rope_theta=10000.0, pad_token_id=0, eos_token_id=0, tie_word_embeddings=True,
    )
    model = transformers.Qwen3Model(config)
    randomise(model, 6)
    dense = Dense(WIDTH, 20, activation_function=torch.nn.Tanh())
    randomise(dense, 7)
    prompts = {"query": f"Instruct: {INSTRUCTION}\nQuery:", "document": ""}
    tail = [Pooling(WIDTH, "lasttoken"), dense, Normalize()]
    embedding(fixtures / "qwen3_embedding", model, tokenizer, tail, prompts, max_tokens=48)

    tokenizer = qwen3_tokenizer(adds_end=False)
    config.num_labels, config.tie_word_embeddings = 1, False
    classifier = transformers.Qwen3ForSequenceClassification(config)
    randomise(classifier, 8)
    folder = fixtures / "qwen3_classifier"
    save_transformer(folder, classifier, tokenizer, 512)
    shrink(folder)
    whole = transformers.AutoModelForSequenceClassification.from_pretrained(folder, **EAGER).eval()

    def score(pairs):
        out = []
        for query, document in pairs:
            text = f"{JUDGE}<Instruct>: {INSTRUCTION}\n<Query>: {query}\n<Document>: {document}{ANSWER}"
            ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
            with torch.no_grad():
                out.append(float(whole(ids).logits[0, 0]))
        return out

    write(folder, pairs_golden(score))

    config.tie_word_embeddings = True
    language_model = transformers.Qwen3ForCausalLM(config)
    randomise(language_model, 9)
    tokenizer.chat_template = PAIR_TEMPLATE
    folder = fixtures / "qwen3_reranker"
    with tempfile.TemporaryDirectory() as temporary:
        save_transformer(Path(temporary), language_model, tokenizer, 512)
        shutil.rmtree(folder, ignore_errors=True)
        yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
        modules = [
            Transformer(
                temporary, transformer_task="text-generation", model_kwargs=EAGER,
                processing_kwargs={"chat_template": {"add_generation_prompt": True}},
            ),
            LogitScore(yes, no),
        ]
        prompts = {"search": "Find the answer"}
        CrossEncoder(modules=modules, prompts=prompts, default_prompt_name="search").save(
            str(folder)
        )
    shrink(folder)
    whole = CrossEncoder(str(folder), device="cpu", model_kwargs=EAGER)
    identity = torch.nn.Identity()
    write(folder, pairs_golden(lambda pairs: whole.predict(pairs, activation_fn=identity)))


def main() -> None:
    fixtures = Path(sys.argv[1])
    torch.manual_seed(0)
    for make in (xlm_roberta, modernbert, nomic, qwen3):
        make(fixtures)


if __name__ == "__main__":
    main()
