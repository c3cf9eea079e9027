//! The decisions about groups, without a broker: a partition of groups, its log, a clock that tests move.

mod golden;
mod model;
mod rules;
mod world;
