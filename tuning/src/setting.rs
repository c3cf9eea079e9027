//! What a setting is: one row of the settings table, and the rules that a single value must keep.
//!
//! Pure data and pure functions; runs on any core. The rows themselves stand in `table/`.

use std::fmt;

/// Type of a value, with the numbers of Kafka's DescribeConfigs (`ConfigType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    /// `true` or `false`.
    Boolean = 1,
    /// Any text.
    String = 2,
    /// A 32-bit number.
    Int = 3,
    /// A 16-bit number.
    Short = 4,
    /// A 64-bit number.
    Long = 5,
    /// A floating-point number.
    Double = 6,
    /// Texts joined by commas.
    List = 7,
    /// The name of a Java class.
    Class = 8,
    /// A secret; never shown.
    Password = 9,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Kind::Boolean => "BOOLEAN",
            Kind::String => "STRING",
            Kind::Int => "INT",
            Kind::Short => "SHORT",
            Kind::Long => "LONG",
            Kind::Double => "DOUBLE",
            Kind::List => "LIST",
            Kind::Class => "CLASS",
            Kind::Password => "PASSWORD",
        })
    }
}

/// What a setting belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The node, or all nodes.
    Broker,
    /// One topic.
    Topic,
    /// One group.
    Group,
    /// One subscription to clients' metrics.
    ClientMetrics,
}

/// Whether a broker setting can change while the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dynamic {
    /// Only at start.
    ReadOnly,
    /// For one broker at a time.
    PerBroker,
    /// For one broker or as the default of all.
    ClusterWide,
}

/// How far Tidelog honours a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It does what it says.
    Honoured,
    /// Accepted without any effect, for ever, for this reason; a warning at start says so.
    Inert {
        /// Why the value has no meaning here.
        reason: &'static str,
    },
    /// Accepted and kept, without effect until a part of Tidelog exists; a warning at start says so.
    Pending {
        /// What is missing.
        reason: &'static str,
    },
    /// Any value but the default and the allowed ones is an error.
    Refused {
        /// Why.
        why: &'static str,
        /// Values accepted beside the default.
        allowed: &'static [&'static str],
    },
}

/// The rule a value of the right type must keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Check {
    /// None.
    Any,
    /// A number not below this.
    AtLeast(i64),
    /// A number within these, ends included.
    Between(i64, i64),
    /// A number within these, or one particular other number.
    BetweenOr {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
        /// The exception.
        or: i64,
    },
    /// A floating-point number within these, ends included.
    BetweenReal(f64, f64),
    /// Any number but 0.
    NonZero,
    /// A multiple of the disk's block (4096 bytes) within these.
    Blocks(i64, i64),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list of these texts, possibly empty.
    ListOf(&'static [&'static str]),
    /// `*`, nothing, or `partition:broker` pairs.
    ThrottledReplicas,
    /// `earliest`, `latest` or `by_duration:` with a positive ISO-8601 duration.
    OffsetReset,
    /// `name=pattern` pairs that choose clients.
    ClientMatch,
}

/// Where a setting takes its value from when it has none of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synonym {
    /// Name of the broker setting.
    pub name: &'static str,
    /// What its value is multiplied with.
    pub factor: i64,
    /// Whether DescribeConfigs lists it (Kafka's list leaves some out).
    pub described: bool,
}

/// One row of the settings table.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Kafka's name, letter for letter, or our own.
    pub name: &'static str,
    /// Type of the value.
    pub kind: Kind,
    /// Default value as text; `None` is Kafka's null.
    pub default: Option<&'static str>,
    /// Rule for values.
    pub check: Check,
    /// What it belongs to.
    pub scope: Scope,
    /// Whether it can change at run time.
    pub dynamic: Dynamic,
    /// Whether its value is never shown.
    pub sensitive: bool,
    /// Where a missing value comes from, in this order.
    pub synonyms: &'static [Synonym],
    /// How far it is honoured.
    pub support: Support,
    /// What it is for, in a sentence.
    pub doc: &'static str,
    /// Whether only Tidelog has it.
    pub own: bool,
    /// Whether DescribeConfigs leaves it out.
    pub hidden: bool,
}

/// Why a value cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It is not of the setting's type.
    Type(String),
    /// It is of the type but breaks the rule.
    Range(String),
    /// Kafka would take it, Tidelog does not.
    Unsupported(String),
}

impl Problem {
    /// What to tell the user.
    pub fn message(&self) -> &str {
        match self {
            Problem::Type(text) | Problem::Range(text) | Problem::Unsupported(text) => text,
        }
    }
}

impl Setting {
    /// Checks type, rule and support of a value and returns it as Kafka would print it.
    pub fn accept(&self, raw: &str) -> Result<String, Problem> {
        let value = self.parse(raw)?;
        self.check_range(&value)?;
        self.check_support(&value)?;
        Ok(value)
    }

    /// Brings a value of the right type into the form in which Kafka prints it.
    pub fn parse(&self, raw: &str) -> Result<String, Problem> {
        let trimmed = raw.trim();
        let not_a_number = || self.invalid(raw, &format!("Not a number of type {}", self.kind));
        let value = match self.kind {
            Kind::Boolean if trimmed.eq_ignore_ascii_case("true") => "true".to_owned(),
            Kind::Boolean if trimmed.eq_ignore_ascii_case("false") => "false".to_owned(),
            Kind::Boolean => {
                let text = "Expected value to be either true or false";
                return Err(Problem::Type(self.invalid(raw, text)));
            }
            Kind::Int => trimmed
                .parse::<i32>()
                .map_err(|_| Problem::Type(not_a_number()))?
                .to_string(),
            Kind::Short => trimmed
                .parse::<i16>()
                .map_err(|_| Problem::Type(not_a_number()))?
                .to_string(),
            Kind::Long => trimmed
                .parse::<i64>()
                .map_err(|_| Problem::Type(not_a_number()))?
                .to_string(),
            Kind::Double => {
                let number = trimmed
                    .parse::<f64>()
                    .ok()
                    .filter(|number| number.is_finite());
                print_double(number.ok_or_else(|| Problem::Type(not_a_number()))?)
            }
            Kind::List => split_list(trimmed).join(","),
            Kind::String | Kind::Class => trimmed.to_owned(),
            Kind::Password => raw.to_owned(),
        };
        Ok(value)
    }

    fn check_range(&self, value: &str) -> Result<(), Problem> {
        let number = || {
            value
                .parse::<i64>()
                .expect("a value checked by a whole number's rule is of such a type")
        };
        let complaint = match self.check {
            Check::Any => None,
            Check::AtLeast(min) if number() < min => Some(format!("Value must be at least {min}")),
            Check::Between(min, max)
            | Check::BetweenOr { min, max, .. }
            | Check::Blocks(min, max)
                if number() < min && !self.is_exception(number()) =>
            {
                Some(format!("Value must be at least {min} and at most {max}"))
            }
            Check::Between(_, max) | Check::BetweenOr { max, .. } | Check::Blocks(_, max)
                if number() > max =>
            {
                Some(format!("Value must be no more than {max}"))
            }
            Check::Blocks(..) if number() % 4096 != 0 => {
                Some("Value must be a multiple of 4096".to_owned())
            }
            Check::BetweenReal(min, max) => {
                let real = value
                    .parse::<f64>()
                    .expect("a value checked by a real number's rule is of such a type");
                (!(min..=max).contains(&real))
                    .then(|| format!("Value must be between {min} and {max}"))
            }
            Check::NonZero if number() == 0 => Some("Value must not be 0".to_owned()),
            Check::OneOf(words) if !words.contains(&value) => {
                Some(format!("String must be one of: {}", words.join(", ")))
            }
            Check::ListOf(words) if split_list(value).iter().any(|word| !words.contains(word)) => {
                Some(format!("String must be one of: {}", words.join(", ")))
            }
            Check::ThrottledReplicas if !is_throttled_replicas(value) => Some(
                "Must be the literal '*' or a list of replicas in the following format: \
                 [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                    .to_owned(),
            ),
            Check::OffsetReset if !is_offset_reset(value) => Some(
                "Must be earliest, latest or by_duration:PnDTnHnMn.nS with a positive duration"
                    .to_owned(),
            ),
            // The pattern is the one thing about client metrics that Kafka answers like a bad type.
            Check::ClientMatch if !is_client_match(value) => {
                return Err(Problem::Type(format!(
                    "Illegal client matching pattern: {value}"
                )));
            }
            _ => None,
        };
        complaint.map_or(Ok(()), |text| {
            let whole = self
                .bound_of_group(value)
                .or_else(|| self.bound_of_interval(value));
            Err(Problem::Range(
                whole.unwrap_or_else(|| self.invalid(value, &text)),
            ))
        })
    }

    /// A group's settings are bounded by broker settings, which Kafka names.
    fn bound_of_group(&self, value: &str) -> Option<String> {
        let (Scope::Group, Check::Between(min, _)) = (self.scope, self.check) else {
            return None;
        };
        let (kind, rest) = self.name.split_once('.')?;
        let (relation, bound) = if value.parse::<i64>().ok()? < min {
            ("greater", "min")
        } else {
            ("less", "max")
        };
        let name = self.name;
        Some(format!(
            "{name} must be {relation} than or equal to group.{kind}.{bound}.{rest}"
        ))
    }

    fn bound_of_interval(&self, value: &str) -> Option<String> {
        let (Scope::ClientMetrics, Check::Between(min, max)) = (self.scope, self.check) else {
            return None;
        };
        let name = self.name;
        Some(format!(
            "Invalid value {value} for {name}, interval must be between {min} and {max} (1 hour)"
        ))
    }

    fn is_exception(&self, number: i64) -> bool {
        matches!(self.check, Check::BetweenOr { or, .. } if or == number)
    }

    fn check_support(&self, value: &str) -> Result<(), Problem> {
        let Support::Refused { why, allowed } = self.support else {
            return Ok(());
        };
        let default = self.default_value();
        if default.as_deref() == Some(value) || allowed.contains(&value) {
            return Ok(());
        }
        let shown = if self.sensitive { "..." } else { value };
        let mut words: Vec<&str> = allowed.to_vec();
        words.extend(default.as_deref());
        let cure = if words.is_empty() {
            "remove it".to_owned()
        } else {
            format!("remove it or set it to {}", words.join(" or "))
        };
        Err(Problem::Unsupported(format!(
            "{} = {shown} is not supported by Tidelog yet: {why}; {cure}",
            self.name
        )))
    }

    /// The default as Kafka prints it.
    pub fn default_value(&self) -> Option<String> {
        let raw = self.default?;
        Some(self.parse(raw).expect("a default is of its setting's type"))
    }

    /// Whether a value of this setting does less than it says; the text is the warning.
    pub fn shortfall(&self, value: &str) -> Option<String> {
        if self.default_value().as_deref() == Some(value) {
            return None;
        }
        let shown = if self.sensitive { "..." } else { value };
        match self.support {
            Support::Inert { reason } => {
                Some(format!("{} = {shown} has no effect: {reason}", self.name))
            }
            Support::Pending { reason } => Some(format!(
                "{} = {shown} has no effect yet: {reason}",
                self.name
            )),
            Support::Honoured | Support::Refused { .. } => None,
        }
    }

    fn invalid(&self, raw: &str, text: &str) -> String {
        let shown = if self.sensitive { "..." } else { raw };
        format!(
            "Invalid value {shown} for configuration {}: {text}",
            self.name
        )
    }
}

/// The parts of a list as Kafka splits it; an empty text is an empty list.
pub fn split_list(text: &str) -> Vec<&str> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        Vec::new()
    } else {
        trimmed.split(',').map(str::trim).collect()
    }
}

/// A floating-point number as Java prints it.
fn print_double(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}

fn is_throttled_replicas(value: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    value == "*"
        || split_list(value).iter().all(|pair| {
            pair.split_once(':')
                .is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
        })
}

fn is_offset_reset(value: &str) -> bool {
    if value == "earliest" || value == "latest" {
        return true;
    }
    value
        .strip_prefix("by_duration:")
        .is_some_and(is_positive_duration)
}

/// Whether a text is an ISO-8601 duration of days and shorter units without any sign, and has at least one part.
fn is_positive_duration(text: &str) -> bool {
    let Some(body) = text.strip_prefix('P') else {
        return false;
    };
    let (days, time) = match body.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return false,
        None => (body, ""),
    };
    !body.is_empty() && has_units(days, "D") && has_units(time, "HMS")
}

/// Whether a text is a sequence of whole numbers, each followed by one of these units in this order.
fn has_units(text: &str, units: &str) -> bool {
    let mut rest = text;
    let mut units = units.chars();
    while !rest.is_empty() {
        let digits = rest.len()
            - rest
                .trim_start_matches(|letter: char| letter.is_ascii_digit())
                .len();
        let Some(unit) = rest[digits..].chars().next() else {
            return false;
        };
        if digits == 0 || !units.any(|known| known == unit) {
            return false;
        }
        rest = &rest[digits + 1..];
    }
    true
}

fn is_client_match(value: &str) -> bool {
    const NAMES: [&str; 6] = [
        "client_instance_id",
        "client_id",
        "client_software_name",
        "client_software_version",
        "client_source_address",
        "client_source_port",
    ];
    split_list(value).iter().all(|pair| {
        pair.split_once('=').is_some_and(|(name, pattern)| {
            NAMES.contains(&name.trim()) && !pattern.trim().is_empty()
        })
    })
}
