//! The tidelog binary: without a subcommand it runs a node.

use std::process::ExitCode;

use clap::Parser;
use engine::cli::Arguments;
use engine::node_thread::{self, RunningNode};
use engine::preflight;
use tuning::BrokerConfig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse_from(engine::cli::translate(std::env::args_os().collect()));
    abort_on_panic();
    engine::loggers::install(std::env::var("TIDELOG_LOG").ok().as_deref());
    if let Some(command) = arguments.command {
        return command.run();
    }
    let config = match arguments.settings.load() {
        Ok(config) => config,
        Err(message) => {
            eprintln!("tidelog: {message}");
            return ExitCode::from(2);
        }
    };
    run(config)
}

/// A shard that panics leaves its partitions without an owner: the process must not go on half alive, also where the
/// build profile would let one thread end alone.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

fn run(config: BrokerConfig) -> ExitCode {
    if let Err(error) = net::platform::decline_huge_pages() {
        tracing::warn!(%error, "huge pages cannot be declined: faults that clear them delay requests");
    }
    let shards = node_thread::shard_count(&config);
    let needs = preflight::Needs {
        shards: usize::from(shards),
        data_directory: config.data_directory(),
        durability: config.durability(),
    };
    if let Err(report) = preflight::check(&needs) {
        eprintln!("{report}");
        return ExitCode::from(u8::try_from(preflight::EXIT_CODE).unwrap_or(u8::MAX));
    }
    let signals = signal_hook::iterator::Signals::new([
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
    ]);
    let mut signals = match signals {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("tidelog: signals cannot be handled: {error}");
            return ExitCode::FAILURE;
        }
    };
    let node = match RunningNode::start(config, true) {
        Ok(node) => node,
        Err(message) => {
            eprintln!("tidelog: {message}");
            return ExitCode::FAILURE;
        }
    };
    println!("{node}");
    let _ = signals.forever().next();
    println!("tidelog stops");
    match node.stop() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("tidelog: {message}");
            ExitCode::FAILURE
        }
    }
}
