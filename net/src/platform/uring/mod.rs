//! The io_uring backend of the platform seam: executors, timers, sockets and direct file operations on one ring per
//! thread.
//!
//! An executor runs what is ready, then enters the kernel once: that one call submits what the tasks asked for, runs
//! the completions that are due and, if nothing is ready, sleeps. On kernels that know it (6.1) completions run only
//! in that call, so nothing interrupts a task for an event that it would not look at before (DEFER_TASKRUN).

mod executor;
mod file;
mod network;
mod pages;
mod remote;
mod ring;
#[cfg(test)]
mod tests;
mod timers;

pub use executor::{ExecutorHandle, Placement, block_on, spawn_executor};
pub(super) use executor::{UringRuntime, yield_now};
pub use file::DirectFile;
pub(super) use network::{UringListener, UringStream};
pub use pages::AlignedMemory;
