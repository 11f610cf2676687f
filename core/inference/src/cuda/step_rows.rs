//! The numbers of a step's rows on a device: tokens, positions, pages, frequencies.

use outcrop_tensor::cuda::{Buffer, CudaError, Device, Pinned, View};

use crate::block_pool::PAGE_TOKENS;
use crate::rope::RotaryEmbedding;
use crate::step::Rows;

/// Where the parts of [`StepRows`] begin, in words. They stay as long as the room does, so that a
/// recorded graph finds the next step's numbers where the last step's were.
#[derive(Clone, Copy, Debug)]
struct Places {
    rows: usize,
    sequences: usize,
    pages: usize,
}

/// A step's numbers, in one buffer that one copy fills.
#[derive(Debug)]
pub(super) struct StepRows {
    places: Places,
    /// Pairs of each rope.
    pairs: Vec<usize>,
    host: Pinned<u32>,
    device: Buffer<u32>,
}

/// A step's rows, or those of them that are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowNumbers<'a> {
    /// Each row's sequence.
    pub sequences: View<'a, u32>,
    /// Each row's position.
    pub positions: View<'a, u32>,
}

impl StepRows {
    /// Room for steps of `rows` rows of `sequences` sequences with `pages` pages together.
    pub fn new(
        device: &Device,
        ropes: &[RotaryEmbedding],
        (rows, sequences, pages): (usize, usize, usize),
    ) -> Result<Self, CudaError> {
        let pairs: Vec<usize> = ropes.iter().map(RotaryEmbedding::pairs).collect();
        let words = 6 * rows + sequences * (1 + pairs.iter().sum::<usize>()) + pages;
        Ok(Self {
            places: Places {
                rows,
                sequences,
                pages,
            },
            pairs,
            host: Pinned::zeroed(device, words)?,
            device: Buffer::zeroed(device, words)?,
        })
    }

    /// Whether there is room for these rows.
    pub fn holds(&self, rows: &[Rows<'_>]) -> bool {
        let (count, sequences, pages) = sizes(rows);
        let Places {
            rows,
            sequences: most,
            pages: room,
        } = self.places;
        count <= rows && sequences <= most && pages <= room
    }

    /// Sends the numbers of `rows` to the device. The last ones were used.
    pub fn send(&mut self, ropes: &[RotaryEmbedding], rows: &[Rows<'_>]) -> Result<(), CudaError> {
        let Places {
            rows: most,
            sequences: most_sequences,
            ..
        } = self.places;
        let words = self.host.as_mut_slice();
        let (mut row, mut kept) = (0, 0);
        for (sequence, r) in rows.iter().enumerate() {
            let first_wanted = r.tokens.len() - r.wanted_count();
            for (index, token) in r.tokens.iter().enumerate() {
                let position = (r.position + index) as u32;
                words[row] = *token;
                words[most + row] = sequence as u32;
                words[2 * most + row] = position;
                if index >= first_wanted {
                    words[3 * most + kept] = row as u32;
                    words[4 * most + kept] = sequence as u32;
                    words[5 * most + kept] = position;
                    kept += 1;
                }
                row += 1;
            }
        }
        let starts = 6 * most;
        let mut at = starts + most_sequences;
        for (rope, pairs) in ropes.iter().zip(&self.pairs) {
            for (sequence, r) in rows.iter().enumerate() {
                let frequencies = rope.frequencies(r.rope_length);
                let to = at + sequence * pairs;
                for (word, frequency) in words[to..to + pairs].iter_mut().zip(frequencies.iter()) {
                    *word = frequency.to_bits();
                }
            }
            at += most_sequences * pairs;
        }
        let first_page = at;
        for (sequence, r) in rows.iter().enumerate() {
            words[starts + sequence] = (at - first_page) as u32;
            let pages = used_pages(r);
            words[at..at + pages.len()].copy_from_slice(pages);
            at += pages.len();
        }
        self.device.write_later(&self.host, at)
    }

    /// All rows' tokens.
    pub fn tokens(&self) -> Result<View<'_, u32>, CudaError> {
        self.device.part(0..self.places.rows)
    }

    /// All rows.
    pub fn all(&self) -> Result<RowNumbers<'_>, CudaError> {
        self.numbers(1)
    }

    /// The rows whose logits are wanted.
    pub fn kept(&self) -> Result<RowNumbers<'_>, CudaError> {
        self.numbers(4)
    }

    /// Which of all rows the wanted ones are.
    pub fn kept_rows(&self) -> Result<View<'_, u32>, CudaError> {
        let rows = self.places.rows;
        self.device.part(3 * rows..4 * rows)
    }

    fn numbers(&self, place: usize) -> Result<RowNumbers<'_>, CudaError> {
        let rows = self.places.rows;
        let part = |place: usize| self.device.part(place * rows..(place + 1) * rows);
        Ok(RowNumbers {
            sequences: part(place)?,
            positions: part(place + 1)?,
        })
    }

    /// The sequences' pages, one sequence's behind the other's, and where each's begin.
    pub fn pages(&self) -> Result<(View<'_, u32>, View<'_, u32>), CudaError> {
        let starts = 6 * self.places.rows;
        let first = starts + self.places.sequences * (1 + self.pairs.iter().sum::<usize>());
        Ok((
            self.device.part(first..first + self.places.pages)?,
            self.device.part(starts..starts + self.places.sequences)?,
        ))
    }

    /// The sequences' frequencies for a rope.
    pub fn frequencies(&self, rope: usize) -> Result<View<'_, f32>, CudaError> {
        let before: usize = self.pairs[..rope].iter().sum();
        let start = 6 * self.places.rows + self.places.sequences * (1 + before);
        let len = self.places.sequences * self.pairs[rope];
        Ok(self.device.part(start..start + len)?.as_f32())
    }
}

/// Rows, sequences and pages of a step.
pub(super) fn sizes(rows: &[Rows<'_>]) -> (usize, usize, usize) {
    (
        rows.iter().map(|r| r.tokens.len()).sum(),
        rows.len(),
        rows.iter().map(|r| used_pages(r).len()).sum(),
    )
}

/// The pages up to the last token.
fn used_pages<'a>(rows: &Rows<'a>) -> &'a [u32] {
    let used = (rows.position + rows.tokens.len()).div_ceil(PAGE_TOKENS);
    &rows.pages[..used]
}
