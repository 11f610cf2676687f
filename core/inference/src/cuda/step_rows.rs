//! The numbers of a step's rows on a device: tokens, positions, pages, frequencies.

use outcrop_tensor::cuda::{
    ATTENTION_CHUNK, Buffer, CudaError, Device, Pinned, View, attention_tiles,
};

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

/// Words that a tile begins at a multiple of.
const TILE_ALIGNMENT: usize = 4;

/// A step's numbers, in one buffer that one copy fills.
#[derive(Debug)]
pub(super) struct StepRows {
    places: Places,
    /// Pairs of each rope.
    pairs: Vec<usize>,
    cutting: Option<Cutting>,
    /// The cuts of all rows of the last step, and of those that are kept.
    cuts: [Option<Sent>; 2],
    host: Pinned<u32>,
    device: Buffer<u32>,
}

/// What the attention on tensor cores is cut by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cutting {
    /// Heads that share keys.
    pub group: usize,
    /// Parts of a softmax, a row's and a chunk's, that there is room for.
    pub parts: usize,
}

/// How the attention of rows is cut for tensor cores. Either gives the same bits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut<'a> {
    /// Each row by itself, in so many chunks of positions.
    Chunks(usize),
    /// Successive rows together.
    Tiles(View<'a, u32>),
}

/// As [`Cut`], with the place of the tiles.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Chunks(usize),
    Tiles { start: usize, len: usize },
}

/// A step's rows, or those of them that are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowNumbers<'a> {
    /// Each row's sequence.
    pub sequences: View<'a, u32>,
    /// Each row's position.
    pub positions: View<'a, u32>,
    /// None where the attention of the model is not computed on tensor cores.
    pub cut: Option<Cut<'a>>,
}

impl Cutting {
    /// How `rows` rows up to position `deepest` are cut, which make `tiles`, to be sent to
    /// `start`: by themselves where no two share a tile and their parts have room.
    fn of(self, rows: usize, tiles: &[u32], deepest: u32, start: usize) -> Sent {
        // Powers of two, so that few graphs are recorded as sequences grow.
        let chunks = (deepest as usize / ATTENTION_CHUNK + 1).next_power_of_two();
        match tiles.len() == 4 * rows && rows * chunks <= self.parts {
            true => Sent::Chunks(chunks),
            false => Sent::Tiles {
                start,
                len: tiles.len(),
            },
        }
    }
}

impl StepRows {
    /// Room for steps of `rows` rows of `sequences` sequences with `pages` pages together, of a model
    /// whose attention is cut by `cutting`.
    pub fn new(
        device: &Device,
        ropes: &[RotaryEmbedding],
        (rows, sequences, pages): (usize, usize, usize),
        cutting: Option<Cutting>,
    ) -> Result<Self, CudaError> {
        let pairs: Vec<usize> = ropes.iter().map(RotaryEmbedding::pairs).collect();
        let tiles = cutting.map_or(0, |_| 2 * 4 * rows + TILE_ALIGNMENT);
        let words = 6 * rows + sequences * (1 + pairs.iter().sum::<usize>()) + pages + tiles;
        Ok(Self {
            places: Places {
                rows,
                sequences,
                pages,
            },
            pairs,
            cutting,
            cuts: [None; 2],
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
        self.cuts = [None; 2];
        if let Some(cutting) = self.cutting {
            at = at.next_multiple_of(TILE_ALIGNMENT);
            for (cut, (place, count)) in self.cuts.iter_mut().zip([(1, row), (4, kept)]) {
                let (sequences, positions) = (place * most, (place + 1) * most);
                let tiles = attention_tiles(
                    &words[sequences..sequences + count],
                    &words[positions..positions + count],
                    cutting.group,
                );
                let deepest = words[positions..positions + count].iter().max();
                let sent = cutting.of(count, &tiles, deepest.copied().unwrap_or_default(), at);
                if let Sent::Tiles { len, .. } = sent {
                    words[at..at + len].copy_from_slice(&tiles);
                    at += len;
                }
                *cut = Some(sent);
            }
        }
        self.device.write_later(&self.host, at)
    }

    /// The chunks of each row of the last step, where a step of as many rows and chunks is launched
    /// the same: none where its rows were joined to tiles, 0 where nothing is cut.
    pub fn chunks(&self) -> Option<usize> {
        match self.cuts[0] {
            None => Some(0),
            Some(Sent::Chunks(chunks)) => Some(chunks),
            Some(Sent::Tiles { .. }) => None,
        }
    }

    /// All rows' tokens.
    pub fn tokens(&self) -> Result<View<'_, u32>, CudaError> {
        self.device.part(0..self.places.rows)
    }

    /// All rows.
    pub fn all(&self) -> Result<RowNumbers<'_>, CudaError> {
        self.numbers(1, self.cuts[0])
    }

    /// The rows whose logits are wanted.
    pub fn kept(&self) -> Result<RowNumbers<'_>, CudaError> {
        self.numbers(4, self.cuts[1])
    }

    /// Which of all rows the wanted ones are.
    pub fn kept_rows(&self) -> Result<View<'_, u32>, CudaError> {
        let rows = self.places.rows;
        self.device.part(3 * rows..4 * rows)
    }

    fn numbers(&self, place: usize, cut: Option<Sent>) -> Result<RowNumbers<'_>, CudaError> {
        let rows = self.places.rows;
        let part = |place: usize| self.device.part(place * rows..(place + 1) * rows);
        Ok(RowNumbers {
            sequences: part(place)?,
            positions: part(place + 1)?,
            cut: match cut {
                None => None,
                Some(Sent::Chunks(chunks)) => Some(Cut::Chunks(chunks)),
                Some(Sent::Tiles { start, len }) => {
                    Some(Cut::Tiles(self.device.part(start..start + len)?))
                }
            },
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
