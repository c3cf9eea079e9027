//! ApiVersions: what this node serves. The first request of every client (PROTOCOL §1.2).

use net::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use net::messages::api_versions::{FinalizedFeatureKey, SupportedFeatureKey};
use net::wire::Reader;
use tracing::debug;

use super::versions::{SERVED, find};
use super::{ErrorCode, RequestContext};
use crate::cluster::features;
use crate::shard::connection::Outgoing;

/// From this version on the client says what it is, and features whose minimum is 0 may be listed (KAFKA-17011).
const VERSION_WITH_SOFTWARE: i16 = 3;
const VERSION_WITH_ALL_FEATURES: i16 = 4;

/// Answers also to versions that are not known: in version 0, with this API's own versions only (KIP-511).
pub(super) fn respond(context: &RequestContext, body: &[u8]) -> Outgoing {
    let this = find(ApiVersionsRequest::API_KEY).expect("the API is in the table");
    if !this.handles(context.version()) {
        let response = ApiVersionsResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            api_keys: vec![ApiVersion {
                api_key: ApiVersionsRequest::API_KEY,
                min_version: this.advertised.0,
                max_version: this.advertised.1,
                ..Default::default()
            }],
            ..Default::default()
        };
        return context.reply_in(0, |writer, version| response.encode(writer, version));
    }
    let request = match ApiVersionsRequest::decode(&mut Reader::new(body), context.version()) {
        Ok(request) => request,
        Err(error) => {
            debug!(%error, peer = %context.peer(), "bad ApiVersions request");
            return Outgoing::close();
        }
    };
    if context.version() >= VERSION_WITH_SOFTWARE {
        let (name, version) = (
            request.client_software_name,
            request.client_software_version,
        );
        if !is_software_word(name) || !is_software_word(version) {
            let response = ApiVersionsResponse {
                error_code: ErrorCode::InvalidRequest.code(),
                ..Default::default()
            };
            return context.reply(|writer, version| response.encode(writer, version));
        }
        context.connection().set_software(name, version);
    }
    let image = context.image();
    let all_features = context.version() >= VERSION_WITH_ALL_FEATURES;
    let response = ApiVersionsResponse {
        api_keys: SERVED
            .iter()
            .map(|served| ApiVersion {
                api_key: served.key as i16,
                min_version: served.advertised.0,
                max_version: served.advertised.1,
                ..Default::default()
            })
            .collect(),
        supported_features: features::SUPPORTED
            .iter()
            .filter(|feature| all_features || feature.min > 0)
            .map(|feature| SupportedFeatureKey {
                name: feature.name,
                min_version: feature.min,
                max_version: feature.max,
                ..Default::default()
            })
            .collect(),
        finalized_features_epoch: image.offset,
        finalized_features: image
            .features
            .iter()
            .filter(|(_, level)| **level > 0)
            .map(|(name, level)| FinalizedFeatureKey {
                name,
                max_version_level: *level,
                min_version_level: *level,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

/// Kafka's pattern: `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_software_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::is_software_word;

    #[test]
    fn software_names_follow_kafkas_pattern() {
        for good in ["a", "a.b-c", "1.0-x", "xxxxxxxxxx"] {
            assert!(is_software_word(good), "{good}");
        }
        for bad in ["", "-a", "a b", "a_b", "a/b", "a-", "é"] {
            assert!(!is_software_word(bad), "{bad}");
        }
    }
}
