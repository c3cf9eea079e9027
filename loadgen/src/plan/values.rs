//! Rates and sizes, as people write them: `50000` or `max`; `1024`, `100..2000` or `exp:1000`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::PlanError;
use crate::identity::IDENTITY_BYTES;
use crate::random::Random;

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    /// Records per second, all connections together.
    PerSecond(f64),
    /// As fast as requests in flight allow.
    Max,
}

/// Bytes of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RecordSize {
    /// Always the same.
    Fixed(usize),
    /// Uniform between two sizes, both included.
    Uniform(usize, usize),
    /// Exponential with this mean, at least an identity's bytes and at most ten times the mean.
    Exponential(usize),
}

impl RecordSize {
    /// One value's size.
    pub(crate) fn draw(self, random: &mut Random) -> usize {
        match self {
            RecordSize::Fixed(bytes) => bytes,
            RecordSize::Uniform(least, most) => {
                least + random.below((most - least) as u64 + 1) as usize
            }
            RecordSize::Exponential(mean) => {
                ((random.exponential() * mean as f64) as usize).clamp(self.min(), self.max())
            }
        }
    }

    /// The smallest that is drawn.
    pub(crate) fn min(self) -> usize {
        match self {
            RecordSize::Fixed(bytes) | RecordSize::Uniform(bytes, _) => bytes,
            RecordSize::Exponential(_) => IDENTITY_BYTES,
        }
    }

    /// The largest that is drawn.
    pub(crate) fn max(self) -> usize {
        match self {
            RecordSize::Fixed(bytes) | RecordSize::Uniform(_, bytes) => bytes,
            RecordSize::Exponential(mean) => mean.saturating_mul(10).max(IDENTITY_BYTES),
        }
    }
}

impl FromStr for RecordSize {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let bad = || {
            PlanError(format!(
                "{text:?} is not a size: give 1024, 100..2000 or exp:1000"
            ))
        };
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| bad());
        if let Some(mean) = text.strip_prefix("exp:") {
            return Ok(RecordSize::Exponential(number(mean)?));
        }
        match text.split_once("..") {
            None => Ok(RecordSize::Fixed(number(text)?)),
            Some((least, most)) => {
                let (least, most) = (number(least)?, number(most)?);
                if least > most {
                    return Err(bad());
                }
                Ok(RecordSize::Uniform(least, most))
            }
        }
    }
}

impl fmt::Display for RecordSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordSize::Fixed(bytes) => write!(f, "{bytes}"),
            RecordSize::Uniform(least, most) => write!(f, "{least}..{most}"),
            RecordSize::Exponential(mean) => write!(f, "exp:{mean}"),
        }
    }
}

impl FromStr for Rate {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        if text == "max" {
            return Ok(Rate::Max);
        }
        text.replace('_', "")
            .parse()
            .map(Rate::PerSecond)
            .map_err(|_| {
                PlanError(format!(
                    "{text:?} is not a rate: give records per second, or max"
                ))
            })
    }
}

/// A number or a text, as people write both.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(f64),
    Text(String),
}

impl NumberOrText {
    fn parse<'de, T: FromStr<Err = PlanError>, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
        let text = match NumberOrText::deserialize(d)? {
            NumberOrText::Number(number) => number.to_string(),
            NumberOrText::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        NumberOrText::parse(d)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Rate::PerSecond(rate) => serializer.serialize_f64(*rate),
            Rate::Max => serializer.serialize_str("max"),
        }
    }
}

impl<'de> Deserialize<'de> for RecordSize {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        NumberOrText::parse(d)
    }
}

impl Serialize for RecordSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
