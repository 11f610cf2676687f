//! The Node door: native values in, native values out.
