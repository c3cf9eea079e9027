//! Topics that clients ask for and that do not exist, collected for a moment and created together. On the shard that was
//! asked; the controller's shard creates them.
//!
//! Nobody waits for it: as in Kafka, a topic is unknown in the answer that has it created, and clients ask again. Clients
//! also rely on the creation not being over a moment later: a kafka-go consumer compares the partitions that its group
//! was given with those it finds right after, and must not find other ones there.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use super::Shard;
use crate::cluster::topics::NewTopic;
use crate::cluster::{ControlRequest, ControlResponse};
use crate::limits::AUTO_CREATIONS_MAX;

/// How long topics are collected.
const COLLECT: Duration = Duration::from_millis(50);

/// The topics of one shard that wait for their creation.
#[derive(Debug, Default)]
pub(super) struct AutoCreation {
    waiting: RefCell<BTreeSet<String>>,
}

impl AutoCreation {
    /// Adds names; whether nobody has to take them up yet.
    fn add<'a>(&self, names: impl Iterator<Item = &'a str>) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let was_empty = waiting.is_empty();
        for name in names {
            if waiting.len() < AUTO_CREATIONS_MAX {
                waiting.insert(name.to_owned());
            }
        }
        was_empty && !waiting.is_empty()
    }
}

impl Shard {
    /// Has these topics created with the broker's defaults, soon.
    pub fn create_soon<'a>(&self, names: impl Iterator<Item = &'a str>) {
        if !self.auto_creation().add(names) {
            return;
        }
        let shard = self.clone();
        self.spawn_until_stopped(async move {
            shard.runtime().sleep(COLLECT).await;
            shard.create_collected().await;
        });
    }

    async fn create_collected(&self) {
        let names = self.auto_creation().waiting.take();
        let image = self.image();
        let missing = names.into_iter().filter(|name| image.topic(name).is_none());
        let topics: Vec<NewTopic> = missing
            .map(|name| NewTopic {
                name,
                partitions: -1,
                replication_factor: -1,
                ..NewTopic::default()
            })
            .collect();
        if topics.is_empty() {
            return;
        }
        let request = ControlRequest::CreateTopics {
            topics,
            validate_only: false,
        };
        match self.control(request).await {
            Ok(ControlResponse::CreateTopics(results)) => {
                for error in results.into_iter().filter_map(Result::err) {
                    tracing::debug!(%error, "a topic was not created for a client");
                }
            }
            Ok(ControlResponse::Failed(error)) => {
                tracing::warn!(%error, "no topic could be created for a client");
            }
            Ok(_) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_takes_all_that_come_while_it_waits() {
        let creation = AutoCreation::default();
        assert!(!creation.add([].into_iter()));
        assert!(creation.add(["a", "b"].into_iter()));
        assert!(!creation.add(["b", "c"].into_iter()));
        assert_eq!(creation.waiting.take().len(), 3);
        assert!(creation.add(["d"].into_iter()));
    }

    #[test]
    fn no_more_wait_than_the_limit() {
        let creation = AutoCreation::default();
        let names: Vec<String> = (0..2 * AUTO_CREATIONS_MAX).map(|n| n.to_string()).collect();
        creation.add(names.iter().map(String::as_str));
        assert_eq!(creation.waiting.borrow().len(), AUTO_CREATIONS_MAX);
    }
}
