//! The levels at which this process logs, and how they change while it runs.
//!
//! A logger is a Rust module, named as Kafka's tools can write it: `engine.log` is what the log calls `engine::log`; `root`
//! stands for everything else. What is set here lasts until the process ends, as in Kafka. Process-wide, because the log is: the one lock is taken when levels are read or
//! changed, never when something is logged.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// The logger of everything that has no level of its own.
pub const ROOT: &str = "root";
/// Kafka's names of the levels that can be set. Nothing here is worse than an error.
pub const LEVELS: [&str; 6] = ["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];
const KNOWN: [&str; 12] = [
    "engine",
    "engine::api",
    "engine::cluster",
    "engine::groups",
    "engine::log",
    "engine::node",
    "engine::platform",
    "engine::shard",
    "net",
    "net::platform",
    "tidelog",
    "tuning",
];

type Handle = reload::Handle<Targets, Registry>;

static LOGGERS: OnceLock<Mutex<Loggers>> = OnceLock::new();

struct Loggers {
    handle: Option<Handle>,
    root: LevelFilter,
    own: BTreeMap<String, LevelFilter>,
}

/// A change of one logger's level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelChange {
    /// Which logger; it must be [known](is_known).
    pub logger: String,
    /// One of [`LEVELS`], or `None` to follow `root` again.
    pub level: Option<String>,
}

/// Starts logging to standard error, as `wanted` says (for instance `info,engine::log=debug`); what does not make sense
/// is `info`.
pub fn install(wanted: Option<&str>) {
    let parsed = wanted.and_then(|wanted| wanted.parse::<Targets>().ok());
    let targets = parsed.unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    let root = targets.default_level().unwrap_or(LevelFilter::OFF);
    let own = targets
        .iter()
        .map(|(target, level)| (target.to_owned(), level))
        .collect();
    let (filter, handle) = reload::Layer::new(targets);
    let output = fmt::layer().with_writer(std::io::stderr);
    let installed = tracing_subscriber::registry()
        .with(output.with_filter(filter))
        .try_init();
    let loggers = Loggers {
        handle: installed.is_ok().then_some(handle),
        root,
        own,
    };
    // A second call finds logging installed already, and changes nothing.
    let _ = LOGGERS.set(Mutex::new(loggers));
}

/// All loggers with their levels, by name.
#[must_use]
pub fn levels() -> BTreeMap<String, &'static str> {
    with_loggers(|loggers| {
        let mut levels = BTreeMap::from([(ROOT.to_owned(), level_name(loggers.root))]);
        let names = KNOWN
            .iter()
            .copied()
            .chain(loggers.own.keys().map(String::as_str));
        for name in names {
            levels.insert(outer_name(name), level_name(loggers.level(name)));
        }
        levels
    })
}

/// Whether there is a logger of that name.
#[must_use]
pub fn is_known(logger: &str) -> bool {
    let target = target(logger);
    logger == ROOT
        || KNOWN.contains(&target.as_str())
        || with_loggers(|loggers| loggers.own.contains_key(&target))
}

/// The module that a logger stands for.
fn target(logger: &str) -> String {
    logger.replace('.', "::")
}

fn outer_name(target: &str) -> String {
    target.replace("::", ".")
}

/// Sets levels; all of them at once.
pub fn change(changes: &[LevelChange]) {
    with_loggers(|loggers| {
        for change in changes {
            match &change.level {
                Some(level) if change.logger == ROOT => loggers.root = filter(level),
                Some(level) => {
                    loggers.own.insert(target(&change.logger), filter(level));
                }
                None => {
                    loggers.own.remove(&target(&change.logger));
                }
            }
        }
        let targets = Targets::new().with_default(loggers.root).with_targets(
            loggers
                .own
                .iter()
                .map(|(name, level)| (name.clone(), *level)),
        );
        if let Some(handle) = &loggers.handle
            && let Err(error) = handle.reload(targets)
        {
            tracing::error!(%error, "the levels of the loggers could not be changed");
        }
    });
}

fn with_loggers<T>(work: impl FnOnce(&mut Loggers) -> T) -> T {
    let loggers = LOGGERS.get_or_init(|| {
        Mutex::new(Loggers {
            handle: None,
            root: LevelFilter::INFO,
            own: BTreeMap::new(),
        })
    });
    work(&mut loggers.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Loggers {
    /// The level of the longest name that is `name` or one of the modules around it.
    fn level(&self, name: &str) -> LevelFilter {
        let around = |own: &str| {
            name == own
                || name
                    .strip_prefix(own)
                    .is_some_and(|rest| rest.starts_with("::"))
        };
        let nearest = self.own.iter().filter(|(own, _)| around(own));
        nearest
            .max_by_key(|(own, _)| own.len())
            .map_or(self.root, |(_, level)| *level)
    }
}

fn filter(level: &str) -> LevelFilter {
    match level {
        "FATAL" | "ERROR" => LevelFilter::ERROR,
        "WARN" => LevelFilter::WARN,
        "INFO" => LevelFilter::INFO,
        "DEBUG" => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

fn level_name(level: LevelFilter) -> &'static str {
    match level.into_level() {
        None => "OFF",
        Some(Level::ERROR) => "ERROR",
        Some(Level::WARN) => "WARN",
        Some(Level::INFO) => "INFO",
        Some(Level::DEBUG) => "DEBUG",
        Some(Level::TRACE) => "TRACE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The levels are the process's: no other test touches this logger.
    #[test]
    fn a_level_is_set_and_taken_back_by_a_name_without_colons() {
        let level = || levels()["engine.platform"];
        let to = |level: Option<&str>| {
            change(&[LevelChange {
                logger: "engine.platform".to_owned(),
                level: level.map(str::to_owned),
            }]);
        };
        assert!(is_known("engine.platform") && !is_known("engine.nothing"));
        assert_eq!(level(), "INFO");
        to(Some("TRACE"));
        assert_eq!(level(), "TRACE");
        to(None);
        assert_eq!(level(), "INFO");
    }

    #[test]
    fn a_logger_follows_the_nearest_one_around_it() {
        let own = BTreeMap::from([
            ("engine".to_owned(), LevelFilter::DEBUG),
            ("engine::log".to_owned(), LevelFilter::TRACE),
        ]);
        let loggers = Loggers {
            handle: None,
            root: LevelFilter::WARN,
            own,
        };
        assert_eq!(loggers.level("engine::log"), LevelFilter::TRACE);
        assert_eq!(loggers.level("engine::api"), LevelFilter::DEBUG);
        assert_eq!(loggers.level("engineer"), LevelFilter::WARN);
        assert_eq!(loggers.level("net"), LevelFilter::WARN);
    }
}
