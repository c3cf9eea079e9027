//! UpdateFeatures: finalizes features at other levels, all of them or none.

use net::messages::update_features::{
    UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

use super::{ErrorCode, RequestContext};
use crate::cluster::features::{FeatureUpdate, UpgradeType};
use crate::cluster::{ControlRequest, ControlResponse};
use crate::shard::connection::Outgoing;

/// First version that says how a level may be lowered, and whether to change anything at all.
const VERSION_WITH_TYPES: i16 = 1;

pub(super) async fn handle(
    context: &RequestContext,
    request: UpdateFeaturesRequest<'_>,
) -> Outgoing {
    let updates = request.feature_updates.iter().map(|update| FeatureUpdate {
        name: update.feature.to_owned(),
        level: update.max_version_level,
        upgrade_type: match update.upgrade_type {
            _ if context.version() < VERSION_WITH_TYPES && update.allow_downgrade => {
                UpgradeType::SafeDowngrade
            }
            _ if context.version() < VERSION_WITH_TYPES => UpgradeType::Upgrade,
            code => UpgradeType::from_code(code),
        },
    });
    let control = ControlRequest::UpdateFeatures {
        updates: updates.collect(),
        validate_only: request.validate_only,
    };
    let error = match context.control(control).await {
        Ok(ControlResponse::UpdateFeatures(result)) => result.err(),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    let results = request
        .feature_updates
        .iter()
        .filter(|_| error.is_none())
        .map(|update| UpdatableFeatureResult {
            feature: update.feature,
            // Kafka's word where there is no error.
            error_message: Some("NONE"),
            ..Default::default()
        });
    let response = UpdateFeaturesResponse {
        error_code: error
            .as_ref()
            .map_or(ErrorCode::None, |error| error.kind.into())
            .code(),
        error_message: error.as_ref().and_then(|error| error.message.as_deref()),
        results: results.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}
