//! Kafka's primitive types on the wire: what the generated messages are read from and written to.
//!
//! Owns the two cursors ([`Reader`], [`Writer`]), their errors and the few types that messages borrow or
//! share. Invariant: a [`Reader`] never looks past its slice and never reserves memory for more elements
//! than the remaining bytes can hold. Plain code without I/O; runs on any core.

mod error;
mod primitive;
mod reader;
mod records;
mod uuid;
mod writer;

pub use error::{DecodeError, EncodeError};
pub use primitive::Primitive;
pub use reader::{ARRAY_ELEMENTS_MAX, Reader, TAGGED_FIELDS_MAX};
pub use records::{RawTaggedField, Records};
pub use uuid::Uuid;
pub use writer::{FrameMark, TaggedMark, Writer};
