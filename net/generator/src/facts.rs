//! What a schema implies: lifetimes, least sizes, conditions on the version. Pure functions.

use crate::schema::{Field, Message, Type, Versions};

pub(crate) fn uses(body: &str, name: &str) -> bool {
    body.match_indices(name).any(|(at, _)| {
        let outside =
            |character: Option<char>| character.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        outside(body[..at].chars().next_back()) && outside(body[at + name.len()..].chars().next())
    })
}

/// Whether both messages mean the same bytes by `name`, in every version.
pub(crate) fn same_struct(left: &Message, right: &Message, name: &str) -> bool {
    let (Some(one), Some(other)) = (left.struct_fields(name), right.struct_fields(name)) else {
        return false;
    };
    left.versions == right.versions
        && left.flexible == right.flexible
        && one == other
        && one
            .iter()
            .filter_map(|field| field.ty.struct_name())
            .all(|inner| same_struct(left, right, inner))
}

/// Whether a structure borrows from the frame.
pub(crate) fn borrows(message: &Message, fields: &[Field], versions: Versions) -> bool {
    !message.flexible.intersect(versions).is_empty()
        || fields
            .iter()
            .any(|field| type_borrows(message, &field.ty, versions))
}

pub(crate) fn type_borrows(message: &Message, ty: &Type, versions: Versions) -> bool {
    match ty {
        Type::String | Type::Bytes | Type::Records => true,
        Type::Array(element) => type_borrows(message, element, versions),
        Type::Struct(name) => borrows(
            message,
            message.struct_fields(name).unwrap_or_default(),
            versions,
        ),
        _ => false,
    }
}

/// Fewest bytes of a structure on the wire, over all its versions.
pub(crate) fn bytes_min(message: &Message, fields: &[Field], versions: Versions) -> usize {
    (versions.low..=versions.high)
        .map(|version| bytes_min_in(message, fields, version))
        .min()
        .unwrap_or(0)
}

pub(crate) fn bytes_min_in(message: &Message, fields: &[Field], version: i16) -> usize {
    let flexible = message.flexible.contains(version);
    let mut sum = usize::from(flexible);
    for field in fields
        .iter()
        .filter(|field| field.tag.is_none() && field.versions.contains(version))
    {
        sum += match &field.ty {
            Type::String => {
                if flexible {
                    1
                } else {
                    2
                }
            }
            Type::Bytes | Type::Records | Type::Array(_) => {
                if flexible {
                    1
                } else {
                    4
                }
            }
            Type::Struct(_) if field.nullable.contains(version) => 1,
            Type::Struct(name) => bytes_min_in(
                message,
                message.struct_fields(name).unwrap_or_default(),
                version,
            ),
            fixed => fixed.fixed_size().unwrap_or(0),
        };
    }
    sum
}

/// The condition that `versions` puts on `version`, given that it lies in `valid`; nothing if always true.
pub(crate) fn condition(versions: Versions, valid: Versions) -> Option<String> {
    let both = versions.intersect(valid);
    if both.is_empty() {
        return Some("false".into());
    }
    match (both.low > valid.low, both.high < valid.high) {
        (false, false) => None,
        (true, false) => Some(format!("version >= {}", both.low)),
        (false, true) => Some(format!("version <= {}", both.high)),
        (true, true) if both.low == both.high => Some(format!("version == {}", both.low)),
        (true, true) => Some(format!("({}..={}).contains(&version)", both.low, both.high)),
    }
}
/// Whether the message's Rust type borrows from the frame, and so has a lifetime.
pub(crate) fn message_borrows(message: &Message) -> bool {
    borrows(message, &message.fields, message.versions)
}
