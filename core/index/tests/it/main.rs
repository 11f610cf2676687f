//! Exact search against brute force.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use outcrop_index::{FlatIndex, Hit, IndexError};
use outcrop_tensor::Pool;
use proptest::prelude::*;

fn bit(set: &[u64], row: usize) -> bool {
    set[row / 64] >> (row % 64) & 1 == 1
}

/// Whole numbers make every order of summation exact, and ties frequent.
fn brute_force(dims: usize, rows: &[f32], query: &[f32], k: usize, sets: &[&[u64]]) -> Vec<Hit> {
    let mut all: Vec<Hit> = rows
        .chunks(dims)
        .enumerate()
        .filter(|(row, _)| sets.iter().all(|set| bit(set, *row)))
        .map(|(row, values)| Hit {
            row: row as u32,
            // From +0: `sum` begins with -0, which `total_cmp` tells from +0.
            score: values
                .iter()
                .zip(query)
                .fold(0.0, |sum, (a, b)| sum + a * b),
        })
        .collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
    all.truncate(k);
    all
}

prop_compose! {
    fn problem()(dims in 1usize..40, rows in 0usize..300, queries in 0usize..9)(
        rows in prop::collection::vec((-3i8..4).prop_map(f32::from), dims * rows),
        queries in prop::collection::vec((-3i8..4).prop_map(f32::from), dims * queries),
        words in prop::collection::vec(any::<u64>(), 10),
        cut in 0usize..=rows,
        dims in Just(dims),
    ) -> (usize, Vec<f32>, Vec<f32>, Vec<u64>, usize) {
        (dims, rows, queries, words, cut)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn search_equals_brute_force((dims, rows, queries, words, cut) in problem(), k in 0usize..20) {
        let (live, allow) = words.split_at(5);
        let (before, after) = rows.split_at(cut * dims);
        let pieces = vec![before, &[][..], after];
        let index = FlatIndex::new(dims, pieces).unwrap();
        let pool = Pool::new(2);
        let plain = index.search(&pool, &queries, k, None).unwrap();
        let index = index.with_live(live).unwrap();
        let filtered = index.search(&pool, &queries, k, Some(allow)).unwrap();
        prop_assert_eq!(plain.len(), queries.len() / dims);
        for (i, query) in queries.chunks(dims).enumerate() {
            prop_assert_eq!(&plain[i], &brute_force(dims, &rows, query, k, &[]));
            prop_assert_eq!(&filtered[i], &brute_force(dims, &rows, query, k, &[live, allow]));
        }
    }
}

fn values(n: usize) -> Vec<f32> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn bits_do_not_depend_on_threads_pieces_or_batch() {
    let dims = 100;
    let (rows, queries) = (values(9000 * dims), values(70 * dims));
    let whole = FlatIndex::new(dims, vec![&rows]).unwrap();
    let expected = whole.search(&Pool::new(1), &queries, 10, None).unwrap();
    assert_eq!(expected.len(), 70);
    let (a, b) = rows.split_at(1234 * dims);
    let split = FlatIndex::new(dims, vec![a, b]).unwrap();
    let pools = [Pool::new(1), Pool::new(2), Pool::new(3)];
    for pool in &pools {
        assert_eq!(split.search(pool, &queries, 10, None).unwrap(), expected);
    }
    for (query, expected) in queries.chunks(dims).zip(&expected) {
        let alone = split.search(&pools[1], query, 10, None).unwrap();
        assert_eq!(&alone[0], expected);
    }
}

#[test]
fn more_queries_than_a_batch_come_back_in_order() {
    let (rows, queries) = (values(50 * 8), values(600 * 8));
    let index = FlatIndex::new(8, vec![&rows]).unwrap();
    let pool = Pool::new(2);
    let all = index.search(&pool, &queries, 60, None).unwrap();
    assert_eq!(all.len(), 600);
    for (query, hits) in queries.chunks(8).zip(&all) {
        assert_eq!(hits.len(), 50, "k beyond the rows gives them all");
        assert_eq!(index.search(&pool, query, 60, None).unwrap()[0], *hits);
    }
}

#[test]
fn wrong_arguments_are_named() {
    let rows = [0.0; 12];
    let index = FlatIndex::new(4, vec![&rows]).unwrap();
    let pool = Pool::new(1);
    let message = |error: IndexError| error.to_string();
    let error = index.search(&pool, &[1.0; 5], 1, None).unwrap_err();
    assert_eq!(
        message(error),
        "queries: expected whole rows of 4 values, got 5 values"
    );
    let error = index
        .search(&pool, &[1.0, f32::NAN, 0.0, 0.0], 1, None)
        .unwrap_err();
    assert_eq!(
        message(error),
        "queries: expected values from -1e15 to 1e15, got NaN"
    );
    let error = index.search(&pool, &[1.0; 4], 1, Some(&[])).unwrap_err();
    assert_eq!(
        message(error),
        "allow: expected a bit for each of 3 rows, got 0 words of 64"
    );
    assert!(FlatIndex::new(0, vec![]).is_err());
    assert!(FlatIndex::new(5, vec![&rows]).is_err());
    let empty = FlatIndex::new(4, vec![]).unwrap();
    assert_eq!(empty.search(&pool, &[1.0; 4], 3, None).unwrap(), [vec![]]);
}
