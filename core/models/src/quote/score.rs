//! Which sentences answer a question: the rule of the quoting reader.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use outcrop_api::{EmbedOptions, Embedder, Result};

use super::passages::Passage;
use super::sentences::{Unit, units};

/// Weight of the sentence alone.
const SENTENCE: f32 = 0.4;
/// Weight of the sentence with its heading and the sentence before it.
const CONTEXT: f32 = 0.3;
/// Weight of the passage around it.
const PASSAGE: f32 = 0.3;
/// A best score below this: the documents do not answer.
const THRESHOLD: f32 = 0.36;
/// Further sentences are quoted whose score is at most this much below the best.
const MARGIN: f32 = 0.06;
/// Most sentences of one answer.
const MOST: usize = 3;

/// A sentence to quote: bytes of one passage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pick {
    pub passage: usize,
    pub range: Range<usize>,
    pub score: f32,
}

/// One sentence with the texts that it is scored by, as indices of the batch.
struct Candidate {
    passage: usize,
    range: Range<usize>,
    sentence: usize,
    context: usize,
    window: usize,
}

/// The sentences that answer `question`, best first, and the tokens read to find them. None: the
/// passages do not answer.
pub(super) async fn pick(
    embedder: &dyn Embedder,
    passages: &[Passage],
    question: &str,
) -> Result<(Vec<Pick>, usize)> {
    let mut batch = Batch::new(question);
    let mut candidates = Vec::new();
    for (index, passage) in passages.iter().enumerate() {
        collect(embedder, index, &passage.text, &mut batch, &mut candidates)?;
    }
    let options = EmbedOptions {
        normalize: true,
        truncate: false,
    };
    let vectors = embedder.embed(&batch.texts, options).await?;
    let rows: Vec<&[f32]> = vectors.rows().collect();
    let near: Vec<f32> = rows.iter().map(|row| cosine(rows[0], row)).collect();
    let mut picks: Vec<Pick> = candidates
        .into_iter()
        .map(|candidate| Pick {
            score: SENTENCE * near[candidate.sentence]
                + CONTEXT * near[candidate.context]
                + PASSAGE * near[candidate.window],
            passage: candidate.passage,
            range: candidate.range,
        })
        .collect();
    picks.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then(a.passage.cmp(&b.passage))
            .then(a.range.start.cmp(&b.range.start))
    });
    Ok((stand_out(passages, picks), vectors.input_tokens))
}

/// The best, and those within the margin of it; a sentence that two passages share counts once.
fn stand_out(passages: &[Passage], picks: Vec<Pick>) -> Vec<Pick> {
    let Some(best) = picks.first().map(|pick| pick.score) else {
        return Vec::new();
    };
    // Written so that a score that is not a number answers nothing.
    let enough = |score: f32| score >= THRESHOLD && score >= best - MARGIN;
    let mut seen = HashSet::new();
    picks
        .into_iter()
        .filter(|pick| enough(pick.score))
        .filter(|pick| {
            let words = &passages[pick.passage].text[pick.range.clone()];
            seen.insert(words.split_whitespace().collect::<Vec<_>>().join(" "))
        })
        .take(MOST)
        .collect()
}

/// The texts to embed, each once.
struct Batch {
    texts: Vec<String>,
    known: BTreeMap<String, usize>,
}

impl Batch {
    /// A batch whose first text is the question.
    fn new(question: &str) -> Self {
        Self {
            texts: vec![question.to_string()],
            known: BTreeMap::new(),
        }
    }

    fn add(&mut self, text: &str) -> usize {
        if let Some(&index) = self.known.get(text) {
            return index;
        }
        let index = self.texts.len();
        self.texts.push(text.to_string());
        self.known.insert(text.to_string(), index);
        index
    }
}

/// Adds one passage's candidates, and their texts to the batch.
fn collect(
    embedder: &dyn Embedder,
    passage: usize,
    text: &str,
    batch: &mut Batch,
    candidates: &mut Vec<Candidate>,
) -> Result<()> {
    let found = units(text);
    for window in windows(embedder, text, &found)? {
        let Some(whole) = span(&found[window.clone()]) else {
            continue;
        };
        let whole = match embedder.count_tokens(&text[whole.clone()])? <= embedder.max_tokens() {
            true => Some(batch.add(&text[whole])),
            false => None,
        };
        for unit in found[window].iter().filter(|unit| !unit.is_heading) {
            for range in pieces(embedder, text, unit.range.clone())? {
                let words = &text[range.clone()];
                let context = context(text, &found, unit, words);
                let fits = embedder.count_tokens(&context)? <= embedder.max_tokens();
                let sentence = batch.add(words);
                let context = if fits { batch.add(&context) } else { sentence };
                candidates.push(Candidate {
                    passage,
                    range,
                    sentence,
                    context,
                    window: whole.unwrap_or(context),
                });
            }
        }
    }
    Ok(())
}

/// The sentence after its heading and the sentence before it.
fn context(text: &str, found: &[Unit], unit: &Unit, words: &str) -> String {
    let before = [unit.heading, unit.previous]
        .into_iter()
        .flatten()
        .filter_map(|index| found.get(index))
        .map(|unit| &text[unit.range.clone()]);
    before.chain([words]).collect::<Vec<_>>().join("\n")
}

/// Runs of units whose text the embedder reads whole: one for a passage of a usual length.
fn windows(embedder: &dyn Embedder, text: &str, found: &[Unit]) -> Result<Vec<Range<usize>>> {
    let mut windows: Vec<Range<usize>> = Vec::new();
    let mut tokens = 0;
    for (index, unit) in found.iter().enumerate() {
        let count = embedder.count_tokens(&text[unit.range.clone()])?;
        match windows.last_mut() {
            Some(window) if tokens + count <= embedder.max_tokens() => {
                window.end = index + 1;
                tokens += count;
            }
            _ => {
                windows.push(index..index + 1);
                tokens = count;
            }
        }
    }
    Ok(windows)
}

fn span(found: &[Unit]) -> Option<Range<usize>> {
    Some(found.first()?.range.start..found.last()?.range.end)
}

/// `range` itself where the embedder reads it whole; else halves of it, cut between words.
fn pieces(embedder: &dyn Embedder, text: &str, range: Range<usize>) -> Result<Vec<Range<usize>>> {
    let words = &text[range.clone()];
    if embedder.count_tokens(words)? <= embedder.max_tokens() {
        return Ok(vec![range]);
    }
    let half = words.len() / 2;
    let cut = words
        .char_indices()
        .filter(|(_, c)| c.is_whitespace())
        .map(|(at, _)| at)
        .min_by_key(|at| at.abs_diff(half))
        .unwrap_or_else(|| words.floor_char_boundary(half));
    if cut == 0 {
        return Ok(Vec::new());
    }
    let (left, right) = words.split_at(cut);
    let start = range.start + cut + (right.len() - right.trim_start().len());
    let end = range.start + left.trim_end().len();
    let mut found = pieces(embedder, text, range.start..end)?;
    found.extend(pieces(embedder, text, start..range.end)?);
    Ok(found)
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
