//! The pool against what it must keep: no page lost, none with a wrong owner, no prefix mistaken.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const BASE: Scope = Scope {
    adapter: None,
    rope: 0,
    draft: false,
};
const OTHER: Scope = Scope {
    adapter: Some(0),
    rope: 0,
    draft: false,
};

/// A table over `tokens`, as a sequence would make it: what is known is shared, the rest computed.
fn compute(pool: &mut BlockPool, scope: Scope, tokens: &[u32]) -> Option<(BlockTable, usize)> {
    let mut table = BlockTable::default();
    let (known, _) = pool.extend(scope, &mut table, tokens, tokens.len() - 1);
    if !pool.grow(&mut table, tokens.len()) {
        pool.release(table);
        return None;
    }
    pool.index(scope, &mut table, tokens, false);
    Some((table, known))
}

fn finish(pool: &mut BlockPool, scope: Scope, mut table: BlockTable, tokens: &[u32]) {
    pool.index(scope, &mut table, tokens, true);
    pool.release(table);
}

#[test]
fn what_does_not_fit_takes_nothing() {
    let mut pool = BlockPool::new(3 * PAGE_TOKENS);
    let table = pool.allocate(PAGE_TOKENS + 1).unwrap();
    assert_eq!(table.pages(), [0, 1]);
    assert_eq!(pool.allocate(2 * PAGE_TOKENS), None);
    assert_eq!(pool.available(), PAGE_TOKENS);
    pool.release(table);
    assert_eq!(pool.available(), pool.capacity());
}

#[test]
fn a_known_prefix_is_shared_and_its_last_page_copied() {
    let mut pool = BlockPool::new(20 * PAGE_TOKENS);
    let text: Vec<u32> = (0..100).collect();
    let (table, known) = compute(&mut pool, BASE, &text).unwrap();
    assert_eq!(known, 0);
    finish(&mut pool, BASE, table, &text);
    // The same again: all but the last token, though its page is known too.
    let (table, known) = compute(&mut pool, BASE, &text).unwrap();
    assert_eq!(known, 99);
    finish(&mut pool, BASE, table, &text);
    // It goes its own way within the third page.
    let mut other = text.clone();
    other[70] = 7;
    let mut table = BlockTable::default();
    let (known, copy) = pool.extend(BASE, &mut table, &other, 99);
    assert_eq!(known, 70);
    let copy = copy.unwrap();
    assert_ne!(copy.from, copy.to);
    assert_eq!(table.pages()[2], copy.to);
    pool.release(table);
    // Another scope knows nothing of it.
    let mut table = BlockTable::default();
    assert_eq!(pool.extend(OTHER, &mut table, &text, 99), (0, None));
    assert_eq!(pool.check([&table].into_iter()), Ok(()));
}

#[test]
fn the_same_tokens_behind_another_prefix_are_another_page() {
    let mut pool = BlockPool::new(20 * PAGE_TOKENS);
    let end = vec![9; PAGE_TOKENS + 1];
    let first = [vec![1; PAGE_TOKENS], end.clone()].concat();
    let second = [vec![2; PAGE_TOKENS], end].concat();
    let (table, _) = compute(&mut pool, BASE, &first).unwrap();
    finish(&mut pool, BASE, table, &first);
    let (table, known) = compute(&mut pool, BASE, &second).unwrap();
    assert_eq!(known, 0);
    finish(&mut pool, BASE, table, &second);
}

#[test]
fn two_who_computed_the_same_end_up_with_one_page() {
    let mut pool = BlockPool::new(8 * PAGE_TOKENS);
    let text: Vec<u32> = (0..70).collect();
    let mut tables = [0, 1].map(|_| pool.allocate(text.len()).unwrap());
    let [first, second] = &mut tables;
    assert_eq!(pool.index(BASE, first, &text, false), [0..32, 32..64]);
    assert!(pool.index(BASE, second, &text, false).is_empty());
    assert_eq!(first.pages()[..2], second.pages()[..2]);
    assert_ne!(first.pages()[2], second.pages()[2]);
    assert_eq!(pool.check(tables.iter()), Ok(()));
    assert_eq!(pool.counts().free, 4);
}

#[test]
fn the_least_recently_used_gives_way_from_its_end() {
    let mut pool = BlockPool::new(4 * PAGE_TOKENS);
    let (old, new): (Vec<u32>, Vec<u32>) = ((0..64).collect(), (100..164).collect());
    for text in [&old, &new] {
        let (table, _) = compute(&mut pool, BASE, text).unwrap();
        finish(&mut pool, BASE, table, text);
    }
    let other = pool.allocate(PAGE_TOKENS).unwrap();
    let known = |pool: &mut BlockPool, text: &[u32]| {
        let mut table = BlockTable::default();
        let (known, _) = pool.extend(BASE, &mut table, text, 64);
        pool.release(table);
        known
    };
    assert_eq!(known(&mut pool, &old), 32);
    assert_eq!(known(&mut pool, &new), 64);
    pool.release(other);
}

proptest! {
    #[test]
    fn no_page_is_lost_and_every_hit_is_right(
        texts in prop::collection::vec((prop::collection::vec(0u32..2, 1..7), 0usize..40, any::<bool>()), 1..60),
    ) {
        let mut pool = BlockPool::new(16 * PAGE_TOKENS);
        // What the cache would hold: a page's content, by page.
        let mut content = vec![Vec::new(); 16];
        let mut held: Vec<(BlockTable, Vec<u32>)> = Vec::new();
        for (blocks, rest, give_back) in texts {
            if give_back && !held.is_empty() {
                let (table, text) = held.remove(rest % held.len());
                finish(&mut pool, BASE, table, &text);
            }
            // Texts of few kinds of runs, so that many begin alike.
            let mut text: Vec<u32> = blocks.iter().flat_map(|&kind| [kind; 20]).collect();
            text.extend((0..rest as u32).map(|i| 2 + i % 3));
            let mut table = BlockTable::default();
            let (known, copy) = pool.extend(BASE, &mut table, &text, text.len() - 1);
            prop_assert!(known < text.len());
            if let Some(PageCopy { from, to }) = copy {
                content[to as usize] = content[from as usize].clone();
            }
            for (at, token) in text[..known].iter().enumerate() {
                let page = table.pages()[at / PAGE_TOKENS] as usize;
                let so_far: &Vec<u32> = &content[page];
                prop_assert_eq!(so_far.get(at % PAGE_TOKENS), Some(token), "position {}", at);
            }
            if !pool.grow(&mut table, text.len()) {
                pool.release(table);
                continue;
            }
            for (at, &token) in text.iter().enumerate().skip(known) {
                let page = &mut content[table.pages()[at / PAGE_TOKENS] as usize];
                page.truncate(at % PAGE_TOKENS);
                page.push(token);
            }
            pool.index(BASE, &mut table, &text, false);
            held.push((table, text));
            prop_assert_eq!(pool.check(held.iter().map(|(table, _)| table)), Ok(()));
        }
        for (table, text) in held {
            finish(&mut pool, BASE, table, &text);
        }
        prop_assert_eq!(pool.check(std::iter::empty()), Ok(()));
        prop_assert_eq!(pool.available(), pool.capacity());
    }
}
