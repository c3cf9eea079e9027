//! Random work under random kills, power cuts and clean stops, against a plain model: what was acknowledged or read stays
//! as it was, nothing appears that was never sent, and no idempotent batch stands twice.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use engine::log::AppendError;
use engine::platform::sim::{CutMode, SimDiskOptions};
use engine::types::Offset;
use net::platform::Runtime;

use crate::rig::{Machine, Started, batch, partition};

const PARTITIONS: i32 = 4;

#[derive(Default)]
pub(crate) struct PartitionModel {
    /// Next number (and sequence) to send.
    next: u64,
    sizes: BTreeMap<u64, usize>,
    unacknowledged: VecDeque<u64>,
    acknowledged: BTreeMap<i64, u64>,
    seen: BTreeMap<i64, u64>,
    log_start_asked: i64,
    log_start_told: i64,
}

#[derive(Default)]
pub(crate) struct Model {
    partitions: Vec<PartitionModel>,
    pub(crate) operations: u64,
}

pub(crate) type SharedModel = Rc<RefCell<Model>>;

/// What all crashes of a run did, to see that everything was exercised.
#[derive(Default, Debug, Clone, Copy)]
pub(crate) struct Exercised {
    pub(crate) checkpoints: u64,
    pub(crate) recycled: u64,
    pub(crate) direct_runs: u64,
    pub(crate) rolls: u64,
    pub(crate) torn: u64,
    pub(crate) replayed: u64,
    pub(crate) cuts_in_recovery: u64,
}

pub(crate) fn new_model() -> SharedModel {
    let partitions = (0..PARTITIONS).map(|_| PartitionModel::default()).collect();
    Rc::new(RefCell::new(Model {
        partitions,
        operations: 0,
    }))
}

fn random_size(runtime: &Runtime) -> usize {
    match runtime.random_u64() % 20 {
        0 => 50_000 + (runtime.random_u64() % 60_000) as usize,
        1..=3 => 5_000 + (runtime.random_u64() % 20_000) as usize,
        _ => 20 + (runtime.random_u64() % 1_500) as usize,
    }
}

/// Sends in order with a few in flight, first again what was not acknowledged.
async fn produce(started: Rc<Started>, model: SharedModel, index: i32, running: Rc<Cell<bool>>) {
    let runtime = started.runtime.clone();
    let at = index as usize;
    let mut again: VecDeque<u64> = model.borrow().partitions[at].unacknowledged.clone();
    while running.get() {
        let mut in_flight = Vec::new();
        let window = 1 + runtime.random_u64() % 5;
        for _ in 0..window {
            let number = match again.pop_front() {
                Some(number) => number,
                None => {
                    let mut model = model.borrow_mut();
                    let state = &mut model.partitions[at];
                    let number = state.next;
                    state.next += 1;
                    state.unacknowledged.push_back(number);
                    state.sizes.insert(number, random_size(&runtime));
                    number
                }
            };
            let size = model.borrow().partitions[at].sizes[&number];
            let request = batch(number, size, Some((1000 + i64::from(index), number as i32)));
            in_flight.push((number, started.storage.append(partition(index), request)));
        }
        for (number, pending) in in_flight {
            match pending.await {
                Ok(appended) => {
                    let mut model = model.borrow_mut();
                    model.operations += 1;
                    let state = &mut model.partitions[at];
                    let first = state.unacknowledged.pop_front();
                    assert_eq!(first, Some(number), "answers come in order");
                    let known = state.acknowledged.insert(appended.base_offset.0, number);
                    assert_eq!(
                        known, None,
                        "partition {index}: offset {} was given twice",
                        appended.base_offset.0
                    );
                    if let Some(seen) = state.seen.get(&appended.base_offset.0) {
                        assert_eq!(
                            *seen, number,
                            "partition {index}: a reader saw another record there"
                        );
                    }
                }
                Err(AppendError::Poisoned(_) | AppendError::Stopping) => return,
                Err(AppendError::OutOfSpace) => return,
                Err(error) => panic!("partition {index}, number {number}: {error}"),
            }
        }
        runtime
            .sleep(Duration::from_micros(runtime.random_u64() % 3_000))
            .await;
    }
}

/// Reads from somewhere to the end and compares.
pub(crate) async fn check_reads(started: &Started, model: &SharedModel, index: i32, whole: bool) {
    let at = index as usize;
    let Some(offsets) = started.storage.offsets(partition(index)) else {
        return;
    };
    let (start, end) = (offsets.log_start().0, offsets.high_watermark().0);
    let span = (end - start).max(1) as u64;
    let from = if whole {
        start
    } else {
        start + (started.runtime.random_u64() % span) as i64
    };
    let found = match started.read_all(index, from).await {
        Ok(found) => found,
        Err(engine::log::ReadError::OffsetOutOfRange { log_start, .. }) if log_start.0 > from => {
            return;
        }
        Err(error) => panic!("partition {index} from {from}: {error}"),
    };
    let mut model = model.borrow_mut();
    let state = &mut model.partitions[at];
    for (offset, number) in &found {
        assert!(
            *number < state.next,
            "partition {index}: offset {offset} has a record that was never sent"
        );
        if let Some(known) = state.acknowledged.get(offset) {
            assert_eq!(known, number, "partition {index}: offset {offset} changed");
        }
        let seen = *state.seen.entry(*offset).or_insert(*number);
        assert_eq!(
            seen, *number,
            "partition {index}: offset {offset} changed under a reader"
        );
    }
    assert!(
        found.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1),
        "partition {index}: a hole"
    );
    if !whole {
        return;
    }
    let found: BTreeMap<i64, u64> = found.into_iter().collect();
    let log_start = started
        .storage
        .offsets(partition(index))
        .unwrap()
        .log_start()
        .0;
    let log_start = log_start.min(end);
    for (offset, number) in state
        .acknowledged
        .range(log_start..end)
        .chain(state.seen.range(log_start..end))
    {
        assert_eq!(
            found.get(offset),
            Some(number),
            "partition {index}: offset {offset} is lost (log start {log_start}, end {end})"
        );
    }
    let mut numbers: Vec<u64> = found.values().copied().collect();
    numbers.sort_unstable();
    assert!(
        numbers.windows(2).all(|pair| pair[0] != pair[1]),
        "partition {index}: a record stands twice"
    );
    assert!(
        log_start >= state.log_start_told,
        "partition {index}: the log start went back"
    );
    assert!(
        log_start <= state.log_start_asked,
        "partition {index}: the log start moved by itself"
    );
}

async fn consume(started: Rc<Started>, model: SharedModel, running: Rc<Cell<bool>>) {
    while running.get() {
        let index = (started.runtime.random_u64() % PARTITIONS as u64) as i32;
        check_reads(
            &started,
            &model,
            index,
            started.runtime.random_u64().is_multiple_of(8),
        )
        .await;
        model.borrow_mut().operations += 1;
        started
            .runtime
            .sleep(Duration::from_micros(started.runtime.random_u64() % 20_000))
            .await;
    }
}

async fn delete_records(started: Rc<Started>, model: SharedModel, running: Rc<Cell<bool>>) {
    while running.get() {
        started
            .runtime
            .sleep(Duration::from_micros(
                started.runtime.random_u64() % 400_000,
            ))
            .await;
        let index = (started.runtime.random_u64() % PARTITIONS as u64) as i32;
        let offsets = started.storage.offsets(partition(index)).unwrap();
        let span = (offsets.high_watermark().0 - offsets.log_start().0) as u64;
        let span = if started.runtime.random_u64().is_multiple_of(4) {
            span
        } else {
            span / 2
        };
        let before = offsets.log_start().0 + (started.runtime.random_u64() % (span + 1)) as i64;
        {
            let asked = &mut model.borrow_mut().partitions[index as usize].log_start_asked;
            *asked = before.max(*asked);
        }
        if started
            .storage
            .delete_records(partition(index), Offset(before))
            .await
            .is_ok()
        {
            let mut model = model.borrow_mut();
            let told = &mut model.partitions[index as usize].log_start_told;
            *told = before.max(*told);
            model.operations += 1;
        }
    }
}

pub(crate) struct Lifetime {
    /// Virtual milliseconds until the end.
    pub(crate) milliseconds: u64,
    pub(crate) stop: bool,
}

/// One life of the process: verify everything, then work until it ends.
pub(crate) fn live(
    machine: &mut Machine,
    model: &SharedModel,
    exercised: &Rc<Cell<Exercised>>,
    life: Lifetime,
) {
    let (model, exercised) = (model.clone(), exercised.clone());
    let done = Rc::new(Cell::new(!life.stop));
    let finished = done.clone();
    machine.spawn(async move |started| {
        let started = Rc::new(started);
        println!("  start: {}", started.report);
        assert!(started.report.damage.is_empty(), "{}", started.report);
        let mut sum = exercised.get();
        sum.torn += started.report.torn_groups;
        sum.replayed += started.report.batches_replayed;
        exercised.set(sum);
        for index in 0..PARTITIONS {
            let end = started
                .storage
                .offsets(partition(index))
                .unwrap()
                .high_watermark()
                .0;
            let last = model.borrow().partitions[index as usize]
                .acknowledged
                .last_key_value()
                .map(|(offset, _)| *offset);
            assert!(
                last.is_none_or(|last| last < end),
                "partition {index} ends at {end}, {last:?} was acknowledged"
            );
            let last = model.borrow().partitions[index as usize]
                .seen
                .last_key_value()
                .map(|(offset, _)| *offset);
            assert!(
                last.is_none_or(|last| last < end),
                "partition {index} ends at {end}, {last:?} was read"
            );
            check_reads(&started, &model, index, true).await;
        }
        let running = Rc::new(Cell::new(true));
        for index in 0..PARTITIONS {
            started.runtime.spawn(produce(
                started.clone(),
                model.clone(),
                index,
                running.clone(),
            ));
        }
        started
            .runtime
            .spawn(consume(started.clone(), model.clone(), running.clone()));
        started.runtime.spawn(delete_records(
            started.clone(),
            model.clone(),
            running.clone(),
        ));
        let mut before = started.storage.metrics();
        for _ in 0..life.milliseconds / 5 {
            started.runtime.sleep(Duration::from_millis(5)).await;
            let now = started.storage.metrics();
            let mut sum = exercised.get();
            sum.checkpoints += now.checkpoints - before.checkpoints;
            sum.recycled += now.journal_recycled_files - before.journal_recycled_files;
            sum.direct_runs += now.direct_runs - before.direct_runs;
            sum.rolls += now.segment_rolls - before.segment_rolls;
            exercised.set(sum);
            before = now;
        }
        if life.stop {
            running.set(false);
            let stopped = started.storage.stop().await;
            assert!(stopped.is_ok(), "{}", stopped.unwrap_err());
            finished.set(true);
        }
    });
    machine.run_for(life.milliseconds + 60);
    for _ in 0..2_000 {
        if done.get() {
            return;
        }
        machine.run_for(20);
    }
    panic!(
        "SEED={}: the storage does not stop",
        machine.simulation.seed()
    );
}

pub(crate) fn random_cut(machine: &mut Machine, random: u64) {
    match random % 6 {
        0 => machine.kill(),
        1 => machine.cut_power(CutMode::Random(0.0)),
        2 => machine.cut_power(CutMode::Random(0.5)),
        3 => machine.cut_power(CutMode::Random(0.9)),
        4 => machine.cut_power(CutMode::Earliest(0.5)),
        _ => machine.cut_power(CutMode::Latest(0.3)),
    }
}

pub(crate) fn run_seed(seed: u64, crashes: u64) -> (Exercised, u64) {
    let mut machine = Machine::new(seed, PARTITIONS, &[("internal.segment.bytes", "200000")]);
    machine.settings.journal_files_max = 3 + (seed % 5) as usize;
    if seed % 2 == 1 {
        // Some operations take long, so that others overtake them; journals go round often.
        let options = SimDiskOptions {
            latency_tail: 0.01,
            latency_tail_max: Duration::from_millis(100),
            ..SimDiskOptions::default()
        };
        machine.disk.set_options(options);
        machine.settings.journal_file_bytes = 128 << 10;
        machine.settings.checkpoint_interval_ms = 100;
    }
    let model = new_model();
    let exercised = Rc::new(Cell::new(Exercised::default()));
    for _ in 0..crashes {
        let random = machine.simulation.handle().random_u64();
        let milliseconds = 1 + machine.simulation.handle().random_below(600);
        let stop = random % 10 == 9;
        println!(
            "  {milliseconds} ms, then {}",
            if stop { 99 } else { random % 6 }
        );
        live(
            &mut machine,
            &model,
            &exercised,
            Lifetime { milliseconds, stop },
        );
        if stop {
            machine.kill();
        } else {
            random_cut(&mut machine, random);
        }
        if (random >> 8).is_multiple_of(3) {
            println!("  cut in recovery {}", (random >> 16) % 6);
            machine.spawn(async |_| {});
            let microseconds = machine.simulation.handle().random_below(6_000);
            machine
                .simulation
                .run_for(Duration::from_micros(microseconds));
            random_cut(&mut machine, random >> 16);
            let mut sum = exercised.get();
            sum.cuts_in_recovery += 1;
            exercised.set(sum);
        }
    }
    live(
        &mut machine,
        &model,
        &exercised,
        Lifetime {
            milliseconds: 50,
            stop: true,
        },
    );
    let operations = model.borrow().operations;
    (exercised.get(), operations)
}

#[test]
fn random_work_survives_random_crashes() {
    let first: u64 = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let seeds: u64 = std::env::var("SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(4);
    for seed in first..first + seeds {
        println!("SEED={seed}");
        let (exercised, operations) = run_seed(seed, 8);
        println!("{operations} operations, {exercised:?}");
    }
}
