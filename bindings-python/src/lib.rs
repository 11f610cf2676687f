//! The Python door: native values in, native values out.
