//! DescribeUserScramCredentials: which users have which SCRAM credentials; never the credentials.

use std::collections::BTreeMap;

use net::messages::describe_user_scram_credentials::{
    CredentialInfo, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
};

use super::{ErrorCode, RequestContext, topic_results};
use crate::cluster::MetadataImage;
use crate::cluster::scram::ScramMechanism;
use crate::shard::connection::Outgoing;

type Described = Result<Vec<CredentialInfo<'static>>, (ErrorCode, String)>;

pub(super) async fn handle(
    context: &RequestContext,
    request: DescribeUserScramCredentialsRequest<'_>,
) -> Outgoing {
    let image = context.image();
    let users = request.users.as_deref().unwrap_or_default();
    let wanted = if users.is_empty() {
        topic_results::once_each(image.scram.keys().map(|(user, _)| user.as_str()))
    } else {
        topic_results::once_each(users.iter().map(|user| user.name))
    };
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for user in users {
        *times.entry(user.name).or_default() += 1;
    }
    let described: Vec<(&str, Described)> = wanted
        .into_iter()
        .map(|name| {
            let is_twice = times.get(name).is_some_and(|times| *times > 1);
            (name, describe(&image, name, is_twice))
        })
        .collect();
    let results = described.into_iter().map(|(user, described)| {
        let (code, message, credential_infos) = match described {
            Ok(infos) => (ErrorCode::None, String::new(), infos),
            Err((code, message)) => (code, message, Vec::new()),
        };
        (user, code, message, credential_infos)
    });
    let results: Vec<_> = results.collect();
    let results =
        results.iter().map(
            |(user, code, message, infos)| DescribeUserScramCredentialsResult {
                user,
                error_code: code.code(),
                error_message: Some(message),
                credential_infos: infos.clone(),
                ..Default::default()
            },
        );
    let response = DescribeUserScramCredentialsResponse {
        error_message: Some(""),
        results: results.collect(),
        ..Default::default()
    };
    context.reply(|writer, version| response.encode(writer, version))
}

fn describe(image: &MetadataImage, name: &str, is_twice: bool) -> Described {
    if is_twice {
        let message = format!(
            "Cannot describe SCRAM credentials for the same user twice in a single request: {name}"
        );
        return Err((ErrorCode::DuplicateResource, message));
    }
    let infos: Vec<CredentialInfo<'static>> = ScramMechanism::ALL
        .into_iter()
        .filter_map(|mechanism| {
            let credential = image.scram.get(&(name.to_owned(), mechanism))?;
            Some(CredentialInfo {
                mechanism: mechanism as i8,
                iterations: credential.iterations,
                ..Default::default()
            })
        })
        .collect();
    if infos.is_empty() {
        let message = format!("Attempt to describe a user credential that does not exist: {name}");
        return Err((ErrorCode::ResourceNotFound, message));
    }
    Ok(infos)
}
