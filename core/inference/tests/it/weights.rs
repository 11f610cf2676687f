//! Checkpoints: sound ones read as they are, damaged ones refused by name and never by a panic.

use std::fs;
use std::path::{Path, PathBuf};

use outcrop_inference::weights::{gguf, safetensors};
use outcrop_inference::{
    ChatTemplate, Checkpoint, GgufValue, ModelSource, Tokenizer, WeightsError,
};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A copy of a fixture that may be damaged.
fn copy(model: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixtures().join(model)).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    folder
}

/// A small generator of numbers that are the same in each run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }
}

#[test]
fn a_folder_and_a_gguf_file_hold_the_same_model() {
    let folder = Checkpoint::open(&fixtures().join("llama3")).unwrap();
    let file = Checkpoint::open(&fixtures().join("llama3/model-Q8_0.gguf")).unwrap();
    assert_eq!(folder.quantization(), "BF16");
    assert_eq!(file.quantization(), "Q8_0");
    assert_eq!(folder.parameters(), 164_288);
    assert_eq!(folder.bytes(), 2 * folder.parameters());
    assert_eq!(
        folder.shape("model.embed_tokens.weight"),
        Some(&[544, 64][..])
    );
    assert_eq!(file.shape("token_embd.weight"), Some(&[544, 64][..]));
    assert_eq!(file.shape("blk.0.ffn_down.weight"), Some(&[64, 160][..]));

    let exact = folder.vector("model.norm.weight", 64).unwrap();
    assert_eq!(file.vector("output_norm.weight", 64).unwrap(), exact);
    let (mut rounded, mut row) = (vec![0.0; 160], vec![0.0; 160]);
    file.matrix("blk.1.ffn_down.weight", 64, 160)
        .unwrap()
        .dequantize_row(7, &mut rounded);
    folder
        .matrix("model.layers.1.mlp.down_proj.weight", 64, 160)
        .unwrap()
        .dequantize_row(7, &mut row);
    let scale = row.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    for (a, b) in row.iter().zip(&rounded) {
        assert!((a - b).abs() <= scale / 127.0, "{a} {b}");
    }

    let ModelSource::Gguf { metadata } = file.config() else {
        panic!("expected GGUF metadata");
    };
    assert_eq!(metadata["general.architecture"].as_str(), Some("llama"));
    assert_eq!(metadata["llama.block_count"].as_u64(), Some(3));
    assert_eq!(metadata["llama.rope.freq_base"], GgufValue::Float(10000.0));
}

#[test]
fn what_is_missing_or_of_another_shape_is_named() {
    let checkpoint = Checkpoint::open(&fixtures().join("qwen3")).unwrap();
    let message = checkpoint
        .vector("model.norm.weight", 65)
        .unwrap_err()
        .to_string();
    assert!(
        message
            .contains("model.safetensors: tensor model.norm.weight: expected shape [65], got [64]"),
        "{message}"
    );
    assert!(matches!(
        checkpoint.matrix("lm_head.weight", 1, 1),
        Err(WeightsError::NoTensor { .. })
    ));

    for file in ["config.json", "model.safetensors"] {
        let folder = copy("qwen3");
        fs::remove_file(folder.path().join(file)).unwrap();
        let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains(file) && message.contains("missing"),
            "{message}"
        );
    }
    let folder = copy("qwen3");
    fs::write(folder.path().join("config.json"), "{not JSON").unwrap();
    let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("config.json: expected JSON"), "{message}");
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let message = Tokenizer::load(folder.path()).unwrap_err().to_string();
    assert!(
        message.contains("tokenizer.json") && message.contains("missing"),
        "{message}"
    );
    let message = Checkpoint::open(Path::new("nowhere/at-all")).unwrap_err();
    assert!(
        matches!(message, WeightsError::NotFound { .. }),
        "{message}"
    );
}

/// A safetensors file of F32 tensors, each with one dimension.
fn safetensors_file(tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": [values.len()], "data_offsets": [start, data.len()]});
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    file
}

#[test]
fn shards_are_one_checkpoint_and_stay_in_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("config.json"), "{}").unwrap();
    fs::write(at("a.safetensors"), safetensors_file(&[("x", &[1.0, 2.0])])).unwrap();
    fs::write(at("b.safetensors"), safetensors_file(&[("y", &[3.0])])).unwrap();
    let index = |map: &str| {
        fs::write(
            at("model.safetensors.index.json"),
            format!(r#"{{"weight_map": {map}}}"#),
        )
        .unwrap()
    };

    index(r#"{"x": "a.safetensors", "y": "b.safetensors"}"#);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["x", "y"]);
    assert_eq!(checkpoint.vector("x", 2).unwrap(), [1.0, 2.0]);
    assert_eq!(checkpoint.vector("y", 1).unwrap(), [3.0]);

    for (map, expected) in [
        (
            r#"{"x": "../a.safetensors"}"#,
            "expected the name of a .safetensors file in the folder",
        ),
        (
            r#"{"x": "/etc/a.safetensors"}"#,
            "expected the name of a .safetensors file in the folder",
        ),
        (
            r#"{"x": "./a.safetensors"}"#,
            "expected the name of a .safetensors file in the folder",
        ),
        (
            r#"{"x": "config.json"}"#,
            "expected the name of a .safetensors file in the folder",
        ),
        (r#"{"x": "c.safetensors"}"#, "the file is missing"),
        (r#"{"z": "a.safetensors"}"#, "expected a tensor z"),
        (r"{}", "expected a shard"),
        (r"[]", "expected an index of shards"),
    ] {
        index(map);
        let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "{map}: {message}");
    }
    fs::write(at("b.safetensors"), safetensors_file(&[("x", &[3.0])])).unwrap();
    index(r#"{"x": "a.safetensors", "y": "b.safetensors"}"#);
    let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("tensor x also stands in"), "{message}");
}

/// Opens what stands at `path` and reads every tensor of it; an error must name `file`.
fn open_damaged(path: &Path, file: &str) -> bool {
    let read = Checkpoint::open(path).map(|checkpoint| {
        for name in checkpoint.names() {
            match *checkpoint.shape(name).unwrap() {
                [len] => drop(checkpoint.vector(name, len)),
                [rows, cols] => drop(checkpoint.matrix(name, rows, cols)),
                _ => {}
            }
        }
    });
    if let Err(error) = &read {
        assert!(error.to_string().contains(file), "{error}");
    }
    read.is_ok()
}

#[test]
fn a_file_cut_short_is_refused() {
    for (model, file) in [
        ("llama3", "model.safetensors"),
        ("llama3_h256", "model.safetensors"),
        ("qwen3", "model.safetensors"),
        ("bert_minilm", "model.safetensors"),
        ("bert_cross_encoder", "model.safetensors"),
        ("llama3", "model-Q8_0.gguf"),
        ("llama3_h256", "model-Q4_K_M.gguf"),
    ] {
        let folder = copy(model);
        let damaged = folder.path().join(file);
        let whole = fs::read(&damaged).unwrap();
        let path = if file.ends_with(".gguf") {
            damaged.clone()
        } else {
            folder.path().to_owned()
        };
        assert!(open_damaged(&path, file));
        let mut seeded = Seeded(7);
        let near = (0..40).chain(whole.len() - 20..whole.len());
        let lengths: Vec<usize> = near
            .chain((0..100).map(|_| seeded.below(whole.len())))
            .collect();
        for length in lengths {
            fs::write(&damaged, &whole[..length]).unwrap();
            // A GGUF file may end in padding that no tensor needs.
            let opens = open_damaged(&path, file);
            assert!(
                !opens || (file.ends_with(".gguf") && whole.len() - length < 32),
                "{file} cut to {length}"
            );
        }
    }
}

#[test]
fn altered_bytes_never_panic() {
    for (model, file, header) in [
        ("llama3", "model.safetensors", 3_000),
        ("llama3_h256", "model.safetensors", 3_000),
        ("qwen3", "model.safetensors", 3_000),
        ("bert_minilm", "model.safetensors", 3_000),
        ("bert_cross_encoder", "model.safetensors", 3_000),
        ("llama3", "model-Q8_0.gguf", 24_000),
        ("llama3_h256", "model-Q4_K_M.gguf", 24_000),
    ] {
        let folder = copy(model);
        let damaged = folder.path().join(file);
        let whole = fs::read(&damaged).unwrap();
        let mut seeded = Seeded(11);
        let mut refused = 0;
        for round in 0..1_500 {
            let mut bytes = whole.clone();
            for _ in 0..1 + seeded.below(3) {
                let at = if round % 3 == 0 {
                    seeded.below(64)
                } else {
                    seeded.below(header)
                };
                bytes[at] = seeded.below(256) as u8;
            }
            let read = match file.ends_with(".gguf") {
                true => gguf::read_header(&bytes).map(|_| ()),
                false => safetensors::read_header(&bytes).map(|_| ()),
            };
            refused += usize::from(read.is_err());
            if round % 20 == 0 {
                fs::write(&damaged, &bytes).unwrap();
                let path = if file.ends_with(".gguf") {
                    &damaged
                } else {
                    folder.path()
                };
                open_damaged(path, file);
                if file.ends_with(".gguf") {
                    drop(Tokenizer::load(path));
                    drop(Checkpoint::open(path).map(|c| ChatTemplate::from_checkpoint(&c)));
                }
            }
        }
        assert!(refused > 250, "{file}: {refused} refused");
    }
}

/// Bytes of a GGUF file with one metadata entry and one tensor.
fn gguf_file(version: u32, counts: [u64; 2], key: &str, value: &[u8], tensor: &[u8]) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend(version.to_le_bytes());
    file.extend(counts[0].to_le_bytes());
    file.extend(counts[1].to_le_bytes());
    file.extend((key.len() as u64).to_le_bytes());
    file.extend(key.as_bytes());
    file.extend(value);
    file.extend(tensor);
    file
}

/// A tensor's entry: name `t`, dimensions, type, offset.
fn gguf_tensor(dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut entry = 1u64.to_le_bytes().to_vec();
    entry.push(b't');
    entry.extend((dimensions.len() as u32).to_le_bytes());
    entry.extend(dimensions.iter().flat_map(|d| d.to_le_bytes()));
    entry.extend(kind.to_le_bytes());
    entry.extend(offset.to_le_bytes());
    entry
}

#[test]
fn each_lie_of_a_gguf_header_is_told() {
    let flag = [&7u32.to_le_bytes()[..], &[1]].concat();
    let array = |kind: u32, count: u64| {
        [
            &9u32.to_le_bytes()[..],
            &kind.to_le_bytes(),
            &count.to_le_bytes(),
        ]
        .concat()
    };
    let tensor = |dimensions: &[u64], kind, offset| {
        let mut file = gguf_file(
            3,
            [1, 1],
            "k",
            &flag,
            &gguf_tensor(dimensions, kind, offset),
        );
        file.resize(file.len().next_multiple_of(32) + 128, 0);
        file
    };
    assert_eq!(
        gguf::read_header(&tensor(&[8, 4], 0, 0)).unwrap().tensors[0].shape,
        [4, 8]
    );
    for (file, expected) in [
        (
            gguf_file(1, [0, 0], "", &[], &[]),
            "version: expected 2 or 3",
        ),
        (
            gguf_file(3, [0, u64::MAX], "k", &flag, &[]),
            "number of metadata entries: expected at most",
        ),
        (
            gguf_file(3, [u64::MAX, 1], "k", &flag, &[]),
            "number of tensors: expected at most",
        ),
        (
            gguf_file(3, [0, 1], "k", &array(8, u64::MAX), &[]),
            "k: expected at most",
        ),
        (
            gguf_file(3, [0, 1], "k", &array(4, 1 << 60), &[]),
            "k: expected at most",
        ),
        (
            gguf_file(3, [0, 1], "k", &13u32.to_le_bytes(), &[0; 9]),
            "value type",
        ),
        (
            gguf_file(3, [0, 1], "k", &[7, 0, 0, 0, 2], &[0; 9]),
            "bool of 0 or 1",
        ),
        (
            gguf_file(3, [0, 1], "k", &array(9, 1).repeat(9)[..], &[0; 64]),
            "k: expected",
        ),
        (
            gguf_file(
                3,
                [0, 1],
                "general.alignment",
                &[4, 0, 0, 0, 7, 0, 0, 0],
                &[],
            ),
            "power of two",
        ),
        (tensor(&[8, 4], 0, 32), "the file ends at"),
        (tensor(&[8, 4], 0, 4), "multiple of 32"),
        (tensor(&[8, 4], 0, u64::MAX - 31), "the file ends at"),
        (tensor(&[u64::MAX, 4], 0, 0), "overflows"),
        (tensor(&[8, 4], 8, 0), "multiple of 32 for Q8_0"),
        (tensor(&[8, 4], 99, 0), "known ggml type"),
        (tensor(&[1; 5], 0, 0), "at most 4 dimensions"),
    ] {
        let error = gguf::read_header(&file).expect_err(expected);
        assert!(error.contains(expected), "{error}: expected {expected}");
    }
}

#[test]
fn empty_tensors_with_absurd_dimensions_are_harmless() {
    let huge = u64::MAX;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let names = ["a", "b", "c"];
    for [first, second] in [[0, huge], [huge, 0], [0, 0]] {
        let entry =
            format!(r#"{{"dtype":"BF16","shape":[{first},{second}],"data_offsets":[0,0]}}"#);
        let entries: Vec<String> = names.iter().map(|n| format!(r#""{n}":{entry}"#)).collect();
        let header = format!("{{{}}}", entries.join(","));
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        fs::write(folder.path().join("model.safetensors"), &file).unwrap();
        if open_damaged(folder.path(), "model.safetensors") {
            let checkpoint = Checkpoint::open(folder.path()).unwrap();
            assert_eq!((checkpoint.parameters(), checkpoint.bytes()), (0, 0));
        }
        let mut file = gguf_file(
            3,
            [1, 1],
            "k",
            &[7, 0, 0, 0, 1],
            &gguf_tensor(&[second, first], 1, 0),
        );
        file.resize(file.len().next_multiple_of(32), 0);
        let path = folder.path().join("model.gguf");
        fs::write(&path, &file).unwrap();
        if open_damaged(&path, "model.gguf") {
            assert_eq!(Checkpoint::open(&path).unwrap().parameters(), 0);
        }
    }
}
