//! What DescribeConfigs says about a resource: names, values, sources and synonyms as Kafka lists them.
//!
//! Entries come in the order of a Java hash map with their names as keys, which is Kafka's but for names in one bucket.

use crate::broker::{BrokerConfig, ConfigSource, Layers};
use crate::setting::{Dynamic, Kind, Scope, Setting};
use crate::table::{broker_synonyms, lookup, settings};
use crate::topic::value_in_force;
use std::collections::BTreeMap;

/// What a configuration belongs to, as the wire tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A topic (2).
    Topic,
    /// A broker by its number (4).
    Broker,
    /// All brokers: 4 with an empty name.
    BrokerDefault,
    /// A subscription to clients' metrics (16).
    ClientMetrics,
    /// A group (32).
    Group,
}

impl Resource {
    /// The part of the settings table that applies.
    pub fn scope(self) -> Scope {
        match self {
            Resource::Topic => Scope::Topic,
            Resource::Broker | Resource::BrokerDefault => Scope::Broker,
            Resource::ClientMetrics => Scope::ClientMetrics,
            Resource::Group => Scope::Group,
        }
    }
}

/// One place that a value comes from, or would come from if the ones before it were gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// Name of the setting there.
    pub name: String,
    /// Value there; `None` for secrets.
    pub value: Option<String>,
    /// The place.
    pub source: ConfigSource,
}

/// One entry of a DescribeConfigs response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedConfig {
    /// Name of the setting.
    pub name: &'static str,
    /// Value in force; `None` for null and for secrets.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed at run time.
    pub read_only: bool,
    /// Whether it is a secret.
    pub sensitive: bool,
    /// Type of the value.
    pub kind: Kind,
    /// What it is for.
    pub documentation: &'static str,
    /// Where values come from, strongest first.
    pub synonyms: Vec<ConfigSynonym>,
}

/// Describes a resource. `overrides` are its own values (for a broker they stand in `broker` and the map is not
/// looked at); `filter` chooses names, none or an empty one chooses all.
pub fn describe(
    resource: Resource,
    overrides: &BTreeMap<String, String>,
    broker: &BrokerConfig,
    filter: Option<&[&str]>,
) -> Vec<DescribedConfig> {
    let layers = &broker.layers;
    in_kafkas_order(resource.scope())
        .into_iter()
        .filter(|setting| {
            filter.is_none_or(|names| names.is_empty() || names.contains(&setting.name))
        })
        .filter(|setting| {
            resource != Resource::BrokerDefault || layers.dynamic_default.contains_key(setting.name)
        })
        .map(|setting| match resource {
            Resource::Topic => of_child(setting, ConfigSource::Topic, overrides, layers),
            Resource::Group => of_child(setting, ConfigSource::Group, overrides, layers),
            Resource::ClientMetrics => {
                of_child(setting, ConfigSource::ClientMetrics, overrides, layers)
            }
            Resource::Broker => of_broker(setting, layers, |_| true),
            Resource::BrokerDefault => of_broker(setting, layers, |source| {
                source == ConfigSource::DynamicDefaultBroker
            }),
        })
        .collect()
}

/// The settings of a scope that are shown, by bucket of a `java.util.HashMap` that holds them all.
fn in_kafkas_order(scope: Scope) -> Vec<&'static Setting> {
    let mut shown: Vec<&'static Setting> = settings()
        .iter()
        .filter(|setting| setting.scope == scope && !setting.hidden)
        .collect();
    // The table doubles while it is more than three quarters full.
    let mut buckets = 16;
    while shown.len() * 4 > buckets * 3 {
        buckets *= 2;
    }
    shown.sort_by_key(|setting| bucket(setting.name, buckets));
    shown
}

fn bucket(name: &str, buckets: usize) -> usize {
    let hash = name.bytes().fold(0_u32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    });
    (hash ^ (hash >> 16)) as usize & (buckets - 1)
}

/// Describes a setting of a topic, group or subscription.
fn of_child(
    setting: &'static Setting,
    own_source: ConfigSource,
    overrides: &BTreeMap<String, String>,
    layers: &Layers,
) -> DescribedConfig {
    let value = value_in_force(setting, layers, overrides);
    let mut synonyms = Vec::new();
    if overrides.contains_key(setting.name) {
        synonyms.push(ConfigSynonym {
            name: setting.name.to_owned(),
            value: value.clone(),
            source: own_source,
        });
    }
    let names: Vec<&'static str> = setting
        .synonyms
        .iter()
        .filter(|synonym| synonym.described)
        .map(|synonym| synonym.name)
        .collect();
    if !names.is_empty() {
        synonyms.extend(broker_chain(&names, names[0], layers));
    } else if setting.scope == Scope::Group {
        // Kafka lists a group's setting without a broker setting as its own synonym.
        let source = ConfigSource::Default;
        synonyms.push(ConfigSynonym {
            name: setting.name.to_owned(),
            value: setting.default_value(),
            source,
        });
    }
    entry(setting, value, false, synonyms)
}

/// Describes a setting of a broker from the layers that `wanted` chooses.
fn of_broker(
    setting: &'static Setting,
    layers: &Layers,
    wanted: impl Fn(ConfigSource) -> bool,
) -> DescribedConfig {
    let mut synonyms = broker_chain(&broker_synonyms(setting.name), setting.name, layers);
    synonyms.retain(|synonym| wanted(synonym.source));
    let raw = match synonyms.first() {
        Some(first) if first.name == setting.name => first.value.clone(),
        _ => layers.value(setting.name).map(str::to_owned),
    };
    let value = raw.and_then(|raw| setting.parse(&raw).ok());
    entry(
        setting,
        value,
        setting.dynamic == Dynamic::ReadOnly,
        synonyms,
    )
}

fn entry(
    setting: &'static Setting,
    value: Option<String>,
    read_only: bool,
    mut synonyms: Vec<ConfigSynonym>,
) -> DescribedConfig {
    if setting.sensitive {
        synonyms.iter_mut().for_each(|synonym| synonym.value = None);
    }
    DescribedConfig {
        name: setting.name,
        value: value.filter(|_| !setting.sensitive),
        source: synonyms
            .first()
            .map_or(ConfigSource::Default, |synonym| synonym.source),
        read_only,
        sensitive: setting.sensitive,
        kind: setting.kind,
        documentation: setting.doc,
        synonyms,
    }
}

/// All values of these broker settings, layer by layer, from the first one of `primary` on.
fn broker_chain(names: &[&'static str], primary: &str, layers: &Layers) -> Vec<ConfigSynonym> {
    let synonym = |name: &str, value: &str, source| ConfigSynonym {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        source,
    };
    let mut chain = Vec::new();
    let dynamic = [
        (&layers.dynamic_broker, ConfigSource::DynamicBroker),
        (&layers.dynamic_default, ConfigSource::DynamicDefaultBroker),
    ];
    for (layer, source) in dynamic {
        chain.extend(
            names
                .iter()
                .filter_map(|name| Some(synonym(name, layer.get(*name)?, source))),
        );
    }
    for name in names {
        if let Some((value, _)) = layers.stated.get(*name) {
            chain.push(synonym(name, value, ConfigSource::StaticBroker));
        }
    }
    for name in names {
        if let Some(default) = lookup(name, Scope::Broker).and_then(Setting::default_value) {
            chain.push(synonym(name, &default, ConfigSource::Default));
        }
    }
    let start = chain
        .iter()
        .position(|synonym| synonym.name == primary)
        .unwrap_or(chain.len());
    chain.split_off(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown_in_value_or_synonyms() {
        let setting = lookup("ssl.key.password", Scope::Broker).expect("Kafka has it");
        let secret = Some("secret".to_owned());
        let synonym = ConfigSynonym {
            name: setting.name.to_owned(),
            value: secret.clone(),
            source: ConfigSource::StaticBroker,
        };
        let described = entry(setting, secret, false, vec![synonym]);
        assert!(described.sensitive);
        assert_eq!(
            (described.value, &described.synonyms[0].value),
            (None, &None)
        );
        assert_eq!(described.source, ConfigSource::StaticBroker);
    }
}
