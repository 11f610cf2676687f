//! Hand-written CUDA kernels, one file an operation, with a typed launcher beside each.
