//! A body that is made as it is read, as another language reads it.

use outcrop::api::BoxFuture;
use outcrop::{Reader, Source};

use crate::http::Chunks;

/// Reads a body as its chunks come. Any thread may close it, while another waits for a chunk too.
/// Clones are the same reader; dropping the last stops the work behind the body.
#[derive(Clone)]
pub struct ChunkReader(Reader<Box<dyn Chunks>>);

impl Source for Box<dyn Chunks> {
    type Item = Vec<u8>;

    fn next(&mut self) -> BoxFuture<'_, Option<Vec<u8>>> {
        (**self).next()
    }
}

impl ChunkReader {
    /// The reader of `chunks`.
    pub fn new(chunks: Box<dyn Chunks>) -> Self {
        Self(Reader::new(chunks))
    }

    /// The bytes of the chunks that are there, at least one; `None` at the end, and where the reader
    /// is closed.
    pub fn next(&self) -> impl Future<Output = Option<Vec<u8>>> + Send + 'static {
        let chunks = self.0.next();
        async move {
            let mut chunks = chunks.await;
            match chunks.len() {
                0 | 1 => chunks.pop(),
                _ => Some(chunks.concat()),
            }
        }
    }

    /// Ends the body and stops the work behind it. Closing it again does nothing.
    pub fn close(&self) {
        self.0.close();
    }
}
