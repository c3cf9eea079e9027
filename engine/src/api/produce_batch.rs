//! One batch of a Produce request on its way to its partition: judged, and rewritten where the topic demands it.
//!
//! Runs on the connection's core, in steps between which others run. A batch that need not be changed stays the slice
//! of the frame it came in; LogAppendTime, a wrong timestamp field, and a topic's own compression make a copy, the
//! only permitted changes to the producer's bytes (DESIGN §1.3, RELIABILITY P13).

use bytes::Bytes;
use net::platform::Runtime;
use net::records::{
    Batch, BatchHeader, Compression, Recompressor, Rejection, RejectionKind, Step, TimestampType,
    ValidatedBatch, ValidationLimits, Validator, rewrite_for_log_append_time, rewrite_timestamps,
};
use tuning::{CompressionType, TopicConfig};

/// How many times `max.message.bytes` a batch may unpack to, and how many times its own size (RELIABILITY N8).
const UNPACKED_TIMES_MAX: usize = 4;
const UNPACKED_RATIO_MAX: usize = 1000;

/// A batch that may be appended.
pub(super) struct Prepared {
    /// Its bytes as they will be stored, but for the stamp.
    pub(super) batch: Bytes,
    /// Their header.
    pub(super) header: BatchHeader,
    /// Greatest timestamp of its records.
    pub(super) max_timestamp: i64,
    /// The first record that has it.
    pub(super) offset_of_max_timestamp_delta: i32,
}

/// Judges `records`, a slice of `frame`, by the topic's rules.
pub(super) async fn prepare(
    runtime: &Runtime,
    frame: &Bytes,
    records: &[u8],
    config: &TopicConfig,
    produce_version: i16,
    now_ms: i64,
) -> Result<Prepared, Rejection> {
    let limits = limits(config, produce_version);
    let mut validator = Validator::new(records, &limits, now_ms);
    let validated = loop {
        match validator.step() {
            Step::Done(judgement) => break judgement?,
            Step::Yield => runtime.yield_now().await,
        }
    };
    let batch = &records[..validated.size];
    let target = target_compression(config, &validated.header);
    let stamped = restamp(batch, &validated, now_ms);
    let batch = match (target, stamped) {
        (None, None) => frame.slice_ref(batch),
        (None, Some(stamped)) => stamped,
        (Some(target), stamped) => {
            let repacked = recompress(
                runtime,
                stamped.as_deref().unwrap_or(batch),
                target,
                config,
                &limits,
            )
            .await?;
            if repacked.len() > limits.max_message_bytes {
                return Err(rejection(
                    RejectionKind::MessageTooLarge,
                    format!(
                        "the batch has {} bytes in the topic's compression, its max.message.bytes is {}",
                        repacked.len(),
                        limits.max_message_bytes
                    ),
                ));
            }
            repacked
        }
    };
    let header = BatchHeader::parse(&batch).expect("a validated batch has a header");
    Ok(Prepared {
        batch,
        header,
        max_timestamp: validated.max_timestamp,
        // A batch without timestamps has its "greatest" one, -1, at its first record.
        offset_of_max_timestamp_delta: validated.offset_delta_of_max_timestamp.max(0),
    })
}

fn limits(config: &TopicConfig, produce_version: i16) -> ValidationLimits {
    let max_message_bytes = usize::try_from(config.max_message_bytes).unwrap_or(0);
    ValidationLimits {
        max_message_bytes,
        decompressed_bytes_max: max_message_bytes.saturating_mul(UNPACKED_TIMES_MAX),
        ratio_max: UNPACKED_RATIO_MAX,
        timestamp_before_max_ms: config.message_timestamp_before_max_ms,
        timestamp_after_max_ms: config.message_timestamp_after_max_ms,
        timestamp_type: match config.message_timestamp_type {
            tuning::TimestampType::CreateTime => TimestampType::CreateTime,
            tuning::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
        },
        compacted: config.cleanup_policy.compact,
        segment_bytes: usize::try_from(config.segment_bytes_effective()).unwrap_or(0),
        produce_version,
    }
}

/// The batch with the timestamps that the topic demands, if they are not the ones it has.
fn restamp(batch: &[u8], validated: &ValidatedBatch, now_ms: i64) -> Option<Bytes> {
    if validated.log_append_time {
        return Some(rewrite_for_log_append_time(batch, now_ms).into());
    }
    let rewritten =
        || rewrite_timestamps(batch, TimestampType::CreateTime, validated.max_timestamp);
    (!validated.timestamps_match).then(|| rewritten().into())
}

/// The codec to change to, if the topic has one of its own and the batch another.
fn target_compression(config: &TopicConfig, header: &BatchHeader) -> Option<Compression> {
    let target = match config.compression_type {
        CompressionType::Producer => return None,
        CompressionType::Uncompressed => Compression::None,
        CompressionType::Gzip => Compression::Gzip,
        CompressionType::Snappy => Compression::Snappy,
        CompressionType::Lz4 => Compression::Lz4,
        CompressionType::Zstd => Compression::Zstd,
    };
    (header.compression() != Ok(target)).then_some(target)
}

async fn recompress(
    runtime: &Runtime,
    batch: &[u8],
    target: Compression,
    config: &TopicConfig,
    limits: &ValidationLimits,
) -> Result<Bytes, Rejection> {
    let broken = |error: &dyn std::fmt::Display| {
        rejection(
            RejectionKind::CorruptMessage,
            format!("the batch could not be recompressed: {error}"),
        )
    };
    let level = match target {
        Compression::Gzip => Some(config.compression_gzip_level).filter(|level| *level != -1),
        Compression::Zstd => Some(config.compression_zstd_level),
        Compression::Lz4 => Some(config.compression_lz4_level),
        Compression::None | Compression::Snappy => None,
    };
    let view = Batch::parse(batch).map_err(|error| broken(&error))?;
    let unpacked_max = limits.decompressed_bytes_max.max(batch.len());
    let mut packer =
        Recompressor::new(&view, target, level, unpacked_max).map_err(|error| broken(&error))?;
    loop {
        match packer.step().map_err(|error| broken(&error))? {
            Some(packed) => return Ok(packed.into()),
            None => runtime.yield_now().await,
        }
    }
}

fn rejection(kind: RejectionKind, message: String) -> Rejection {
    Rejection {
        kind,
        message,
        record_errors: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use net::platform::sim::Simulation;
    use net::records::BatchBuilder;
    use tuning::BrokerConfig;

    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    /// Two records of that many bytes that no codec makes smaller, at `NOW_MS` and 5 ms before it.
    fn records(bytes: usize) -> BatchBuilder {
        let mut state = 1u64;
        let mut noise = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        let mut builder = BatchBuilder::new();
        for timestamp in [NOW_MS, NOW_MS - 5] {
            let value: Vec<u8> = (0..bytes).map(|_| noise()).collect();
            builder.append(None, Some(&value), &[], timestamp);
        }
        builder
    }

    fn prepared(batch: Vec<u8>, topic: &[(&str, &str)]) -> Result<Prepared, Rejection> {
        let overrides = topic
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let config =
            TopicConfig::resolve(&BrokerConfig::from_pairs(&[]).unwrap(), &overrides).unwrap();
        let simulation = Simulation::new(1);
        let node = simulation.node("broker");
        let runtime = node.runtime();
        simulation.block_on(&node, async move {
            let frame = Bytes::from(batch);
            let prepared = prepare(&runtime, &frame, &frame, &config, 9, NOW_MS + 50).await?;
            let copied = prepared.batch.as_ptr() != frame.as_ptr();
            assert_eq!(
                copied,
                prepared.batch != frame,
                "what is not changed is not copied"
            );
            assert!(Batch::parse(&prepared.batch).unwrap().crc_is_valid());
            Ok(prepared)
        })
    }

    #[test]
    fn a_batch_that_pleases_stays_a_slice_of_its_frame() {
        let batch = records(10).build(0, -1);
        let prepared = prepared(batch.clone(), &[]).unwrap();
        assert_eq!(prepared.batch, batch);
        assert_eq!(
            (
                prepared.max_timestamp,
                prepared.offset_of_max_timestamp_delta
            ),
            (NOW_MS, 0)
        );
    }

    #[test]
    fn a_wrong_largest_timestamp_is_put_right() {
        let lie = rewrite_timestamps(
            &records(10).build(0, -1),
            TimestampType::CreateTime,
            NOW_MS + 999,
        );
        let prepared = prepared(lie, &[]).unwrap();
        assert_eq!(prepared.header.max_timestamp, NOW_MS);
        assert_eq!(prepared.batch, records(10).build(0, -1));
    }

    #[test]
    fn log_append_time_replaces_the_producers_whatever_the_codec() {
        for codec in ["producer", "zstd"] {
            let topic = [
                ("message.timestamp.type", "LogAppendTime"),
                ("compression.type", codec),
            ];
            let prepared = prepared(records(10).build(0, -1), &topic).unwrap();
            assert_eq!(
                prepared.header.timestamp_type(),
                TimestampType::LogAppendTime
            );
            assert_eq!(
                (prepared.header.max_timestamp, prepared.max_timestamp),
                (NOW_MS + 50, NOW_MS + 50)
            );
            assert_eq!(
                prepared.header.compression() == Ok(Compression::Zstd),
                codec == "zstd"
            );
        }
    }

    #[test]
    fn a_topics_own_codec_replaces_the_producers() {
        let gzip = records(10).compression(Compression::Gzip, None);
        for (mut sent, codec, stored) in [
            (records(10), "gzip", Compression::Gzip),
            (records(10), "uncompressed", Compression::None),
            (records(10), "snappy", Compression::Snappy),
            (records(10), "lz4", Compression::Lz4),
            (gzip, "uncompressed", Compression::None),
        ] {
            let prepared = prepared(sent.build(0, -1), &[("compression.type", codec)]).unwrap();
            assert_eq!(prepared.header.compression(), Ok(stored));
            assert_eq!(
                (prepared.header.record_count, prepared.header.max_timestamp),
                (2, NOW_MS)
            );
        }
    }

    #[test]
    fn what_grew_in_the_topics_codec_is_judged_by_its_new_size() {
        let batch = records(5_000).build(0, -1);
        let exact = batch.len().to_string();
        assert!(prepared(batch.clone(), &[("max.message.bytes", &exact)]).is_ok());
        let topic = [
            ("max.message.bytes", exact.as_str()),
            ("compression.type", "gzip"),
        ];
        let rejection = prepared(batch, &topic).err().expect("noise grows in gzip");
        assert_eq!(rejection.kind, RejectionKind::MessageTooLarge);
    }
}
