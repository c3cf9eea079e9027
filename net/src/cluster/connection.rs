//! One connection to one broker, on which the versions are agreed.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};

use bytes::Bytes;

use super::{ClientSettings, ClusterError};
use crate::client::{Client, ClientError};
use crate::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::messages::{ApiKey, Request};
use crate::platform::Runtime;
use crate::wire::{DecodeError, Reader};

/// Kafka's code for a version that the broker lacks.
const UNSUPPORTED_VERSION: i16 = 35;

/// A connection on which the versions are agreed.
pub struct Connection {
    runtime: Runtime,
    settings: ClientSettings,
    client: Client,
    /// What the broker serves: lowest and highest version by API key.
    served: BTreeMap<i16, (i16, i16)>,
}

/// An answer's body, not yet decoded.
#[derive(Debug)]
pub struct Answer {
    body: Bytes,
    api: ApiKey,
    version: i16,
}

impl Answer {
    /// The message, borrowed from the body.
    pub fn decode<'a, T>(
        &'a self,
        decode: impl FnOnce(&mut Reader<'a>, i16) -> Result<T, DecodeError>,
    ) -> Result<T, ClusterError> {
        decode(&mut Reader::new(&self.body), self.version).map_err(|source| ClusterError::Decode {
            api: self.api.name(),
            source,
        })
    }
}

impl Connection {
    /// Connects to `address` (`host:port`, every address of the host is tried) and asks for the versions.
    pub async fn open(
        runtime: &Runtime,
        address: &str,
        settings: &ClientSettings,
    ) -> Result<Connection, ClusterError> {
        let failed = |source| ClusterError::Connect {
            address: address.to_owned(),
            source,
        };
        let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the host has no address");
        for candidate in resolve(runtime, address).await.map_err(failed)? {
            let connecting = Client::connect(runtime, candidate, &settings.client_id);
            match runtime.timeout(settings.timeout, connecting).await {
                Ok(Ok(client)) => {
                    let (runtime, settings) = (runtime.clone(), settings.clone());
                    let mut connection = Connection {
                        runtime,
                        settings,
                        client,
                        served: BTreeMap::new(),
                    };
                    connection.agree_on_versions().await?;
                    return Ok(connection);
                }
                Ok(Err(ClientError::Io(error))) => last = error,
                Ok(Err(error)) => last = std::io::Error::other(error),
                Err(elapsed) => last = std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed),
            }
        }
        Err(failed(last))
    }

    /// Whether calls can still succeed.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.client.is_closed()
    }

    /// What the broker serves: API key, lowest and highest version.
    pub fn served(&self) -> impl Iterator<Item = (i16, i16, i16)> + '_ {
        let served = self.served.iter();
        served.map(|(key, (lowest, highest))| (*key, *lowest, *highest))
    }

    /// The highest version of `api` that both sides know.
    pub fn version(&self, api: ApiKey) -> Result<i16, ClusterError> {
        self.version_up_to(api, i16::MAX)
    }

    /// The highest version of `api` up to `version_max` that both sides know.
    pub fn version_up_to(&self, api: ApiKey, version_max: i16) -> Result<i16, ClusterError> {
        let (lowest, highest) = self.served.get(&api.code()).copied().unwrap_or((0, -1));
        let version = highest.min(*api.versions().end()).min(version_max);
        if version < lowest.max(*api.versions().start()) {
            return Err(ClusterError::NoCommonVersion(api.name()));
        }
        Ok(version)
    }

    /// Sends `request` and waits for its answer.
    pub async fn call(&self, request: &Request<'_>, version: i16) -> Result<Answer, ClusterError> {
        let api = request.api_key();
        let calling = self
            .client
            .call(api, version, |writer| request.encode(writer, version));
        let answered = self.runtime.timeout(self.settings.timeout, calling).await;
        let body = answered
            .map_err(|_| ClusterError::TimedOut(api.name()))?
            .map_err(failed(api))?;
        Ok(Answer { body, api, version })
    }

    /// Sends a request that brokers do not answer (Produce with acks 0).
    pub async fn tell(&self, request: &Request<'_>, version: i16) -> Result<(), ClusterError> {
        let api = request.api_key();
        let telling = self
            .client
            .tell(api, version, |writer| request.encode(writer, version));
        let told = self.runtime.timeout(self.settings.timeout, telling).await;
        told.map_err(|_| ClusterError::TimedOut(api.name()))?
            .map_err(failed(api))
    }

    /// KIP-511: the newest version first; a broker that lacks it answers in version 0 and says what it has.
    async fn agree_on_versions(&mut self) -> Result<(), ClusterError> {
        let mut version = *ApiKey::ApiVersions.versions().end();
        for _ in 0..2 {
            let request = Request::ApiVersions(ApiVersionsRequest {
                client_software_name: "tidelog",
                client_software_version: env!("CARGO_PKG_VERSION"),
                ..Default::default()
            });
            let mut answer = self.call(&request, version).await?;
            if answer.body.get(..2) == Some(&UNSUPPORTED_VERSION.to_be_bytes()) {
                answer.version = 0;
            }
            let response = answer.decode(ApiVersionsResponse::decode)?;
            self.served = response
                .api_keys
                .iter()
                .map(|api| (api.api_key, (api.min_version, api.max_version)))
                .collect();
            match response.error_code {
                0 => return Ok(()),
                UNSUPPORTED_VERSION if version > 0 => {
                    // Brokers before 2.4 list nothing: version 0 is the one that every broker has.
                    version = self
                        .version_up_to(ApiKey::ApiVersions, version - 1)
                        .unwrap_or(0);
                }
                code => {
                    return Err(ClusterError::Refused {
                        api: "ApiVersions",
                        code,
                    });
                }
            }
        }
        Err(ClusterError::NoCommonVersion("ApiVersions"))
    }
}

fn failed(api: ApiKey) -> impl Fn(ClientError) -> ClusterError {
    move |source| ClusterError::Client {
        api: api.name(),
        source,
    }
}

/// `host:port` to addresses; what is an address already asks nobody.
async fn resolve(runtime: &Runtime, address: &str) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let address = address.to_owned();
    runtime
        .run_blocking(move || address.to_socket_addrs().map(Iterator::collect))
        .await
}
