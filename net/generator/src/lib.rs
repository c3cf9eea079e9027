//! Generates `net/src/messages` from the definitions in `net/schemas`.
//!
//! Owns the schema reader (also used by `net`'s tests), the importer and the code emitter. Invariant: the
//! generated code is a function of the schemas; a test fails when the checked-in files differ.

pub mod api_table;
mod decode;
pub mod dispatch;
pub mod emit;
mod encode;
mod facts;
pub mod files;
pub mod import;
pub mod names;
pub mod schema;
mod structure;
