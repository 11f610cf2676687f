//! Nearest neighbours and keywords over ids.
