//! The shape of `Storage` until it lands; replaced as a whole then.
#![allow(missing_docs, unused, dead_code, clippy::all)]
use super::*;
use crate::types::*;
use crate::platform::Disk;
use net::platform::Runtime;
use std::sync::Arc;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::task::{Context, Poll};
#[derive(Clone)] pub struct Storage(std::rc::Rc<()>);
#[derive(Clone, Debug, Default)] pub struct StorageSettings {}
#[derive(Debug, thiserror::Error)] pub enum StorageError { #[error("x")] X }
impl StorageError { pub fn io(file: &str, e: std::io::Error) -> Self { StorageError::X } }
#[derive(Clone, Copy, Debug)] pub struct Generation;
pub struct RecoveredPartition; impl RecoveredPartition { pub fn id(&self) -> PartitionId { unreachable!("storage has not landed") } }
pub struct KnownPartition { pub directory: String, pub config: Arc<tuning::TopicConfig> }
pub struct KnownPartitions { pub partitions: BTreeMap<PartitionId, KnownPartition>, pub removed: BTreeSet<TopicId> }
#[derive(Clone, Debug)] pub struct RecoveryReport;
pub struct Recovered { pub generation: Generation, pub partitions: Vec<RecoveredPartition>, pub report: RecoveryReport }
pub struct StoppedPartition { pub id: PartitionId, pub offsets: LogOffsets }
pub struct StoppedShard { pub partitions: Vec<StoppedPartition> }
#[derive(Clone, Debug, Default)] pub struct StorageMetrics;
impl StorageMetrics { pub fn add(&mut self, o: &Self) {} pub fn is_ready(&self) -> bool { true } pub fn for_each(&self, f: impl FnMut(&str, bool, u64)) {} }
pub struct PendingAppend; impl Future for PendingAppend { type Output = Result<Appended, AppendError>; fn poll(self: Pin<&mut Self>, c: &mut Context<'_>) -> Poll<Self::Output> { Poll::Pending } }
pub struct Watch; impl Future for Watch { type Output = (); fn poll(self: Pin<&mut Self>, c: &mut Context<'_>) -> Poll<()> { Poll::Pending } }
pub async fn recover(runtime: &Runtime, disk: &Disk, settings: &StorageSettings, known: &KnownPartitions) -> Result<Recovered, StorageError> { unreachable!("storage has not landed") }
impl Storage {
  pub async fn start(runtime: &Runtime, disk: &Disk, shard: ShardId, generation: Generation, settings: StorageSettings, partitions: Vec<(RecoveredPartition, LeaderEpoch, Arc<tuning::TopicConfig>)>) -> Result<Storage, StorageError> { unreachable!("storage has not landed") }
  pub async fn create_partition(&self, id: PartitionId, directory: &str, leader_epoch: LeaderEpoch, config: Arc<tuning::TopicConfig>) -> Result<(), StorageError> { unreachable!("storage has not landed") }
  pub async fn delete_partition(&self, id: PartitionId) -> Result<(), StorageError> { unreachable!("storage has not landed") }
  pub fn configure(&self, id: PartitionId, config: Arc<tuning::TopicConfig>) {}
  pub fn append(&self, id: PartitionId, request: AppendRequest) -> PendingAppend { unreachable!("storage has not landed") }
  pub fn plan_read(&self, request: &ReadRequest) -> Result<ReadPlan, ReadError> { unreachable!("storage has not landed") }
  pub async fn execute_read(&self, plan: ReadPlan) -> Result<ReadResult, ReadError> { unreachable!("storage has not landed") }
  pub fn watch(&self, id: PartitionId, from: Offset) -> Watch { unreachable!("storage has not landed") }
  pub async fn find_offset(&self, id: PartitionId, query: OffsetQuery) -> Result<FoundOffset, ReadError> { unreachable!("storage has not landed") }
  pub fn end_offset_of_epoch(&self, id: PartitionId, epoch: LeaderEpoch) -> Result<(LeaderEpoch, Offset), ReadError> { unreachable!("storage has not landed") }
  pub async fn delete_records(&self, id: PartitionId, before: Offset) -> Result<Offset, ReadError> { unreachable!("storage has not landed") }
  pub fn offsets(&self, id: PartitionId) -> Option<LogOffsets> { unreachable!("storage has not landed") }
  pub fn leader_epoch(&self, id: PartitionId) -> Option<LeaderEpoch> { unreachable!("storage has not landed") }
  pub fn is_writable(&self) -> bool { true }
  pub fn metrics(&self) -> StorageMetrics { unreachable!("storage has not landed") }
  pub async fn stop(&self) -> Result<StoppedShard, StorageError> { unreachable!("storage has not landed") }
}
impl std::fmt::Display for RecoveryReport { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
