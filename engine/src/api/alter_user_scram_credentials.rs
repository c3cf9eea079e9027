//! AlterUserScramCredentials: sets and removes users' SCRAM credentials.

use net::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    AlterUserScramCredentialsResult,
};

use super::{ErrorCode, RequestContext};
use crate::cluster::scram::{SaltedPassword, ScramAlteration};
use crate::cluster::{ControlRequest, ControlResponse};
use crate::shard::connection::Outgoing;

pub(super) async fn handle(
    context: &RequestContext,
    request: AlterUserScramCredentialsRequest<'_>,
) -> Outgoing {
    let removals = request.deletions.iter().map(|removal| ScramAlteration {
        user: removal.name.to_owned(),
        mechanism: removal.mechanism,
        password: None,
    });
    let upsertions = request.upsertions.iter().map(|wanted| ScramAlteration {
        user: wanted.name.to_owned(),
        mechanism: wanted.mechanism,
        password: Some(SaltedPassword {
            iterations: wanted.iterations,
            salt: wanted.salt.to_owned(),
            salted_password: wanted.salted_password.to_owned(),
        }),
    });
    let alterations: Vec<ScramAlteration> = removals.chain(upsertions).collect();
    let users: Vec<String> = alterations.iter().map(|one| one.user.clone()).collect();
    let results = match context
        .control(ControlRequest::AlterScram(alterations))
        .await
    {
        Ok(ControlResponse::AlterScram(results)) => results,
        Ok(_) => Vec::new(),
        Err(error) => super::topic_results::once_each(users.into_iter())
            .into_iter()
            .map(|user| (user, Err(error.clone())))
            .collect(),
    };
    let results = results.iter().map(|(user, result)| {
        let error = result.as_ref().err();
        AlterUserScramCredentialsResult {
            user,
            error_code: error
                .map_or(ErrorCode::None, |error| error.kind.into())
                .code(),
            error_message: error.and_then(|error| error.message.as_deref()),
            ..Default::default()
        }
    });
    let response = AlterUserScramCredentialsResponse {
        results: results.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}
