//! Features, the levels at which a new cluster finalizes them, and decisions about other levels (UpdateFeatures).
//!
//! Only what is served is listed: clients switch behaviour on by these levels (PROTOCOL §1.2, 8).

use super::configs::MIN_INSYNC_REPLICAS;
use super::controller::{ControlError, ControlErrorKind};
use super::image::{ConfigResource, MetadataImage, ResourceKind};
use super::record::Record;

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

const METADATA_VERSION: &str = "metadata.version";
const ELIGIBLE_LEADERS: &str = "eligible.leader.replicas.version";

/// All features of this version. `metadata.version` 30 is Kafka 4.3; with eligible leader replicas
/// `min.insync.replicas` lives at cluster level, where a new cluster sets it (KIP-966).
pub const SUPPORTED: &[Feature] = &[
    Feature {
        name: ELIGIBLE_LEADERS,
        min: 0,
        max: 1,
    },
    // KIP-848: 1 is the consumer group protocol.
    Feature {
        name: "group.version",
        min: 0,
        max: 1,
    },
    Feature {
        name: METADATA_VERSION,
        min: 7,
        max: 30,
    },
];

/// How a level may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeType {
    /// A number without a meaning.
    Unknown,
    /// Only up.
    Upgrade,
    /// Down, if nothing is lost.
    SafeDowngrade,
    /// Down, whatever is lost.
    UnsafeDowngrade,
}

impl UpgradeType {
    /// The type with Kafka's number `code`.
    #[must_use]
    pub fn from_code(code: i8) -> UpgradeType {
        match code {
            1 => UpgradeType::Upgrade,
            2 => UpgradeType::SafeDowngrade,
            3 => UpgradeType::UnsafeDowngrade,
            _ => UpgradeType::Unknown,
        }
    }
}

/// A level that a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// The feature.
    pub name: String,
    /// The level; 0 switches it off.
    pub level: i16,
    /// What is allowed.
    pub upgrade_type: UpgradeType,
}

/// Decides UpdateFeatures: the records that make it so, or why nothing is changed.
///
/// # Errors
/// One of the updates cannot be made; then none is.
pub fn update(
    image: &MetadataImage,
    updates: &[FeatureUpdate],
) -> Result<Vec<Record>, ControlError> {
    let mut records = Vec::new();
    for update in updates {
        check(image, update).map_err(|reason| {
            let message = format!(
                "The update failed for all features since the following feature had an error: {reason}"
            );
            ControlError::new(ControlErrorKind::InvalidUpdateVersion, message)
        })?;
        if present(image, &update.name) != update.level {
            if update.name == ELIGIBLE_LEADERS && update.level > 0 {
                push_cluster_minimum(image, &mut records);
            }
            records.push(Record::FeatureLevel {
                name: update.name.clone(),
                level: update.level,
            });
        }
    }
    Ok(records)
}

/// Whether `min.insync.replicas` lives at cluster level.
pub(super) fn has_eligible_leaders(image: &MetadataImage) -> bool {
    present(image, ELIGIBLE_LEADERS) > 0
}

/// Gives all brokers a `min.insync.replicas`, if they have none, and takes it away from single ones.
fn push_cluster_minimum(image: &MetadataImage, records: &mut Vec<Record>) {
    let record = |resource: &ConfigResource, value| Record::Config {
        resource: resource.clone(),
        name: MIN_INSYNC_REPLICAS.to_owned(),
        value,
    };
    let all_brokers = ConfigResource {
        kind: ResourceKind::Broker,
        name: String::new(),
    };
    if !image
        .overrides(&all_brokers)
        .contains_key(MIN_INSYNC_REPLICAS)
    {
        let value = image.static_config.value(MIN_INSYNC_REPLICAS);
        records.push(record(&all_brokers, value.map(Into::into)));
    }
    let own = image.configs.iter().filter(|(resource, configs)| {
        resource.kind == ResourceKind::Broker
            && !resource.name.is_empty()
            && configs.contains_key(MIN_INSYNC_REPLICAS)
    });
    records.extend(own.map(|(resource, _)| record(resource, None)));
}

fn present(image: &MetadataImage, name: &str) -> i16 {
    image.features.get(name).copied().unwrap_or(0)
}

fn check(image: &MetadataImage, update: &FeatureUpdate) -> Result<(), String> {
    let (name, level) = (&update.name, update.level);
    let invalid = |reason: &str| {
        Err(format!(
            "Invalid update version {level} for feature {name}. {reason}"
        ))
    };
    if update.upgrade_type == UpgradeType::Unknown {
        return invalid("The controller does not support the given upgrade type.");
    }
    if level < 0 {
        return invalid("A feature version cannot be less than 0.");
    }
    let Some(feature) = SUPPORTED.iter().find(|feature| feature.name == *name) else {
        let node_id = image.node_id;
        return if level == 0 {
            invalid(&format!("Feature {name} not found."))
        } else {
            invalid(&format!(
                "Local controller {node_id} does not support this feature."
            ))
        };
    };
    if !(feature.min..=feature.max).contains(&level) {
        let (node_id, min, max) = (image.node_id, feature.min, feature.max);
        return invalid(&format!(
            "Local controller {node_id} only supports versions {min}-{max}"
        ));
    }
    let present = present(image, name);
    if level < present && update.upgrade_type == UpgradeType::Upgrade {
        return invalid(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
        );
    }
    if level > present && update.upgrade_type != UpgradeType::Upgrade {
        return invalid("Can't downgrade to a newer version.");
    }
    // Records of the present level may be in the log already, and nothing rewrites them.
    if name == METADATA_VERSION && level < present {
        let why = if update.upgrade_type == UpgradeType::SafeDowngrade {
            "Refusing to perform the requested downgrade because it might delete metadata information."
        } else {
            "Unsafe metadata downgrade is not supported in this version."
        };
        return Err(format!(
            "Unsupported metadata.version downgrade from {present} to {level}. {why}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::configs::{self, AlterConfig, AlterResource, Change};
    use crate::cluster::controller::first_records;
    use std::sync::Arc;

    fn image() -> MetadataImage {
        let mut image = MetadataImage::empty("cluster", Arc::default());
        for record in first_records() {
            image.apply(&record).expect("the first records fit");
        }
        image
    }

    fn one(name: &str, level: i16, upgrade_type: UpgradeType) -> Vec<FeatureUpdate> {
        vec![FeatureUpdate {
            name: name.to_owned(),
            level,
            upgrade_type,
        }]
    }

    #[test]
    fn a_level_that_is_kept_needs_no_record_and_a_new_one_is_recorded() {
        let elr = "eligible.leader.replicas.version";
        let kept = update(&image(), &one(elr, 1, UpgradeType::Upgrade));
        assert_eq!(kept, Ok(Vec::new()));
        let lowered = update(&image(), &one(elr, 0, UpgradeType::SafeDowngrade)).unwrap();
        let mut image = image();
        image.apply(&lowered[0]).unwrap();
        assert_eq!(image.features[elr], 0);
    }

    // The rules of eligible leader replicas outlived the feature: once the level was 0, `min.insync.replicas` could
    // neither be set for a broker nor be taken from the cluster.
    #[test]
    fn the_minimum_of_replicas_in_sync_is_the_clusters_only_with_eligible_leaders() {
        let change = |broker: &str, operation, value: Option<&str>| AlterResource {
            kind: ResourceKind::Broker as i8,
            name: broker.to_owned(),
            change: Change::Incremental,
            changes: vec![AlterConfig {
                name: MIN_INSYNC_REPLICAS.to_owned(),
                operation,
                value: value.map(str::to_owned),
            }],
        };
        let mut image = image();
        let node = image.node_id.to_string();
        let wanted = [change(&node, 0, Some("2")), change("", 1, None)];
        let (results, records) = configs::alter(&image, &wanted);
        assert!(results.iter().all(Result::is_err) && records.is_empty());

        let lower = one(ELIGIBLE_LEADERS, 0, UpgradeType::SafeDowngrade);
        for record in update(&image, &lower).unwrap() {
            image.apply(&record).unwrap();
        }
        let (results, records) = configs::alter(&image, &wanted);
        assert_eq!(results, [Ok(()), Ok(())]);
        for record in &records {
            image.apply(record).unwrap();
        }
        let raise = one(ELIGIBLE_LEADERS, 1, UpgradeType::Upgrade);
        for record in update(&image, &raise).unwrap() {
            image.apply(&record).unwrap();
        }
        let of = |name: &str| {
            let (kind, name) = (ResourceKind::Broker, name.to_owned());
            let configs = image.overrides(&ConfigResource { kind, name });
            configs.get(MIN_INSYNC_REPLICAS).cloned()
        };
        assert_eq!((of(&node), of("")), (None, Some("1".to_owned())));
    }

    #[test]
    fn one_bad_update_refuses_all() {
        let mut updates = one(
            "eligible.leader.replicas.version",
            0,
            UpgradeType::SafeDowngrade,
        );
        updates.extend(one("metadata.version", 31, UpgradeType::Upgrade));
        let error = update(&image(), &updates).unwrap_err();
        assert_eq!(error.kind, ControlErrorKind::InvalidUpdateVersion);
        assert!(
            error
                .message
                .unwrap()
                .ends_with("only supports versions 7-30")
        );
        for (level, upgrade_type) in [
            (29, UpgradeType::Upgrade),
            (29, UpgradeType::SafeDowngrade),
            (29, UpgradeType::UnsafeDowngrade),
            (30, UpgradeType::Unknown),
            (-1, UpgradeType::Upgrade),
        ] {
            assert!(update(&image(), &one("metadata.version", level, upgrade_type)).is_err());
        }
        assert!(update(&image(), &one("nope.version", 1, UpgradeType::Upgrade)).is_err());
    }
}
