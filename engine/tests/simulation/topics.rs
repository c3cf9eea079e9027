//! Topics as the workload makes them, and the requests that make, change and drop them.

use net::messages::ApiKey;
use net::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use net::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use net::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use net::wire::Reader;

use crate::oracle::PartitionKey;
use crate::wire::{Lost, Wire};

/// A topic that lives as long as the run.
pub struct Topic {
    pub name: &'static str,
    pub partitions: i32,
    pub configs: &'static [(&'static str, &'static str)],
}

/// Written by everybody; nothing is ever taken from it.
pub const PLAIN: Topic = Topic {
    name: "plain",
    partitions: 4,
    configs: &[("internal.segment.bytes", "65536"), ("retention.ms", "-1")],
};
/// DeleteRecords works here.
pub const TRIM: Topic = Topic {
    name: "trim",
    partitions: 2,
    configs: &[("internal.segment.bytes", "49152"), ("retention.ms", "-1")],
};
/// Retention by size works here, and its settings change; the clock jumps, and `retention.ms` must not believe it.
pub const KEEP: Topic = Topic {
    name: "keep",
    partitions: 2,
    configs: &[
        ("internal.segment.bytes", "49152"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "150000"),
    ],
};
/// The broker sets the timestamps here.
pub const STAMP: Topic = Topic {
    name: "stamp",
    partitions: 1,
    configs: &[
        ("internal.segment.bytes", "65536"),
        ("retention.ms", "-1"),
        ("message.timestamp.type", "LogAppendTime"),
    ],
};

/// Compacted as often as can be; only the clients in `compaction` write and read it.
pub const COMPACT: Topic = Topic {
    name: "compact",
    partitions: 2,
    configs: &[
        ("cleanup.policy", "compact"),
        ("internal.segment.bytes", "12288"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "300"),
    ],
};

/// All but the compacted one.
pub const ALL: [&Topic; 4] = [&PLAIN, &TRIM, &KEEP, &STAMP];

impl Topic {
    /// Its partitions.
    pub fn keys(&self) -> Vec<PartitionKey> {
        (0..self.partitions)
            .map(|index| (self.name.to_owned(), index))
            .collect()
    }
}

/// The partitions of all topics.
pub fn all_keys() -> Vec<PartitionKey> {
    ALL.iter().flat_map(|topic| topic.keys()).collect()
}

/// Creates a topic; its error code and id.
pub async fn create(
    wire: &mut Wire,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Result<(i16, [u8; 16]), Lost> {
    let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
        name,
        value: Some(value),
        ..Default::default()
    });
    let topic = CreatableTopic {
        name,
        num_partitions: partitions,
        replication_factor: 1,
        configs: configs.collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let body = wire
        .call(ApiKey::CreateTopics, 7, |writer, version| {
            request.encode(writer, version)
        })
        .await?;
    let response =
        CreateTopicsResponse::decode(&mut Reader::new(&body), 7).expect("a well-formed answer");
    let answer = &response.topics[0];
    Ok((answer.error_code, answer.topic_id.0))
}

/// Deletes a topic; its error code.
pub async fn delete(wire: &mut Wire, name: &str) -> Result<i16, Lost> {
    let request = DeleteTopicsRequest {
        topic_names: vec![name],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let body = wire
        .call(ApiKey::DeleteTopics, 5, |writer, version| {
            request.encode(writer, version)
        })
        .await?;
    let response =
        DeleteTopicsResponse::decode(&mut Reader::new(&body), 5).expect("a well-formed answer");
    Ok(response.responses[0].error_code)
}

/// Sets one of a topic's settings; its error code.
pub async fn configure(wire: &mut Wire, topic: &str, name: &str, value: &str) -> Result<i16, Lost> {
    const TOPIC: i8 = 2;
    let configs = vec![AlterableConfig {
        name,
        config_operation: 0,
        value: Some(value),
        ..Default::default()
    }];
    let resource = AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: topic,
        configs,
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![resource],
        ..Default::default()
    };
    let body = wire
        .call(ApiKey::IncrementalAlterConfigs, 1, |writer, version| {
            request.encode(writer, version)
        })
        .await?;
    let response = IncrementalAlterConfigsResponse::decode(&mut Reader::new(&body), 1)
        .expect("a well-formed answer");
    Ok(response.responses[0].error_code)
}
