//! The Tidelog broker.

pub mod limits;
pub mod platform;
pub mod types;

pub mod log;
