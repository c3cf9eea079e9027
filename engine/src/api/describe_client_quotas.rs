//! DescribeClientQuotas: there are none (see `alter_client_quotas.rs`); a filter that contradicts itself is refused.

use net::messages::describe_client_quotas::{
    DescribeClientQuotasRequest, DescribeClientQuotasResponse,
};

use super::{ErrorCode, RequestContext};
use crate::shard::connection::Outgoing;

const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const SPECIFIED: i8 = 2;

pub(super) async fn handle(
    context: &RequestContext,
    request: DescribeClientQuotasRequest<'_>,
) -> Outgoing {
    let refusal = check(&request).err();
    let response = DescribeClientQuotasResponse {
        error_code: refusal
            .as_ref()
            .map_or(ErrorCode::None, |(code, _)| *code)
            .code(),
        error_message: Some(refusal.as_ref().map_or("", |(_, message)| message)),
        entries: refusal.is_none().then(Vec::new),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn check(request: &DescribeClientQuotasRequest<'_>) -> Result<(), (ErrorCode, String)> {
    let invalid = |message: String| Err((ErrorCode::InvalidRequest, message));
    let mut seen = Vec::new();
    for component in &request.components {
        let entity = component.entity_type;
        let matching = match (component.match_type, component.r#match) {
            (EXACT, Some(_)) | (DEFAULT | SPECIFIED, None) => None,
            (EXACT, None) => {
                Some("Request specified MATCH_TYPE_EXACT, but set match string to null.".to_owned())
            }
            (DEFAULT, Some(_)) => Some(
                "Request specified MATCH_TYPE_DEFAULT, but also specified a match string."
                    .to_owned(),
            ),
            (SPECIFIED, Some(_)) => Some(
                "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string."
                    .to_owned(),
            ),
            (other, _) => Some(format!("Unknown match type {other}")),
        };
        if let Some(message) = matching {
            return invalid(message);
        }
        match entity {
            "" => return invalid("Invalid empty entity type.".to_owned()),
            "user" | "client-id" | "ip" => {}
            other => {
                let message = format!("Unsupported entity type {other}");
                return Err((ErrorCode::UnsupportedVersion, message));
            }
        }
        if seen.contains(&entity) {
            return invalid(format!(
                "Entity type {entity} cannot appear more than once in the filter."
            ));
        }
        seen.push(entity);
    }
    if seen.contains(&"ip") && seen.len() > 1 {
        return invalid(
            "Invalid entity filter component combination. IP filter component should not be used with user or \
             clientId filter component."
                .to_owned(),
        );
    }
    Ok(())
}
