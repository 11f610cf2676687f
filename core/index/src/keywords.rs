//! Search by words: BM25 over the rows that hold a query's terms.

use std::collections::HashMap;

use unicode_segmentation::UnicodeSegmentation;

use crate::flat::{IndexError, has_row};
use crate::top_k::{Hit, TopK, merge};

/// How soon a term's further occurrences stop to count, and how much a long text is held back: the
/// usual values of Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond"
/// (2009), section 3.
const K1: f32 = 1.2;
const B: f32 = 0.75;

/// The words of `text` in lower case, by the word boundaries of Unicode (UAX 29). Numbers are words;
/// punctuation is none.
pub fn terms(text: &str) -> impl Iterator<Item = String> + '_ {
    text.unicode_words().map(str::to_lowercase)
}

/// Where each term stands among the rows of one piece, which never change.
#[derive(Clone, Debug, Default)]
pub struct KeywordIndex {
    postings: HashMap<String, Vec<Posting>>,
    /// The number of terms of each row.
    lengths: Vec<u32>,
}

/// A row that holds a term, and how many times.
#[derive(Clone, Copy, Debug)]
struct Posting {
    row: u32,
    count: u32,
}

impl KeywordIndex {
    /// The index of `rows` rows, of which `texts` gives those that have a text, in ascending order.
    pub fn build<'a>(rows: usize, texts: impl Iterator<Item = (u32, &'a str)>) -> Self {
        let mut index = Self {
            postings: HashMap::new(),
            lengths: vec![0; rows],
        };
        for (row, text) in texts {
            for term in terms(text) {
                if let Some(length) = index.lengths.get_mut(row as usize) {
                    *length += 1;
                    let postings = index.postings.entry(term).or_default();
                    match postings.last_mut() {
                        Some(last) if last.row == row => last.count += 1,
                        _ => postings.push(Posting { row, count: 1 }),
                    }
                }
            }
        }
        index
    }

    /// How many rows there are, those without a text included.
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }
}

/// The best `k` rows of `pieces`, numbered through all of them from 0, for the terms of `query`: by
/// BM25, the higher first, of equal ones the lower row first. A row without any of the terms is not
/// found. Only rows whose bit is set in `live` count, and of them those that `allow` has a bit for are
/// found; what a term weighs does not depend on `allow`.
///
/// # Errors
/// `RowSet` where a set has too few bits.
pub fn keyword_search(
    pieces: &[&KeywordIndex],
    query: &str,
    k: usize,
    live: &[u64],
    allow: Option<&[u64]>,
) -> Result<Vec<Hit>, IndexError> {
    let rows = pieces.iter().map(|piece| piece.rows()).sum();
    IndexError::check_row_set("live", rows, live)?;
    allow.map_or(Ok(()), |allow| {
        IndexError::check_row_set("allow", rows, allow)
    })?;
    let collection = Collection::of(pieces, live);
    let mut asked: Vec<String> = Vec::new();
    for term in terms(query) {
        // A word that is said twice is asked for once.
        if !asked.contains(&term) {
            asked.push(term);
        }
    }
    let weights: Vec<f32> = asked
        .iter()
        .map(|term| collection.weight(pieces, live, term))
        .collect();
    let mut first = 0;
    let mut best = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let scores = piece.scores(&asked, &weights, collection.mean_length);
        let mut found = TopK::new(k);
        for (row, &score) in scores.iter().enumerate() {
            let row = first + row;
            let is_wanted = || has_row(live, row) && allow.is_none_or(|allow| has_row(allow, row));
            if score > 0.0 && found.admits(score) && is_wanted() {
                let row = row as u32;
                found.push(Hit { row, score });
            }
        }
        best.push(found);
        first += piece.rows();
    }
    Ok(merge(best.into_iter(), k))
}

/// What the weights are relative to.
struct Collection {
    live_rows: usize,
    mean_length: f32,
}

impl Collection {
    fn of(pieces: &[&KeywordIndex], live: &[u64]) -> Self {
        let lengths = pieces.iter().flat_map(|piece| &piece.lengths).enumerate();
        let (mut live_rows, mut sum) = (0, 0u64);
        for (_, &length) in lengths.filter(|&(row, _)| has_row(live, row)) {
            live_rows += 1;
            sum += u64::from(length);
        }
        Self {
            live_rows,
            mean_length: sum as f32 / live_rows.max(1) as f32,
        }
    }

    /// The inverse document frequency of a term, which is above zero for any term.
    fn weight(&self, pieces: &[&KeywordIndex], live: &[u64], term: &str) -> f32 {
        let (mut first, mut holding) = (0, 0usize);
        for piece in pieces {
            let postings = piece.postings.get(term).into_iter().flatten();
            holding += postings
                .filter(|posting| has_row(live, first + posting.row as usize))
                .count();
            first += piece.rows();
        }
        let without = (self.live_rows - holding) as f32;
        ((without + 0.5) / (holding as f32 + 0.5)).ln_1p()
    }
}

impl KeywordIndex {
    /// The score of each row, summed in the order of the terms.
    fn scores(&self, terms: &[String], weights: &[f32], mean_length: f32) -> Vec<f32> {
        let mut scores = vec![0.0; self.rows()];
        for (term, weight) in terms.iter().zip(weights) {
            for posting in self.postings.get(term).into_iter().flatten() {
                let row = posting.row as usize;
                let length = self.lengths.get(row).copied().unwrap_or_default() as f32;
                let count = posting.count as f32;
                let norm = 1.0 - B + B * length / mean_length;
                if let Some(score) = scores.get_mut(row) {
                    *score += weight * count * (K1 + 1.0) / (count + K1 * norm);
                }
            }
        }
        scores
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXTS: [&str; 5] = [
        "The overdraft limit of a current account is 500 euro.",
        "Savings accounts have no overdraft.",
        "Cards: a lost card is blocked at once. A card costs 20 euro.",
        "The branch in Graz opens at nine.",
        "Form K-4711 closes an account.",
    ];

    fn index(texts: &[&'static str]) -> KeywordIndex {
        KeywordIndex::build(texts.len(), (0..).zip(texts.iter().copied()))
    }

    fn rows(hits: &[Hit]) -> Vec<u32> {
        hits.iter().map(|hit| hit.row).collect()
    }

    #[test]
    fn words_are_those_of_unicode_in_lower_case() {
        let words: Vec<_> = terms("Kärnten's K-4711, 3.5 % – 東京").collect();
        assert_eq!(words, ["kärnten's", "k", "4711", "3.5", "東", "京"]);
    }

    #[test]
    fn rare_words_weigh_more_and_rows_without_any_are_not_found() {
        let index = index(&TEXTS);
        let find = |query: &str| keyword_search(&[&index], query, 5, &[!0], None).unwrap();
        assert_eq!(rows(&find("4711")), [4]);
        assert_eq!(rows(&find("Savings OVERDRAFT!")), [1, 0]);
        assert_eq!(rows(&find("card card")), rows(&find("card")));
        assert!(find("mortgage").is_empty() && find("?!").is_empty());
    }

    #[test]
    fn a_score_is_what_the_formula_says() {
        let index = KeywordIndex::build(2, [(0, "a b b"), (1, "c")].into_iter());
        let found = keyword_search(&[&index], "b", 1, &[!0], None).unwrap();
        // One of two rows holds it, twice among three words, where the mean is two.
        let idf = (1.0f32 + 1.5 / 1.5).ln();
        let expected = idf * 2.0 * 2.2 / (2.0 + 1.2 * (0.25 + 0.75 * 1.5));
        assert!((found[0].score - expected).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn pieces_are_one_collection_and_dead_rows_are_not_in_it() {
        let whole = index(&TEXTS);
        let parts = [index(&TEXTS[..2]), index(&TEXTS[2..])];
        let parts: Vec<_> = parts.iter().collect();
        let query = "overdraft account card";
        for live in [!0u64, 0b10111, 0b00110] {
            let one = keyword_search(&[&whole], query, 5, &[live], None).unwrap();
            let two = keyword_search(&parts, query, 5, &[live], None).unwrap();
            assert_eq!(one, two);
            assert!(one.iter().all(|hit| live >> hit.row & 1 == 1));
        }
        let all = keyword_search(&[&whole], query, 5, &[!0], None).unwrap();
        let some = keyword_search(&[&whole], query, 5, &[!0], Some(&[0b00010])).unwrap();
        assert_eq!(
            some[..],
            all.into_iter()
                .filter(|hit| hit.row == 1)
                .collect::<Vec<_>>()[..]
        );
        assert!(keyword_search(&[&whole], query, 5, &[], None).is_err());
    }
}
