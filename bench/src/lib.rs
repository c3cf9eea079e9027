//! What this machine could do at best, what Tidelog does, and what Apache Kafka does beside it.
//!
//! [`references`] measures the disk, the loopback and the memory without a broker; [`compare`] runs the same plans of
//! the load generator against both brokers in alternation. Everything here measures real time on a real machine and
//! shares nothing with the broker's data path.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

pub mod broker;
pub mod compare;
pub mod kafka;
pub mod load;
pub mod machine;
pub mod references;
pub mod wire;

/// Anything that ends a measurement; benchmarks only report it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system said no.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Its error.
        source: std::io::Error,
    },
    /// A command, a broker or a measurement did not do what it should.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// For `map_err`: an I/O error with what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        move |source| Error::Io {
            what: what.into(),
            source,
        }
    }

    /// A failure in words.
    pub fn failed(text: impl Into<String>) -> Error {
        Error::Failed(text.into())
    }
}

/// The result of anything that measures.
pub type Result<T> = std::result::Result<T, Error>;
