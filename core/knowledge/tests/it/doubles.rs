//! An embedder and a chat model whose answers are known by hand, and folders of text.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outcrop_api::{
    BoxFuture, ChatModel, ContentBlock, ConverseRequest, EmbedOptions, Embedder, Embeddings, Error,
    EventStream, Result, StopReason, StreamEvent, Usage,
};
use outcrop_knowledge::{Chunking, KnowledgeBase, KnowledgeBaseSpec};
use outcrop_store::Home;

/// Words hashed into signs: texts with the same words are near each other.
pub struct HashingEmbedder {
    pub id: &'static str,
    pub dimensions: usize,
    pub max_tokens: usize,
    /// How long a call takes, so that a test can be in the middle of one.
    pub delay: Duration,
}

impl Default for HashingEmbedder {
    fn default() -> Self {
        Self {
            id: "test.hashing-v1",
            dimensions: 256,
            max_tokens: 256,
            delay: Duration::ZERO,
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

impl Embedder for HashingEmbedder {
    fn id(&self) -> &str {
        self.id
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(2 + words(text)
            .map(|word| word.chars().count().div_ceil(6))
            .sum::<usize>())
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        _options: EmbedOptions,
    ) -> BoxFuture<'a, Result<Embeddings>> {
        Box::pin(async move {
            tokio::time::sleep(self.delay).await;
            let mut values = Vec::new();
            let mut input_tokens = 0;
            for text in texts {
                let tokens = self.count_tokens(text)?;
                if tokens > self.max_tokens {
                    return Err(Error::validation(format!(
                        "texts: expected at most {} tokens, got {tokens}",
                        self.max_tokens
                    )));
                }
                input_tokens += tokens;
                values.extend(vector(text, self.dimensions));
            }
            Ok(Embeddings {
                values,
                dimensions: self.dimensions,
                input_tokens,
            })
        })
    }
}

fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0f32; dimensions];
    for word in words(text) {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in word.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        for _ in 0..4 {
            hash = hash.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (hash >> 33) as usize % dimensions;
            vector[at] += if hash >> 63 == 0 { 1.0 } else { -1.0 };
        }
    }
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|v| *v /= length);
    } else {
        vector[0] = 1.0;
    }
    vector
}

pub fn embedder() -> Arc<dyn Embedder> {
    Arc::new(HashingEmbedder::default())
}

/// Answers with given blocks, and keeps what it was asked.
pub struct ScriptedChat {
    pub blocks: Vec<ContentBlock>,
    pub asked: Mutex<Vec<ConverseRequest>>,
}

impl ScriptedChat {
    pub fn new(blocks: Vec<ContentBlock>) -> Arc<Self> {
        Arc::new(Self {
            blocks,
            asked: Mutex::default(),
        })
    }
}

impl ChatModel for ScriptedChat {
    fn id(&self) -> &str {
        "test.scripted-v1"
    }

    fn converse_stream(
        &self,
        request: ConverseRequest,
    ) -> BoxFuture<'_, Result<Box<dyn EventStream>>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(request);
            let mut events: VecDeque<StreamEvent> = VecDeque::new();
            for block in &self.blocks {
                events.push_back(match block {
                    ContentBlock::Text(text) => StreamEvent::TextDelta(text.clone()),
                    other => StreamEvent::Block(other.clone()),
                });
            }
            events.push_back(StreamEvent::Done {
                stop_reason: StopReason::EndTurn,
                usage: Usage::new(7, 3),
            });
            Ok(Box::new(Events(events)) as Box<dyn EventStream>)
        })
    }
}

struct Events(VecDeque<StreamEvent>);

impl EventStream for Events {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<StreamEvent>>> {
        let event = self.0.pop_front().map(Ok);
        Box::pin(std::future::ready(event))
    }
}

/// A home, a folder of documents, and a knowledge base over it.
pub struct Fixture {
    _folder: tempfile::TempDir,
    pub home: PathBuf,
    pub docs: PathBuf,
    pub base: KnowledgeBase,
}

pub fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let (home, docs) = (folder.path().join("home"), folder.path().join("docs"));
    std::fs::create_dir(&docs).unwrap();
    let base = create(&home, "policies");
    base.add_source(&docs).unwrap();
    Fixture {
        _folder: folder,
        home,
        docs,
        base,
    }
}

pub fn create(home: &Path, name: &str) -> KnowledgeBase {
    let spec = KnowledgeBaseSpec {
        name: name.into(),
        description: None,
        embedding_model: "test.hashing-v1".into(),
        chunking: Chunking {
            max_tokens: 40,
            overlap_tokens: 8,
        },
        id: None,
    };
    KnowledgeBase::create(&Home::open(home).unwrap(), spec).unwrap()
}

impl Fixture {
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.docs.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn ids(&self) -> Vec<String> {
        self.base
            .documents()
            .unwrap()
            .into_iter()
            .map(|d| d.id)
            .collect()
    }
}

/// Numbers that look random and are the same in each run.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
