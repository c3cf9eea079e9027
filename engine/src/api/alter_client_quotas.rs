//! AlterClientQuotas: quotas are not enforced, so none can be set; taking one away that is not there succeeds, as in
//! Kafka. What Kafka would refuse is refused in its words.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use net::messages::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, EntityData, OpData, RequestEntryData,
    ResponseEntryData,
};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

/// Largest whole number that Kafka's quotas of type long may have.
const LONG_MAX: f64 = i64::MAX as f64;
const INT_MAX: f64 = i32::MAX as f64;

/// Which values a quota takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    /// Whole numbers up to this name's type.
    Whole(&'static str),
    /// Any positive number.
    Real,
}

const USER_KEYS: [(&str, Values); 4] = [
    ("producer_byte_rate", Values::Whole("LONG")),
    ("consumer_byte_rate", Values::Whole("LONG")),
    ("request_percentage", Values::Real),
    ("controller_mutation_rate", Values::Real),
];
const IP_KEYS: [(&str, Values); 1] = [("connection_creation_rate", Values::Whole("INT"))];

type Entity<'a> = BTreeMap<&'a str, Option<&'a str>>;

pub(super) async fn handle(
    context: &RequestContext,
    request: AlterClientQuotasRequest<'_>,
) -> Outgoing {
    let answers: Vec<(Entity<'_>, Option<String>)> = request
        .entries
        .iter()
        .map(|entry| {
            // Of an entity's part named twice the last one counts, as in Kafka.
            let entity: Entity<'_> = entry
                .entity
                .iter()
                .map(|part| (part.entity_type, part.entity_name))
                .collect();
            let refusal = check(&entity, entry).err();
            (entity, refusal)
        })
        .collect();
    let entries = answers.iter().map(|(entity, refusal)| ResponseEntryData {
        error_code: refusal
            .as_ref()
            .map_or(ErrorCode::None, |_| ErrorCode::InvalidRequest)
            .code(),
        error_message: refusal.as_deref(),
        entity: entity
            .iter()
            .map(|(kind, name)| EntityData {
                entity_type: kind,
                entity_name: *name,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let response = AlterClientQuotasResponse {
        entries: entries.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn check(entity: &Entity<'_>, entry: &RequestEntryData<'_>) -> Result<(), String> {
    let mut keys = BTreeSet::new();
    if !entry.ops.iter().all(|op| keys.insert(op.key)) {
        let parts: Vec<String> = entity
            .iter()
            .map(|(kind, name)| format!("{kind}={}", name.unwrap_or("null")))
            .collect();
        return Err(format!(
            "Ignoring duplicate entity ClientQuotaEntity(entries={{{}}})",
            parts.join(", ")
        ));
    }
    let known_keys = keys_of(entity)?;
    for op in entry.ops.iter().filter(|op| !op.remove) {
        check_value(known_keys, op)?;
    }
    match entry.ops.iter().find(|op| !op.remove) {
        Some(op) => Err(format!(
            "{} cannot be set: Tidelog does not enforce client quotas yet, and accepts none that it would ignore.",
            op.key
        )),
        None => Ok(()),
    }
}

fn keys_of(entity: &Entity<'_>) -> Result<&'static [(&'static str, Values)], String> {
    if entity.is_empty() {
        return Err("Invalid empty client quota entity".to_owned());
    }
    for (kind, name) in entity {
        match (*kind, name) {
            ("user" | "client-id" | "ip", Some("")) => {
                return Err(format!("Empty {kind} not supported"));
            }
            ("user" | "client-id" | "ip", _) => {}
            _ => return Err(format!("Unhandled client quota entity type: {kind}")),
        }
    }
    let Some(address) = entity.get("ip") else {
        return Ok(&USER_KEYS);
    };
    if entity.len() > 1 {
        return Err(
            "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId"
                .to_owned(),
        );
    }
    match address {
        Some(address) if address.parse::<IpAddr>().is_err() => {
            Err(format!("{address} is not a valid IP or resolvable host."))
        }
        _ => Ok(&IP_KEYS),
    }
}

fn check_value(known: &[(&'static str, Values)], op: &OpData<'_>) -> Result<(), String> {
    let Some((key, values)) = known.iter().find(|(key, _)| *key == op.key) else {
        return Err(format!("Invalid configuration key {}", op.key));
    };
    // Written so that a NaN is refused.
    if op.value.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
        return Err(format!("Quota {key} must be greater than 0"));
    }
    let Values::Whole(kind) = values else {
        return Ok(());
    };
    let max = if *kind == "INT" { INT_MAX } else { LONG_MAX };
    if op.value > max {
        return Err(format!(
            "Proposed value for {key} is too large for a {kind}."
        ));
    }
    if op.value.fract() != 0.0 {
        return Err(format!("{key} cannot be a fractional value."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ops: Vec<OpData<'static>>) -> RequestEntryData<'static> {
        RequestEntryData {
            ops,
            ..Default::default()
        }
    }

    fn op(key: &'static str, value: f64, remove: bool) -> OpData<'static> {
        OpData {
            key,
            value,
            remove,
            ..Default::default()
        }
    }

    #[test]
    fn a_quota_that_would_be_ignored_is_not_accepted() {
        let user = Entity::from([("user", Some("x"))]);
        let valid = entry(vec![op("producer_byte_rate", 1000.0, false)]);
        assert!(
            check(&user, &valid)
                .unwrap_err()
                .contains("does not enforce")
        );
        let removal = entry(vec![op("producer_byte_rate", 0.0, true)]);
        assert_eq!(check(&user, &removal), Ok(()));
        let nan = entry(vec![op("request_percentage", f64::NAN, false)]);
        assert!(check(&user, &nan).unwrap_err().ends_with("greater than 0"));
    }
}
