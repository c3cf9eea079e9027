//! Messages as bytes, made from the schemas alone.
//!
//! A second, independent encoder: it walks the JSON definitions and writes seeded values, without using any
//! generated code, so that the generated code can be judged by it.

#![allow(dead_code)] // Each test file uses its part.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use generator::schema::{self, Field, Message, Type};

/// All definitions in `net/schemas`.
pub(crate) fn schemas() -> Vec<Message> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    schema::load(&folder)
        .unwrap()
        .into_iter()
        .map(|(_, message)| message)
        .collect()
}

/// What kind of values to write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// Null, empty and zero wherever possible.
    Least,
    /// Nothing null, every array filled, every tagged field present.
    Full,
    /// Anything.
    Random,
    /// Arrays of the message itself have this many elements, all else is least: the most memory per byte.
    Wide(usize),
}

/// A seeded source of numbers (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Writes sample messages.
pub(crate) struct Sampler<'m> {
    message: &'m Message,
    version: i16,
    flexible: bool,
    shape: Shape,
    /// Write tagged fields that no version knows.
    unknown_tags: bool,
    random: Random,
}

/// `message` in `version`: deterministic in all arguments.
pub(crate) fn sample(message: &Message, version: i16, shape: Shape, seed: u64) -> Vec<u8> {
    sample_with(message, version, shape, seed, true)
}

/// As [`sample`], without tagged fields that no version knows if `unknown_tags` is false.
pub(crate) fn sample_with(
    message: &Message,
    version: i16,
    shape: Shape,
    seed: u64,
    unknown_tags: bool,
) -> Vec<u8> {
    let flexible = message.flexible.contains(version);
    let name: u64 = message.name.bytes().fold(0, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    let random = Random(seed ^ name ^ (version as u64) << 48);
    let mut sampler = Sampler {
        message,
        version,
        flexible,
        shape,
        unknown_tags,
        random,
    };
    let mut out = Vec::new();
    sampler.structure(&message.fields, &mut out, 0);
    out
}

impl Sampler<'_> {
    fn chance(&mut self) -> bool {
        match self.shape {
            Shape::Least | Shape::Wide(_) => false,
            Shape::Full => true,
            Shape::Random => self.random.below(3) > 0,
        }
    }

    fn structure(&mut self, fields: &[Field], out: &mut Vec<u8>, depth: usize) {
        let present = |field: &&Field| field.versions.contains(self.version);
        let fields: Vec<&Field> = fields.iter().filter(present).collect();
        for field in fields.iter().filter(|field| field.tag.is_none()) {
            let flexible = self.flexible && field.flexible.is_none();
            self.field(field, flexible, out, depth);
        }
        if self.flexible {
            self.tagged_fields(&fields, out, depth);
        }
    }

    fn tagged_fields(&mut self, fields: &[&Field], out: &mut Vec<u8>, depth: usize) {
        let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
        for field in fields {
            let Some(tag) = field.tag else { continue };
            let mut content = Vec::new();
            self.field(field, true, &mut content, depth + 1);
            if self.chance() && content != self.default_bytes(field) {
                tagged.push((tag, content));
            }
        }
        let known: Vec<u32> = fields.iter().filter_map(|field| field.tag).collect();
        if self.unknown_tags && self.chance() {
            let tag = (0..40)
                .map(|_| self.random.below(5) as u32)
                .find(|tag| !known.contains(tag))
                .unwrap_or(77);
            tagged.push((tag, vec![1, 2, 3]));
            tagged.push((1_000_000, vec![7; self.random.below(200) as usize]));
        }
        tagged.sort();
        varint(out, tagged.len() as u32);
        for (tag, content) in tagged {
            varint(out, tag);
            varint(out, content.len() as u32);
            out.extend(content);
        }
    }

    fn field(&mut self, field: &Field, flexible: bool, out: &mut Vec<u8>, depth: usize) {
        let nullable = field.nullable.contains(self.version);
        let present = !nullable || self.chance();
        match &field.ty {
            Type::Struct(name) => {
                match (nullable, field.tag) {
                    (true, Some(_)) => varint(out, present.into()),
                    (true, None) => out.push(if present { 1 } else { 0xff }),
                    (false, _) => {}
                }
                if present {
                    self.named(name, out, depth);
                }
            }
            Type::String | Type::Bytes | Type::Records | Type::Array(_) if !present => {
                match (flexible, &field.ty) {
                    (true, _) => out.push(0),
                    (false, Type::String) => out.extend((-1i16).to_be_bytes()),
                    (false, _) => out.extend((-1i32).to_be_bytes()),
                }
            }
            Type::Array(element) => {
                let count = match self.shape {
                    Shape::Wide(count) if depth == 0 => count,
                    Shape::Least | Shape::Wide(_) => 0,
                    Shape::Full => 2,
                    Shape::Random => self.random.below(4) as usize,
                };
                length(out, count, flexible, 4);
                for _ in 0..count {
                    match &**element {
                        Type::Struct(name) => self.named(name, out, depth + 1),
                        plain => self.value(plain, flexible, out),
                    }
                }
            }
            plain => self.value(plain, flexible, out),
        }
    }

    fn named(&mut self, name: &str, out: &mut Vec<u8>, depth: usize) {
        let message = self.message;
        self.structure(message.struct_fields(name).unwrap(), out, depth + 1);
    }

    fn value(&mut self, ty: &Type, flexible: bool, out: &mut Vec<u8>) {
        let is_set = self.chance();
        match ty {
            Type::Bool => out.push(is_set.into()),
            Type::String => {
                let texts = ["", "a", "topic-1", "größe", "x".repeat(130).leak()];
                let text = if is_set {
                    texts[self.random.below(5) as usize]
                } else {
                    ""
                };
                length(out, text.len(), flexible, 2);
                out.extend(text.bytes());
            }
            Type::Bytes | Type::Records => {
                let count = if is_set {
                    self.random.below(300) as usize
                } else {
                    0
                };
                length(out, count, flexible, 4);
                out.extend((0..count).map(|_| self.random.next() as u8));
            }
            Type::Float64 => out.extend(f64::from(self.random.next() as u32).to_be_bytes()),
            fixed => {
                let size = fixed.fixed_size().unwrap();
                out.extend((0..size).map(|_| if is_set { self.random.next() as u8 } else { 0 }));
            }
        }
    }

    /// What the field's default looks like inside a tagged field.
    fn default_bytes(&self, field: &Field) -> Vec<u8> {
        let number: i64 = match field.default.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).unwrap(),
            None => field.default.parse().unwrap_or(0),
        };
        let nullable = field.nullable.contains(self.version);
        match &field.ty {
            Type::Bool => vec![(field.default == "true").into()],
            Type::String | Type::Bytes | Type::Array(_) if field.default == "null" => vec![0],
            Type::String | Type::Bytes | Type::Array(_) => vec![1],
            Type::Struct(_) if nullable && field.default == "null" => vec![0],
            Type::Struct(name) => {
                let mut out = if nullable { vec![1] } else { Vec::new() };
                for inner in self.message.struct_fields(name).unwrap() {
                    if inner.versions.contains(self.version) && inner.tag.is_none() {
                        out.extend(self.default_bytes(inner));
                    }
                }
                out.push(0);
                out
            }
            fixed => {
                let bytes = number.to_be_bytes();
                let size = fixed.fixed_size().unwrap();
                if size <= 8 {
                    bytes[8 - size..].to_vec()
                } else {
                    vec![0; size]
                }
            }
        }
    }
}

fn length(out: &mut Vec<u8>, length: usize, flexible: bool, size: usize) {
    match (flexible, size) {
        (true, _) => varint(out, length as u32 + 1),
        (false, 2) => out.extend((length as i16).to_be_bytes()),
        (false, _) => out.extend((length as i32).to_be_bytes()),
    }
}

fn varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
