//! How a pass is cut among the threads: into parts of whole inputs, where there are enough.
//!
//! An input's tokens look at each other only, so a thread takes a part through all layers without
//! meeting the others, and what it computes stays in its core's own cache.

/// Tokens of a part at least, where inputs are shorter: each part reads all weights.
const PART_TOKENS: usize = 128;

/// Some inputs, one after the other.
pub(super) struct Part<'a> {
    /// The first input's first token.
    pub first: usize,
    /// Tokens of each input.
    pub lengths: &'a [usize],
    /// The residual stream, `(tokens, hidden)`.
    pub hidden: &'a mut [f32],
}

/// Cuts inputs of `lengths` into parts for `threads`; one part, whose operations the threads
/// share, where whole inputs would leave a thread waiting.
pub(super) fn parts<'a>(
    lengths: &'a [usize],
    width: usize,
    threads: usize,
    hidden: &'a mut [f32],
) -> Vec<Part<'a>> {
    let counts = inputs_of_parts(lengths, threads);
    let counts = match is_even(lengths, &counts, threads) {
        true => counts,
        false => vec![lengths.len()],
    };
    let (mut lengths, mut hidden, mut first) = (lengths, hidden, 0);
    let parts = counts.into_iter().map(|count| {
        let (own, after) = lengths.split_at(count);
        let tokens: usize = own.iter().sum();
        let (rows, rest) = std::mem::take(&mut hidden).split_at_mut(tokens * width);
        (lengths, hidden) = (after, rest);
        first += tokens;
        Part {
            first: first - tokens,
            lengths: own,
            hidden: rows,
        }
    });
    parts.collect()
}

/// How many inputs each part has: parts of nearly one size, as many for each thread.
fn inputs_of_parts(lengths: &[usize], threads: usize) -> Vec<usize> {
    let tokens: usize = lengths.iter().sum();
    let wanted = (tokens / PART_TOKENS).max(1).next_multiple_of(threads);
    let mut counts = Vec::new();
    let (mut inputs, mut seen) = (0, 0);
    for &length in lengths {
        // A part ends at the border that is nearest to its even share.
        let end = tokens * (counts.len() + 1) / wanted;
        if inputs > 0 && seen + length / 2 >= end {
            counts.push(inputs);
            inputs = 0;
        }
        inputs += 1;
        seen += length;
    }
    counts.push(inputs);
    counts
}

/// Whether threads that take the parts in turn end nearly together.
fn is_even(lengths: &[usize], counts: &[usize], threads: usize) -> bool {
    let mut loads = vec![0; threads];
    let mut rest = lengths;
    for &count in counts {
        let (own, after) = rest.split_at(count);
        rest = after;
        if let Some(least) = loads.iter_mut().min() {
            *least += own.iter().sum::<usize>();
        }
    }
    let most = loads.into_iter().max().unwrap_or(0);
    most * threads * 8 <= lengths.iter().sum::<usize>() * 9
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs of each part.
    fn cut(lengths: &[usize], threads: usize) -> Vec<usize> {
        let mut hidden = vec![0.0; 2 * lengths.iter().sum::<usize>()];
        let parts = parts(lengths, 2, threads, &mut hidden);
        let mut first = 0;
        for part in &parts {
            let tokens: usize = part.lengths.iter().sum();
            assert_eq!((part.first, part.hidden.len()), (first, 2 * tokens));
            first += tokens;
        }
        assert_eq!(first, lengths.iter().sum::<usize>());
        parts.iter().map(|part| part.lengths.len()).collect()
    }

    #[test]
    fn parts_are_whole_inputs_and_a_thread_never_waits_for_a_long_one() {
        assert_eq!(cut(&[32; 32], 2), [4; 8]);
        assert_eq!(cut(&[256; 4], 2), [1; 4]);
        assert_eq!(cut(&[100, 100], 2), [1, 1]);
        assert_eq!(cut(&[30], 1), [1]);
        assert_eq!(cut(&[30; 40], 1).len(), 9);
        // One input, or one that is longer than a thread's share, is computed by all threads.
        assert_eq!(cut(&[500], 2), [1]);
        assert_eq!(cut(&[500, 20, 30, 40], 2), [4]);
        assert_eq!(
            cut(&[20, 60, 20, 100, 20, 20, 90, 20, 150, 90], 2)
                .iter()
                .sum::<usize>(),
            10
        );
    }
}
