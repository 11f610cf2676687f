//! Everything durable: records, blobs and append-only logs in one home folder.
