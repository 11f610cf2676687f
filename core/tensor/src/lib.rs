//! Dtypes, quantised blocks, buffers, and the operations on them on the CPU.
