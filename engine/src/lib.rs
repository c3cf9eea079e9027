//! The Tidelog broker.

pub mod cluster;
pub mod limits;
pub mod platform;
pub mod preflight;
pub mod types;

pub mod log;
