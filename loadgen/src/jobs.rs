//! Deals the connections of a phase out to executors, each with its share of the schedule or of the partitions.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::clock;
use crate::consumer::ConsumerJob;
use crate::plan::{Consume, Phase, Plan, Produce};
use crate::producer::{ProducerJob, nanoseconds};
use crate::schedule::Share;
use crate::topics::{Layout, SetupError};
use crate::worker::WorkerJob;

/// Connections that a phase's consumers need.
pub(crate) fn consumers(phase: &Phase) -> usize {
    let connections = |consume: &Consume| consume.connections as usize * consume.fan_out as usize;
    phase.consume.iter().map(connections).sum()
}

/// The jobs of a phase, one per executor. Workloads are numbered: producers first, then consumers.
pub(crate) fn deal(
    plan: &Plan,
    phase: &Phase,
    layout: &Layout,
    executors: usize,
) -> Result<Vec<WorkerJob>, SetupError> {
    let workloads = phase.produce.len() + phase.consume.len();
    let mut jobs: Vec<WorkerJob> = (0..executors)
        .map(|_| WorkerJob {
            workloads,
            ..WorkerJob::default()
        })
        .collect();
    let first_run = clock::wall_us(clock::now()).cast_unsigned() as u32;
    let runs: Vec<u32> = (0..)
        .take(phase.produce.len())
        .map(|index| first_run.wrapping_add(index))
        .collect();
    let mut next = (0..executors).cycle();
    for (workload, produce) in phase.produce.iter().enumerate() {
        let run = runs[workload];
        for job in producers(plan, phase, layout, workload, produce, run)? {
            jobs[next.next().expect("there is an executor")]
                .producers
                .push(job);
        }
    }
    let runs = Arc::new(runs);
    for (index, consume) in phase.consume.iter().enumerate() {
        let workload = phase.produce.len() + index;
        for job in readers(plan, phase, layout, workload, consume, &runs)? {
            jobs[next.next().expect("there is an executor")]
                .consumers
                .push(job);
        }
    }
    Ok(jobs)
}

fn producers(
    plan: &Plan,
    phase: &Phase,
    layout: &Layout,
    workload: usize,
    produce: &Produce,
    run: u32,
) -> Result<Vec<ProducerJob>, SetupError> {
    let (topics, by_leader) = layout.targets(&produce.topics)?;
    if (produce.connections as usize) < by_leader.len() {
        return Err(too_few(&produce.name, by_leader.len()));
    }
    if produce.idempotent && layout.versions.init_producer_id < 0 {
        let problem = format!("{}: the broker gives no producer ids", produce.name);
        return Err(SetupError::Connection(problem));
    }
    let shared = Arc::new(produce.clone());
    let jobs = (0..produce.connections).map(|connection| {
        let (address, targets) = &by_leader[connection as usize % by_leader.len()];
        ProducerJob {
            plan: shared.clone(),
            workload,
            run,
            share: Share {
                of: produce.connections.into(),
                index: connection.into(),
            },
            address: *address,
            topics: topics.clone(),
            targets: targets.clone(),
            produce_version: layout.versions.produce,
            init_producer_id_version: layout.versions.init_producer_id,
            duration: nanoseconds(phase.duration),
            drain: nanoseconds(plan.drain_seconds),
            seed: plan.seed ^ ((workload as u64) << 32),
        }
    });
    Ok(jobs.collect())
}

fn readers(
    plan: &Plan,
    phase: &Phase,
    layout: &Layout,
    workload: usize,
    consume: &Consume,
    runs: &Arc<Vec<u32>>,
) -> Result<Vec<ConsumerJob>, SetupError> {
    let (topics, by_leader) = layout.targets(&consume.topics)?;
    if (consume.connections as usize) < by_leader.len() {
        return Err(too_few(&consume.name, by_leader.len()));
    }
    let shared = Arc::new(consume.clone());
    let total = Arc::new(AtomicU64::new(0));
    let mut jobs = Vec::new();
    for _copy in 0..consume.fan_out {
        for connection in 0..consume.connections as usize {
            let leader = connection % by_leader.len();
            let (address, targets) = &by_leader[leader];
            // Connections to the same leader take its partitions in turn.
            let beside = (consume.connections as usize - leader).div_ceil(by_leader.len());
            let mine = connection / by_leader.len();
            let targets: Vec<_> = targets.iter().skip(mine).step_by(beside).copied().collect();
            if targets.is_empty() {
                continue;
            }
            jobs.push(ConsumerJob {
                plan: shared.clone(),
                workload,
                address: *address,
                topics: topics.clone(),
                targets,
                fetch_version: layout.versions.fetch,
                list_offsets_version: layout.versions.list_offsets,
                follows: !phase.produce.is_empty(),
                duration: nanoseconds(phase.duration),
                drain: nanoseconds(plan.drain_seconds),
                runs: runs.clone(),
                total: total.clone(),
            });
        }
    }
    Ok(jobs)
}

fn too_few(name: &str, leaders: usize) -> SetupError {
    SetupError::Connection(format!(
        "{name}: the partitions have {leaders} leaders; give at least as many connections"
    ))
}
