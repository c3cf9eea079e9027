//! Listeners: names, addresses and protocols out of `listeners`, `advertised.listeners` and their companions.
//!
//! Pure text work. Only PLAINTEXT is served, and only on loopback unless `insecure` says otherwise (RELIABILITY §5.1).

use crate::broker::Layers;
use crate::error::ConfigError;
use crate::setting::split_list;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A named address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name, in upper case.
    pub name: String,
    /// Host name or address; `0.0.0.0` for all addresses. Without brackets for IPv6.
    pub host: String,
    /// TCP port; 0 lets the kernel choose.
    pub port: u16,
}

impl Listener {
    /// Whether other machines cannot reach it.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    fn is_unspecified(&self) -> bool {
        self.host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_unspecified())
    }
}

/// Parses `NAME://host:port`.
fn parse(setting: &str, text: &str) -> Result<Listener, ConfigError> {
    let bad = || {
        ConfigError::config(format!(
            "{setting}: `{text}` is not of the form NAME://host:port, for instance PLAINTEXT://127.0.0.1:9092"
        ))
    };
    let (name, address) = text.split_once("://").ok_or_else(bad)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let port = port.parse().map_err(|_| bad())?;
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let host = if is_bracketed {
        &host[1..host.len() - 1]
    } else {
        host
    };
    let is_name = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    if !is_name(name) || host.contains(['/', '[', ']']) || (host.contains(':') && !is_bracketed) {
        return Err(bad());
    }
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    Ok(Listener {
        name: name.to_ascii_uppercase(),
        host: host.to_owned(),
        port,
    })
}

/// Parses a list of listeners whose names all differ.
fn parse_all(setting: &str, text: &str) -> Result<Vec<Listener>, ConfigError> {
    let listeners: Vec<Listener> = split_list(text)
        .into_iter()
        .map(|part| parse(setting, part))
        .collect::<Result<_, _>>()?;
    let names: BTreeSet<&str> = listeners
        .iter()
        .map(|listener| listener.name.as_str())
        .collect();
    if names.len() != listeners.len() {
        return Err(ConfigError::config(format!(
            "{setting}: each listener must have a different name"
        )));
    }
    Ok(listeners)
}

/// The security protocol of a listener's name.
fn protocol(map: &str, name: &str) -> Result<String, ConfigError> {
    for pair in split_list(map) {
        let (listener, protocol) = pair.split_once(':').ok_or_else(|| {
            ConfigError::config(format!(
                "listener.security.protocol.map: `{pair}` is not of the form NAME:PROTOCOL"
            ))
        })?;
        if listener.trim().eq_ignore_ascii_case(name) {
            return Ok(protocol.trim().to_ascii_uppercase());
        }
    }
    Err(ConfigError::config(format!(
        "listener.security.protocol.map has no entry for the listener {name}"
    )))
}

/// Names of listeners that belong to the controller quorum; those are not opened.
fn controller_names(layers: &Layers) -> BTreeSet<String> {
    let names = layers
        .value("controller.listener.names")
        .unwrap_or_default();
    split_list(names)
        .into_iter()
        .map(str::to_ascii_uppercase)
        .collect()
}

/// What to open and what to tell clients.
pub(crate) fn of(layers: &Layers) -> Result<(Vec<Listener>, Vec<Listener>), ConfigError> {
    let controllers = controller_names(layers);
    let mut listeners = parse_all("listeners", layers.value("listeners").unwrap_or_default())?;
    listeners.retain(|listener| !controllers.contains(&listener.name));
    if listeners.is_empty() {
        return Err(ConfigError::config(
            "listeners: there must be at least one listener for clients",
        ));
    }
    let map = layers
        .value("listener.security.protocol.map")
        .unwrap_or_default();
    let insecure = layers
        .value("insecure")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    for (index, listener) in listeners.iter().enumerate() {
        let protocol = protocol(map, &listener.name)?;
        if protocol != "PLAINTEXT" {
            return Err(ConfigError::config(format!(
                "listeners: {protocol} (listener {}) is not supported by Tidelog yet; only PLAINTEXT is",
                listener.name
            )));
        }
        if !listener.is_loopback() && !insecure {
            return Err(ConfigError::config(format!(
                "listeners: {}://{}:{} would let other machines connect without encryption or login; \
                 listen on 127.0.0.1, or accept that with --insecure (insecure=true)",
                listener.name, listener.host, listener.port
            )));
        }
        let clash = |other: &Listener| {
            other.port == listener.port && other.host == listener.host && other.port != 0
        };
        if listeners[..index].iter().any(clash) {
            return Err(ConfigError::config(format!(
                "listeners: {}:{} appears twice",
                listener.host, listener.port
            )));
        }
    }
    let advertised = advertised(layers, &listeners, &controllers)?;
    check_inter_broker(layers, &listeners)?;
    Ok((listeners, advertised))
}

fn advertised(
    layers: &Layers,
    listeners: &[Listener],
    controllers: &BTreeSet<String>,
) -> Result<Vec<Listener>, ConfigError> {
    let mut advertised = match layers
        .value("advertised.listeners")
        .filter(|text| !text.trim().is_empty())
    {
        Some(text) => parse_all("advertised.listeners", text)?,
        None => listeners.to_vec(),
    };
    advertised.retain(|listener| !controllers.contains(&listener.name));
    if let Some(unspecified) = advertised.iter().find(|listener| listener.is_unspecified()) {
        return Err(ConfigError::config(format!(
            "advertised.listeners: clients cannot connect to {}; set advertised.listeners to an address they can reach",
            unspecified.host
        )));
    }
    let mut ordered = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let Some(index) = advertised
            .iter()
            .position(|other| other.name == listener.name)
        else {
            return Err(ConfigError::config(format!(
                "advertised.listeners has no address for the listener {}",
                listener.name
            )));
        };
        ordered.push(advertised.swap_remove(index));
    }
    match advertised.first() {
        Some(extra) => Err(ConfigError::config(format!(
            "advertised.listeners names {}, which is not among listeners",
            extra.name
        ))),
        None => Ok(ordered),
    }
}

fn check_inter_broker(layers: &Layers, listeners: &[Listener]) -> Result<(), ConfigError> {
    let Some(name) = layers.value("inter.broker.listener.name") else {
        return Ok(());
    };
    if listeners
        .iter()
        .any(|listener| listener.name.eq_ignore_ascii_case(name.trim()))
    {
        return Ok(());
    }
    Err(ConfigError::config(format!(
        "inter.broker.listener.name = {name} is not among listeners"
    )))
}
