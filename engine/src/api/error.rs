//! The one place where errors of the layers below become Kafka's codes.
//!
//! Exhaustive on purpose: a new variant does not compile until somebody decides what a client is told.

use net::records::RejectionKind;

use super::ErrorCode;
use crate::cluster::controller::ControlErrorKind;
use crate::groups::GroupError;
use crate::groups::consumer::ConsumerGroupError;
use crate::log::{AppendError, ReadError};

impl From<&AppendError> for ErrorCode {
    fn from(error: &AppendError) -> ErrorCode {
        match error {
            AppendError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
            AppendError::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
            AppendError::UnknownLeaderEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
            AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            AppendError::InvalidTransactionState => ErrorCode::InvalidTxnState,
            AppendError::TransactionCoordinatorFenced { .. } => {
                ErrorCode::TransactionCoordinatorFenced
            }
            AppendError::TooManyProducers { .. } => ErrorCode::PolicyViolation,
            AppendError::BatchLargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
            AppendError::InvalidBatch(_) => ErrorCode::InvalidRecord,
            AppendError::OutOfSpace | AppendError::Poisoned(_) | AppendError::Quarantined => {
                ErrorCode::KafkaStorageError
            }
            AppendError::Timeout => ErrorCode::RequestTimedOut,
            // Retriable, and makes the client look for the leader again.
            AppendError::Stopping => ErrorCode::NotLeaderOrFollower,
        }
    }
}

impl From<&ReadError> for ErrorCode {
    fn from(error: &ReadError) -> ErrorCode {
        match error {
            ReadError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
            ReadError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            ReadError::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
            ReadError::UnknownLeaderEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
            ReadError::Quarantined { .. } | ReadError::Storage(_) => ErrorCode::KafkaStorageError,
        }
    }
}

impl From<RejectionKind> for ErrorCode {
    fn from(kind: RejectionKind) -> ErrorCode {
        match kind {
            RejectionKind::CorruptMessage => ErrorCode::CorruptMessage,
            RejectionKind::MessageTooLarge => ErrorCode::MessageTooLarge,
            RejectionKind::RecordListTooLarge => ErrorCode::RecordListTooLarge,
            RejectionKind::InvalidTimestamp => ErrorCode::InvalidTimestamp,
            RejectionKind::UnsupportedCompressionType => ErrorCode::UnsupportedCompressionType,
            RejectionKind::InvalidRecord => ErrorCode::InvalidRecord,
        }
    }
}

impl From<ControlErrorKind> for ErrorCode {
    fn from(kind: ControlErrorKind) -> ErrorCode {
        match kind {
            ControlErrorKind::TopicAlreadyExists => ErrorCode::TopicAlreadyExists,
            ControlErrorKind::InvalidTopic => ErrorCode::InvalidTopicException,
            ControlErrorKind::InvalidPartitions => ErrorCode::InvalidPartitions,
            ControlErrorKind::InvalidReplicationFactor => ErrorCode::InvalidReplicationFactor,
            ControlErrorKind::InvalidReplicaAssignment => ErrorCode::InvalidReplicaAssignment,
            ControlErrorKind::InvalidRequest => ErrorCode::InvalidRequest,
            ControlErrorKind::InvalidConfig => ErrorCode::InvalidConfig,
            ControlErrorKind::UnknownTopicOrPartition => ErrorCode::UnknownTopicOrPartition,
            ControlErrorKind::UnknownTopicId => ErrorCode::UnknownTopicId,
            ControlErrorKind::PolicyViolation => ErrorCode::PolicyViolation,
            ControlErrorKind::RequestTimedOut => ErrorCode::RequestTimedOut,
            ControlErrorKind::InvalidUpdateVersion => ErrorCode::InvalidUpdateVersion,
            ControlErrorKind::ResourceNotFound => ErrorCode::ResourceNotFound,
            ControlErrorKind::DuplicateResource => ErrorCode::DuplicateResource,
            ControlErrorKind::UnacceptableCredential => ErrorCode::UnacceptableCredential,
            ControlErrorKind::UnsupportedSaslMechanism => ErrorCode::UnsupportedSaslMechanism,
            ControlErrorKind::TopicDeletionDisabled => ErrorCode::TopicDeletionDisabled,
            ControlErrorKind::UnknownServerError => ErrorCode::UnknownServerError,
            ControlErrorKind::Storage => ErrorCode::KafkaStorageError,
        }
    }
}

impl From<&ConsumerGroupError> for ErrorCode {
    fn from(error: &ConsumerGroupError) -> ErrorCode {
        GroupError::from(error).into()
    }
}

impl From<GroupError> for ErrorCode {
    fn from(error: GroupError) -> ErrorCode {
        match error {
            GroupError::Loading => ErrorCode::CoordinatorLoadInProgress,
            GroupError::NotCoordinator => ErrorCode::NotCoordinator,
            GroupError::NotAvailable => ErrorCode::CoordinatorNotAvailable,
            GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
            GroupError::UnknownMember => ErrorCode::UnknownMemberId,
            GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
            GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
            GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
            GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
            GroupError::GroupFull => ErrorCode::GroupMaxSizeReached,
            GroupError::FencedInstance => ErrorCode::FencedInstanceId,
            GroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
            GroupError::GroupNotFound => ErrorCode::GroupIdNotFound,
            GroupError::SubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
            GroupError::MetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
            GroupError::UnstableOffset => ErrorCode::UnstableOffsetCommit,
            GroupError::UnknownTopic => ErrorCode::UnknownTopicOrPartition,
            GroupError::UnknownTopicId => ErrorCode::UnknownTopicId,
            GroupError::FencedMemberEpoch => ErrorCode::FencedMemberEpoch,
            GroupError::UnreleasedInstance => ErrorCode::UnreleasedInstanceId,
            GroupError::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
            GroupError::UnsupportedAssignor => ErrorCode::UnsupportedAssignor,
            GroupError::InvalidRegularExpression => ErrorCode::InvalidRegularExpression,
            GroupError::InvalidRequest => ErrorCode::InvalidRequest,
            GroupError::UnsupportedVersion => ErrorCode::UnsupportedVersion,
            GroupError::LimitReached => ErrorCode::UnknownServerError,
        }
    }
}
