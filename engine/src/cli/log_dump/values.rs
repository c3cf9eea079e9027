//! Records: keys and values as text, or as what they mean in Kafka's own topics.

use net::records::{BatchHeader, Record, TimestampType};
use serde_json::{Value, json};

use super::segment::Options;
use super::{Meaning, Outcome, Report};
use crate::groups::record::GroupRecord;

/// Prints a record.
pub(super) fn record(
    header: &BatchHeader,
    record: &Record<'_>,
    options: &Options,
    report: &mut Report,
) -> Outcome<()> {
    let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
    let (key_size, value_size) = (length(record.key), length(record.value));
    let mut text = format!("| offset: {}", record.offset);
    let mut fields = json!({"offset": record.offset});
    if options.metadata {
        let kind = match header.timestamp_type() {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        };
        let names: Vec<String> = record
            .headers
            .iter()
            .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
            .collect();
        text.push_str(&format!(
            " {kind}: {} keySize: {key_size} valueSize: {value_size} sequence: {} headerKeys: [{}]",
            record.timestamp,
            record.sequence,
            names.join(",")
        ));
        let headers = record.headers.iter().map(
            |(name, value)| json!({"name": String::from_utf8_lossy(name), "value": bytes(*value)}),
        );
        fields["timestamp"] = json!(record.timestamp);
        fields["sequence"] = json!(record.sequence);
        fields["headers"] = Value::Array(headers.collect());
    }
    if header.is_control() {
        let marker = control(record.key, record.value);
        text.push_str(&format!(" {marker}"));
        fields["control"] = json!(marker);
        return report.say("record", &text, fields);
    }
    if options.meaning == Meaning::Groups {
        match GroupRecord::decode(record.key, record.value) {
            Ok(decoded) => {
                let decoded = format!("{decoded:?}");
                text.push_str(&format!(" group: {decoded}"));
                fields["group"] = json!(decoded);
                return report.say("record", &text, fields);
            }
            Err(error) => {
                report.problem(&format!("the record at offset {}: {error}", record.offset))?
            }
        }
    }
    if let Some(key) = record.key {
        text.push_str(&format!(" key: {}", String::from_utf8_lossy(key)));
    }
    if let Some(value) = record.value {
        text.push_str(&format!(" payload: {}", String::from_utf8_lossy(value)));
    }
    fields["key"] = bytes(record.key);
    fields["value"] = bytes(record.value);
    report.say("record", &text, fields)
}

/// Text where it is text, otherwise the bytes in hexadecimal.
fn bytes(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => Value::Null,
        Some((Ok(text), _)) => Value::from(text),
        Some((Err(_), bytes)) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"hex": hex})
        }
    }
}

/// What a control record marks: its key is version and type, an end marker's value version and coordinator epoch.
fn control(key: Option<&[u8]>, value: Option<&[u8]>) -> String {
    let kind = match key {
        Some([_, _, high, low, ..]) => i16::from_be_bytes([*high, *low]),
        _ => -1,
    };
    let epoch = match value {
        Some([_, _, a, b, c, d, ..]) => i32::from_be_bytes([*a, *b, *c, *d]),
        _ => -1,
    };
    match kind {
        0 => format!("endTxnMarker: ABORT coordinatorEpoch: {epoch}"),
        1 => format!("endTxnMarker: COMMIT coordinatorEpoch: {epoch}"),
        2 => "LeaderChange".to_owned(),
        other => format!("controlType: {other}"),
    }
}
