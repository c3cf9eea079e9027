//! The client that creates a topic, fills it, deletes it and creates one of the same name, all alone on that name: so it
//! knows exactly what must be in it.

use net::messages::ApiKey;
use net::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use net::platform::Runtime;
use net::records::Batch;
use net::wire::{Reader, Records};

use crate::administrator::{are_served, find_start};
use crate::batches::{self, Made};
use crate::codes;
use crate::consumer::read_all;
use crate::oracle::PartitionKey;
use crate::producer::PRODUCE_VERSION;
use crate::shared::Shared;
use crate::topics;
use crate::wire::{Lost, Wire};

const TOPIC: &str = "churn";

struct Churn {
    shared: Shared,
    runtime: Runtime,
    /// How often the topic was created.
    incarnation: u32,
    batches: u64,
}

/// Runs until told to finish, and leaves no topic behind.
pub async fn run(shared: Shared, runtime: Runtime) {
    let mut churn = Churn {
        shared: shared.clone(),
        runtime,
        incarnation: 0,
        batches: 0,
    };
    while !shared.is_finishing() {
        churn.create().await;
        churn.fill().await;
        churn.read().await;
        churn.delete().await;
        let pause = shared.up_to_ms(100);
        churn.runtime.sleep(pause).await;
    }
    shared.client_done();
}

impl Churn {
    async fn connect(&self) -> Wire {
        loop {
            if let Ok(wire) = Wire::connect(&self.shared, &self.runtime).await {
                return wire;
            }
            self.runtime.sleep(self.shared.up_to_ms(60)).await;
        }
    }

    async fn create(&mut self) {
        let mut unsure = false;
        loop {
            let mut wire = self.connect().await;
            match topics::create(&mut wire, TOPIC, 2, &[("internal.segment.bytes", "40960")]).await
            {
                Ok((codes::NONE, _)) => break,
                Ok((codes::TOPIC_ALREADY_EXISTS, _)) if unsure => break,
                Ok((code, _)) => {
                    codes::expect_retriable("CreateTopics", code);
                    unsure = true;
                }
                Err(Lost) => unsure = true,
            }
            self.runtime.sleep(self.shared.up_to_ms(40)).await;
        }
        // When the answer was an error or none, the partitions may still be about to be made.
        while unsure && !self.is_served().await {
            self.runtime.sleep(self.shared.up_to_ms(100)).await;
        }
        self.incarnation += 1;
        self.shared
            .note(format!("created {TOPIC} {}", self.incarnation));
        self.shared.count("topics created", 1);
    }

    async fn is_served(&self) -> bool {
        let mut wire = self.connect().await;
        let keys = [(TOPIC.to_owned(), 0), (TOPIC.to_owned(), 1)];
        are_served(&mut wire, &keys).await.unwrap_or(false)
    }

    async fn fill(&mut self) {
        for _ in 0..self.shared.below(12) {
            let key: PartitionKey = (TOPIC.to_owned(), self.shared.below(2) as i32);
            let name = format!("{TOPIC}.{}/{}", self.incarnation, self.batches);
            self.batches += 1;
            let made = batches::make(&self.shared, &name, self.runtime.wall_clock_ms(), None);
            while !self.produce(&key, &made).await {
                self.runtime.sleep(self.shared.up_to_ms(40)).await;
            }
        }
    }

    /// Whether it was acknowledged.
    async fn produce(&mut self, key: &PartitionKey, made: &Made) -> bool {
        let mut wire = self.connect().await;
        let batch = Batch::parse(&made.bytes).expect("made whole");
        self.shared
            .oracle()
            .partition(key)
            .sends(made.id, TOPIC, None, &batch);
        let part = PartitionProduceData {
            index: key.1,
            records: Some(Records::Chain(vec![made.bytes.clone()])),
            ..Default::default()
        };
        let topic = TopicProduceData {
            name: &key.0,
            partition_data: vec![part],
            ..Default::default()
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![topic],
            ..Default::default()
        };
        let Ok(body) = wire
            .call(ApiKey::Produce, PRODUCE_VERSION, |writer, version| {
                request.encode(writer, version)
            })
            .await
        else {
            return false;
        };
        let response = ProduceResponse::decode(&mut Reader::new(&body), PRODUCE_VERSION)
            .expect("a well-formed answer");
        let answer = &response.responses[0].partition_responses[0];
        if answer.error_code != codes::NONE {
            codes::expect_retriable("Produce to a topic that exists", answer.error_code);
            return false;
        }
        self.shared
            .oracle()
            .partition(key)
            .acknowledged(made.id, answer.base_offset);
        true
    }

    /// Everything that was acknowledged is there, and nothing of an earlier incarnation.
    async fn read(&mut self) {
        for index in 0..2 {
            let key: PartitionKey = (TOPIC.to_owned(), index);
            loop {
                let mut wire = self.connect().await;
                let allowed = self.shared.oracle().read_errors_allowed;
                // While the disk makes errors there is nothing to be demanded of reads.
                if allowed {
                    break;
                }
                if find_start(&self.shared, &mut wire, &key)
                    .await
                    .is_ok_and(|told| told)
                    && let Ok((start, end)) = read_all(&self.shared, &mut wire, &key).await
                {
                    self.shared.oracle().partition(&key).complete(start, end);
                    break;
                }
                self.runtime.sleep(self.shared.up_to_ms(40)).await;
            }
        }
    }

    async fn delete(&mut self) {
        let mut unsure = false;
        loop {
            let mut wire = self.connect().await;
            match topics::delete(&mut wire, TOPIC).await {
                Ok(codes::NONE) => break,
                Ok(codes::UNKNOWN_TOPIC_OR_PARTITION) if unsure => break,
                Ok(code) => {
                    codes::expect_retriable("DeleteTopics", code);
                    unsure = true;
                }
                Err(Lost) => unsure = true,
            }
            self.runtime.sleep(self.shared.up_to_ms(40)).await;
        }
        self.shared
            .note(format!("deleted {TOPIC} {}", self.incarnation));
        self.shared.oracle().forget_topic(TOPIC);
        self.shared.count("topics deleted", 1);
    }
}
