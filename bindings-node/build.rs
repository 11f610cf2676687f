//! Links the native module for Node.

fn main() {
    napi_build::setup();
}
