//! Generates the wire messages.
fn main() {}
