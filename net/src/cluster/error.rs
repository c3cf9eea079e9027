//! Why a request to a cluster has no answer. Plain values.

use std::io;

use crate::client::ClientError;
use crate::wire::DecodeError;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No address of a broker can be reached.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// `host:port` as given.
        address: String,
        /// The reason of the last attempt.
        source: io::Error,
    },
    /// The request was not sent, or the connection ended before its answer.
    #[error("{api}: {source}")]
    Client {
        /// The API.
        api: &'static str,
        /// The reason.
        source: ClientError,
    },
    /// No answer in time.
    #[error("{0} was not answered in time")]
    TimedOut(&'static str),
    /// The broker's answer cannot be read.
    #[error("the answer to {api} cannot be read: {source}")]
    Decode {
        /// The API.
        api: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The broker and this client have no version in common.
    #[error("the broker serves no version of {0} that this client knows")]
    NoCommonVersion(&'static str),
    /// The cluster does not name a broker that the request has to go to.
    #[error("the cluster has no broker {0}")]
    UnknownBroker(i32),
    /// The answer as a whole carries an error code.
    #[error("{api} was answered with error {code}")]
    Refused {
        /// The API.
        api: &'static str,
        /// Kafka's error code.
        code: i16,
    },
}
