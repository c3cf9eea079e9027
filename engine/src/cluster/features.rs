//! Features and the levels at which a new cluster finalizes them.
//!
//! Only what is served is listed: clients switch behaviour on by these levels (PROTOCOL §1.2, 8).

/// A feature and the levels this version can run at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Kafka's name.
    pub name: &'static str,
    /// Lowest level.
    pub min: i16,
    /// Highest level; a new cluster gets it.
    pub max: i16,
}

/// All features of this version. `metadata.version` 30 is Kafka 4.3; with eligible leader replicas
/// `min.insync.replicas` lives at cluster level, where a new cluster sets it (KIP-966).
pub const SUPPORTED: &[Feature] = &[
    Feature {
        name: "eligible.leader.replicas.version",
        min: 0,
        max: 1,
    },
    Feature {
        name: "metadata.version",
        min: 7,
        max: 30,
    },
];
