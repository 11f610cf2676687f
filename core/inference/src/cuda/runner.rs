//! A decoder on a device with its cache and its room, as the scheduler drives it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use outcrop_api::{Error, Result};
use outcrop_tensor::cuda::{ATTENTION_CHUNK, CudaError, Device, Graph, attention_serves};

use crate::block_pool::PAGE_TOKENS;
use crate::decoder_config::DecoderConfig;
use crate::decoder_weights::Decoder;
use crate::kv_cache::KvDtype;
use crate::step::{Asked, Choice, ChosenToken, Made, Rows, StepModel};

use super::choosing::ChoiceRoom;
use super::forward::Pass;
use super::pages::DevicePages;
use super::refused;
use super::room::{LogitRoom, Room};
use super::step_rows::{Cutting, StepRows, sizes};
use super::weights::DeviceWeights;

/// Most rows of a step that is recorded as a graph: above it launches cost little beside the work.
const MOST_GRAPH_ROWS: usize = 64;

/// A decoder on a device.
#[derive(Debug)]
pub(crate) struct CudaRunner {
    decoder: Arc<Decoder>,
    device: Device,
    weights: DeviceWeights,
    pages: DevicePages,
    page_count: usize,
    rows: StepRows,
    /// How attention is cut, where tensor cores compute it.
    cutting: Option<Cutting>,
    room: Room,
    logits: LogitRoom,
    choices: ChoiceRoom,
    /// What the last step chose.
    chosen: Vec<ChosenToken>,
    graphs: HashMap<Alike, Graph>,
    /// Steps that were computed once: their kernels are loaded.
    seen: HashSet<Alike>,
    /// What went wrong between two steps.
    failed: Option<CudaError>,
}

/// What steps share that are launched the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Alike {
    /// Rows, all wanted.
    rows: usize,
    /// The chunks that each is cut in.
    chunks: usize,
    /// Tokens that are chosen.
    choices: usize,
}

/// Most bytes of the parts of softmaxes: rows that have no room there go through longer blocks, to the
/// same bits.
const MOST_PART_BYTES: usize = 64 << 20;

/// How the attention of a decoder over these pages is cut, if tensor cores compute it.
fn cutting(config: &DecoderConfig, pages: &DevicePages, room: &RunnerRoom) -> Option<Cutting> {
    let group = config.heads / config.kv_heads;
    if !attention_serves(pages.format(), config.head_dim, group) {
        return None;
    }
    let longest = (room.pages * PAGE_TOKENS).div_ceil(ATTENTION_CHUNK);
    let row_bytes = 4 * config.heads * (config.head_dim + 2);
    let parts = room.sequences * longest.next_power_of_two();
    Some(Cutting {
        group,
        parts: parts.min(MOST_PART_BYTES / row_bytes),
    })
}

/// Parts that there is to be room for; one, of which nothing is made, where attention is not cut.
fn parts(cutting: Option<Cutting>) -> usize {
    cutting.map_or(1, |cutting| cutting.parts)
}

/// Bounds of a runner's room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunnerRoom {
    /// Pages of the cache.
    pub pages: usize,
    /// How they store keys and values.
    pub kv_dtype: KvDtype,
    /// Rows of a step.
    pub rows: usize,
    /// Sequences of a step.
    pub sequences: usize,
}

impl CudaRunner {
    /// Copies `decoder`, whose weights are as they are stored, to the GPU `ordinal`, and takes its
    /// room there.
    ///
    /// # Errors
    /// As [`refused`] says: no such GPU, no memory, a dtype that no kernel reads.
    pub fn new(decoder: Arc<Decoder>, ordinal: usize, room: RunnerRoom) -> Result<Self> {
        Self::open(decoder, ordinal, room).map_err(refused)
    }

    fn open(
        decoder: Arc<Decoder>,
        ordinal: usize,
        room: RunnerRoom,
    ) -> std::result::Result<Self, CudaError> {
        let device = Device::open(ordinal)?;
        let config = &decoder.config;
        let sizes = (room.rows, room.sequences, room.pages);
        let pages = DevicePages::new(&device, config, room.pages, room.kv_dtype)?;
        let cutting = cutting(config, &pages, &room);
        Ok(Self {
            weights: DeviceWeights::upload(&device, &decoder)?,
            pages,
            page_count: room.pages,
            rows: StepRows::new(&device, &decoder.ropes, sizes, cutting)?,
            cutting,
            room: Room::new(&device, config, room.rows, parts(cutting))?,
            logits: LogitRoom::new(&device, room.sequences, config.vocab_size)?,
            choices: ChoiceRoom::new(&device, room.sequences, config.vocab_size)?,
            chosen: Vec::new(),
            graphs: HashMap::new(),
            seen: HashSet::new(),
            failed: None,
            device,
            decoder,
        })
    }

    /// Makes room for a step that is larger than any before it.
    fn fit(
        &mut self,
        rows: &[Rows<'_>],
        wanted: usize,
        choices: &[Choice<'_>],
    ) -> std::result::Result<(), CudaError> {
        let (count, sequences, pages) = sizes(rows);
        let config = &self.decoder.config;
        let (is_small, few) = (!self.rows.holds(rows), wanted > self.logits.rows);
        let is_crowded = !self.choices.holds(choices);
        if is_small || few || is_crowded || count > self.room.rows {
            // They name the buffers that go.
            self.graphs.clear();
            self.device.synchronize()?;
        }
        if is_small {
            let sizes = (count, sequences, pages.max(self.page_count));
            self.rows = StepRows::new(&self.device, &self.decoder.ropes, sizes, self.cutting)?;
        }
        if count > self.room.rows {
            self.room = Room::new(&self.device, config, count, parts(self.cutting))?;
        }
        if few {
            self.logits = LogitRoom::new(&self.device, wanted, config.vocab_size)?;
        }
        if is_crowded {
            self.choices.grow(&self.device, choices)?;
        }
        Ok(())
    }

    /// Computes `rows`: how many rows of logits are there then, or that it was told to stop. The logits
    /// come back where they are asked for, the chosen tokens always.
    fn compute(
        &mut self,
        rows: &[Rows<'_>],
        asked: Asked<'_>,
        keep_going: &dyn Fn() -> bool,
    ) -> std::result::Result<Option<usize>, CudaError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let wanted: usize = rows.iter().map(Rows::wanted_count).sum();
        let (count, ..) = sizes(rows);
        self.fit(rows, wanted, asked.choices)?;
        self.rows.send(&self.decoder.ropes, rows)?;
        self.choices.send(asked.choices)?;
        let choices = asked.choices.len();
        // Rows that are joined to tiles are other tiles in the next step.
        let alike = self.rows.chunks().map(|chunks| Alike {
            rows: count,
            chunks,
            choices,
        });
        let alike = alike.filter(|_| wanted == count && count <= MOST_GRAPH_ROWS);
        let is_done = match alike.filter(|alike| self.seen.contains(alike)) {
            Some(alike) => keep_going() && self.play(alike)?,
            None => self.launch((count, wanted), choices, keep_going)?,
        };
        if is_done {
            let logits = &self.logits.device;
            self.choices
                .bring(&self.device, logits.view(), asked.choices)?;
            if asked.logits {
                let len = wanted * self.decoder.config.vocab_size;
                logits.read_later(&mut self.logits.host, len)?;
            }
            self.seen.extend(alike);
        }
        // The step's numbers and what it gives are in memory that the next step writes.
        self.device.synchronize()?;
        Ok(is_done.then_some(wanted))
    }

    fn launch(
        &mut self,
        (count, wanted): (usize, usize),
        choices: usize,
        keep_going: &dyn Fn() -> bool,
    ) -> std::result::Result<bool, CudaError> {
        let pass = Pass {
            device: &self.device,
            decoder: &self.decoder,
            weights: &self.weights,
            rows: &self.rows,
            count,
            wanted,
        };
        let is_done = pass.run(
            &mut self.room,
            &mut self.pages,
            &mut self.logits,
            keep_going,
        )?;
        if is_done && choices > 0 {
            let logits = self.logits.device.view();
            self.choices.choose(&self.device, logits, choices)?;
        }
        Ok(is_done)
    }

    /// Plays the graph of steps that are launched so; records it the first time.
    fn play(&mut self, alike: Alike) -> std::result::Result<bool, CudaError> {
        let Alike { rows, choices, .. } = alike;
        if !self.graphs.contains_key(&alike) {
            let device = self.device.clone();
            let graph = Graph::record(&device, || {
                self.launch((rows, rows), choices, &|| true).map(|_| ())
            })?;
            self.graphs.insert(alike, graph);
        }
        if let Some(graph) = self.graphs.get_mut(&alike) {
            graph.launch()?;
        }
        Ok(true)
    }

    /// Keeps an error for the next step, which tells it.
    fn note(&mut self, done: std::result::Result<(), CudaError>) {
        if let Err(error) = done {
            self.failed.get_or_insert(error);
        }
    }
}

impl StepModel for CudaRunner {
    fn vocab_size(&self) -> usize {
        self.decoder.config.vocab_size
    }

    fn chooses(&self) -> bool {
        true
    }

    fn step(&mut self, rows: &[Rows<'_>], keep_going: &dyn Fn() -> bool) -> Result<Option<&[f32]>> {
        let asked = Asked {
            choices: &[],
            logits: true,
        };
        let made = self.step_and_choose(rows, asked, keep_going)?;
        Ok(made.map(|made| made.logits))
    }

    fn step_and_choose(
        &mut self,
        rows: &[Rows<'_>],
        asked: Asked<'_>,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Option<Made<'_>>> {
        if let Some(adapter) = rows.iter().find_map(|r| r.adapter) {
            return Err(Error::validation(format!(
                "adapter: expected none on a GPU, got {:?}; open the model on the CPU for it",
                adapter.name()
            )));
        }
        let Some(wanted) = self.compute(rows, asked, keep_going).map_err(refused)? else {
            return Ok(None);
        };
        self.chosen = self.choices.chosen(asked.choices);
        let len = match asked.logits {
            true => wanted * self.decoder.config.vocab_size,
            false => 0,
        };
        Ok(Some(Made {
            logits: &self.logits.host.as_slice()[..len],
            chosen: &self.chosen,
        }))
    }

    fn rope_class(&self, rope_length: usize) -> usize {
        self.decoder.rope_class(rope_length)
    }

    fn rope_length(&self, current: usize, tokens: usize) -> usize {
        self.decoder.rope_length(current, tokens)
    }

    fn read_page(&self, page: u32, out: &mut Vec<u8>) {
        // A page that cannot be read is one of a lost device: its bytes stay zeros, and the next step
        // says so.
        let _ = self.pages.read(page, out);
    }

    fn page_bytes(&self) -> usize {
        self.pages.page_bytes()
    }

    fn write_page(&mut self, page: u32, bytes: &[u8]) {
        let done = self.pages.write(page, bytes);
        self.note(done);
    }

    fn copy_page(&mut self, from: u32, to: u32) {
        let done = self.pages.copy(from, to);
        self.note(done);
    }
}
