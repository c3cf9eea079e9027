//! Bytes from an enemy: every decoder answers an error or a message, never a panic, and never allocates
//! beyond a constant factor of what it was given.

#![allow(clippy::unwrap_used)]

mod samples;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use generator::schema::Message;
use net::fuzz;
use net::messages::{ApiKey, Request, Response};
use net::wire::{ARRAY_ELEMENTS_MAX, DecodeError, Reader, TAGGED_FIELDS_MAX};
use proptest::prelude::*;
use samples::{Random, Shape, sample, schemas};

/// Counts what the current thread holds, and the most it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // `try_with`: a thread may free memory after its locals are gone.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The old block may live until the new one is filled.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `work` held at once, beyond what was held before.
fn most_held(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    MOST.set(before);
    work();
    (MOST.get() - before) as usize
}

/// Bytes of memory per byte of frame that a decoder may hold, growth of vectors included.
const FACTOR: usize = 48;
/// What an error, or a first element, may cost besides.
const FLOOR: usize = 2048;

/// Hands `bytes` to the decoder of `schema`; says whether they decoded.
fn enter(schema: &Message, version: i16, bytes: &[u8]) -> bool {
    let selected = || {
        let key = schema.api_key.unwrap();
        [&key.to_be_bytes(), &version.to_be_bytes(), bytes].concat()
    };
    match schema.kind.as_str() {
        "request" => fuzz::request(&selected()),
        "response" => fuzz::response(&selected()),
        "header" => fuzz::header(bytes),
        "metadata" => fuzz::metadata_record(
            &[&[1, schema.api_key.unwrap() as u8, version as u8], bytes].concat(),
        ),
        _ => fuzz::data(&schema.name, version, bytes),
    }
}

/// Decodes a request or response and says how much memory that held.
fn memory(schema: &Message, version: i16, bytes: &[u8]) -> usize {
    let Some(key) = schema.api_key.and_then(ApiKey::from_code) else {
        return 0;
    };
    let mut reader = Reader::new(bytes);
    most_held(|| match schema.kind.as_str() {
        "request" => drop(Request::decode(key, version, &mut reader)),
        "response" => drop(Response::decode(key, version, &mut reader)),
        _ => {}
    })
}

fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    match random.below(4) {
        0 => bytes.truncate(random.below(bytes.len() as u64 + 1) as usize),
        1 => {
            let at = random.below(bytes.len() as u64 + 1) as usize;
            bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x07]);
        }
        _ => {
            for _ in 0..=random.below(3) {
                if !bytes.is_empty() {
                    let at = random.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1 << random.below(8);
                }
            }
        }
    }
}

#[test]
fn spoiled_messages_are_errors_or_messages() {
    let (mut refused, mut accepted) = (0, 0);
    for schema in schemas() {
        for version in schema.versions.low..=schema.versions.high {
            for seed in 0..24 {
                let mut random = Random(seed ^ 0x5eed);
                let mut bytes = sample(&schema, version, Shape::Random, seed);
                spoil(&mut bytes, &mut random);
                if enter(&schema, version, &bytes) {
                    accepted += 1
                } else {
                    refused += 1
                }
            }
        }
    }
    assert!(
        refused > 3000 && accepted > 3000,
        "refused {refused}, accepted {accepted}"
    );
}

#[test]
fn no_frame_makes_a_decoder_hold_more_than_a_constant_factor_of_its_size() {
    let mut worst = (0, String::new());
    for schema in schemas()
        .iter()
        .filter(|schema| ["request", "response"].contains(&schema.kind.as_str()))
    {
        for version in schema.versions.low..=schema.versions.high {
            let mut random = Random(1);
            for shape in [
                Shape::Wide(300),
                Shape::Wide(1025),
                Shape::Full,
                Shape::Random,
            ] {
                let mut bytes = sample(schema, version, shape, 3);
                for round in 0..6 {
                    let held = memory(schema, version, &bytes);
                    assert!(
                        held <= FACTOR * bytes.len() + FLOOR,
                        "{} v{version}: {held} for {}",
                        schema.name,
                        bytes.len()
                    );
                    if bytes.len() > 1000 && held / bytes.len() > worst.0 {
                        worst = (
                            held / bytes.len(),
                            format!("{} v{version} {shape:?} {round}", schema.name),
                        );
                    }
                    spoil(&mut bytes, &mut random);
                }
            }
        }
    }
    assert!(worst.0 > 4, "the counting allocator counts: {worst:?}");
    println!("worst: {worst:?}");
}

#[test]
fn an_announced_length_reserves_nothing() {
    // Metadata v1: an array of topic names; Metadata v9: compact.
    let announced: [&[u8]; 6] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x00, 0x0f, 0x42, 0x40],
        &[0x00, 0x0f, 0x42, 0x41, 0, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xfe],
        &[0x80, 0x00, 0x00, 0x00],
        &[0x00, 0x00, 0x00, 0x02, 0, 0],
    ];
    for bytes in announced {
        let mut result = Ok(());
        let held = most_held(|| {
            result = Request::decode(ApiKey::Metadata, 1, &mut Reader::new(bytes)).map(drop)
        });
        assert!(
            result.is_err() && held <= 64,
            "{bytes:?}: {result:?}, held {held}"
        );
    }
    for bytes in [
        &[0xff, 0xff, 0xff, 0xff, 0x0f][..],
        &[0xff, 0xff, 0xff, 0xff, 0x10],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 1],
    ] {
        let mut result = Ok(());
        let held = most_held(|| {
            result = Request::decode(ApiKey::Metadata, 9, &mut Reader::new(bytes)).map(drop)
        });
        assert!(
            result.is_err() && held <= 64,
            "{bytes:?}: {result:?}, held {held}"
        );
    }
}

#[test]
fn counts_beyond_the_limits_are_refused_even_when_the_bytes_are_there() {
    let mut names = vec![0; 4 + 2 * (ARRAY_ELEMENTS_MAX + 1)];
    names[..4].copy_from_slice(&(ARRAY_ELEMENTS_MAX as i32 + 1).to_be_bytes());
    let result = Request::decode(ApiKey::Metadata, 0, &mut Reader::new(&names));
    assert_eq!(
        result,
        Err(DecodeError::TooManyElements(ARRAY_ELEMENTS_MAX + 1))
    );
    names[..4].copy_from_slice(&(ARRAY_ELEMENTS_MAX as i32).to_be_bytes());
    assert!(Request::decode(ApiKey::Metadata, 0, &mut Reader::new(&names)).is_ok());

    // Many arrays below the limit, together above it: topics of 200,000 partitions in DeleteRecords v0.
    let topic = [
        &[0u8, 0][..],
        &200_000i32.to_be_bytes(),
        &vec![0; 200_000 * 12],
    ]
    .concat();
    let frame = [&6i32.to_be_bytes()[..], &topic.repeat(6), &[0; 4]].concat();
    let result = Request::decode(ApiKey::DeleteRecords, 0, &mut Reader::new(&frame));
    assert_eq!(result, Err(DecodeError::TooManyElements(200_000)));

    // A request header v2 with one tagged field too many: tag, length 0.
    let many = TAGGED_FIELDS_MAX as u32 + 1;
    let count = [many as u8 | 0x80, (many >> 7) as u8];
    let header = [
        &[0u8, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff][..],
        &count,
        &vec![0; 2 * many as usize],
    ]
    .concat();
    let result = net::messages::RequestHeader::decode(&mut Reader::new(&header), 2);
    assert_eq!(result, Err(DecodeError::TooManyTaggedFields(many as usize)));
}

#[test]
fn a_string_that_is_not_utf8_or_too_long_is_refused() {
    let decode = |bytes: &[u8]| {
        Request::decode(ApiKey::FindCoordinator, 0, &mut Reader::new(bytes)).map(drop)
    };
    assert_eq!(decode(&[0, 2, 0xc3, 0x28]), Err(DecodeError::InvalidUtf8));
    assert_eq!(decode(&[0xff, 0xff]), Err(DecodeError::UnexpectedNull));
    assert_eq!(decode(&[0xff, 0xfe]), Err(DecodeError::NegativeLength(-2)));
    let long = [&[0x81u8, 0x80, 0x02][..], &vec![b'x'; 40_000]].concat();
    let result = Request::decode(ApiKey::FindCoordinator, 3, &mut Reader::new(&long)).map(drop);
    assert_eq!(result, Err(DecodeError::StringTooLong(32_768)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_errors_or_messages(key in 0i16..95, version in 0i16..19, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let data = [&key.to_be_bytes(), &version.to_be_bytes(), &body[..]].concat();
        fuzz::request(&data);
        fuzz::response(&data);
        fuzz::header(&body);
        fuzz::metadata_record(&[&[1, key as u8, version as u8 & 3], &body[..]].concat());
    }

    #[test]
    fn small_random_bytes_reach_deep_into_every_decoder(choice in any::<u64>(), body in prop::collection::vec(0u8..4, 0..300)) {
        let all = SCHEMAS.with(|all| all.clone());
        let schema = &all[choice as usize % all.len()];
        let versions = (schema.versions.high - schema.versions.low + 1) as u64;
        enter(schema, schema.versions.low + ((choice >> 32) % versions) as i16, &body);
    }
}

thread_local! {
    static SCHEMAS: std::rc::Rc<Vec<Message>> = std::rc::Rc::new(schemas());
}
