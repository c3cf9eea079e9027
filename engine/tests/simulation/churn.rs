//! The client that creates a topic, fills it, deletes it and creates one of the same name, all alone on that name: so it
//! knows exactly what must be in it.

use net::platform::Runtime;

use crate::administrator::are_served;
use crate::batches;
use crate::codes;
use crate::filling;
use crate::oracle::PartitionKey;
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
        for index in 0..2 {
            filling::read_whole(&shared, &churn.runtime, &(TOPIC.to_owned(), index)).await;
        }
        churn.delete().await;
        let pause = shared.up_to_ms(100);
        churn.runtime.sleep(pause).await;
    }
    shared.client_done();
}

impl Churn {
    async fn connect(&self) -> Wire {
        filling::connect(&self.shared, &self.runtime).await
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
            filling::produce(&self.shared, &self.runtime, &key, &made).await;
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
