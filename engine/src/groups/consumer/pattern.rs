//! Patterns of topic names that members give to the server (KIP-848): RE2 syntax, matched against whole names.
//!
//! Kafka uses RE2/J. The `regex` crate is of the same family (linear time, no back-references); where the syntaxes part,
//! the pattern is rewritten: `\Q…\E`, and `[`, `&&`, `--`, `~~` inside classes, which RE2 takes literally. What a pattern
//! may cost is bounded, whoever sends it.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::error::ConsumerGroupError;
use crate::cluster::MetadataImage;
use crate::limits::{PATTERN_BYTES_MAX, PATTERN_PROGRAM_BYTES_MAX};

/// A pattern that can be matched.
#[derive(Debug, Clone)]
pub struct TopicPattern(Regex);

impl TopicPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is not RE2, or larger than a pattern may be.
    pub fn parse(pattern: &str) -> Result<Self, ConsumerGroupError> {
        let refused = |reason: String| ConsumerGroupError::InvalidPattern {
            pattern: pattern.to_owned(),
            reason,
        };
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(refused(format!("longer than {PATTERN_BYTES_MAX} bytes")));
        }
        let translated = translate(pattern);
        // The pattern alone first: what is put around it must not make a wrong one right (`a)(b`).
        compile(&translated)
            .and_then(|_| compile(&format!("\\A(?:{translated})\\z")))
            .map(Self)
            .map_err(|error| refused(reason(&error)))
    }

    /// Whether the pattern matches all of `topic`.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.0.is_match(topic)
    }

    /// The topics of the cluster that the pattern matches.
    #[must_use]
    pub fn topics(&self, image: &MetadataImage) -> BTreeSet<Arc<str>> {
        image
            .topics()
            .filter(|topic| self.matches(&topic.name))
            .map(|topic| topic.name.clone())
            .collect()
    }
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .size_limit(PATTERN_PROGRAM_BYTES_MAX)
        .dfa_size_limit(PATTERN_PROGRAM_BYTES_MAX)
        .build()
}

/// The last line of the parser's drawing says what is wrong.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// RE2 as the `regex` crate reads it.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(next) = rest.chars().next() {
        let taken = if let Some(quoted) = rest.strip_prefix("\\Q").filter(|_| !in_class) {
            let (literal, behind) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            out.push_str(&regex::escape(literal));
            rest = behind;
            continue;
        } else if next == '\\' {
            // The escaped character belongs to its backslash.
            let length = rest.chars().take(2).map(char::len_utf8).sum();
            out.push_str(&rest[..length]);
            length
        } else if in_class {
            class_character(rest, &mut in_class, &mut out)
        } else {
            out.push(next);
            if next == '[' {
                in_class = true;
                // `[]…` and `[^]…` begin with a literal bracket, in both syntaxes.
                let mut length = 1;
                for literal in ['^', ']'] {
                    if rest[length..].starts_with(literal) {
                        out.push(literal);
                        length += 1;
                    }
                }
                length
            } else {
                next.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    out
}

/// Copies what stands next inside a class; returns how many bytes that was.
fn class_character(rest: &str, in_class: &mut bool, out: &mut String) -> usize {
    if rest.starts_with("[:")
        && let Some(end) = rest.find(":]")
    {
        out.push_str(&rest[..end + 2]);
        return end + 2;
    }
    let next = rest.chars().next().unwrap_or_default();
    let doubled = |sign| next == sign && rest[1..].starts_with(sign);
    if next == '[' || ['&', '~'].into_iter().any(doubled) {
        out.push('\\');
    }
    out.push(next);
    if next == ']' {
        *in_class = false;
    }
    next.len_utf8()
}

#[cfg(test)]
mod tests {
    use super::TopicPattern;

    fn matches(pattern: &str, topic: &str) -> bool {
        TopicPattern::parse(pattern)
            .unwrap_or_else(|error| panic!("{pattern}: {error}"))
            .matches(topic)
    }

    #[test]
    fn a_pattern_matches_whole_names_only() {
        assert!(matches("foo.*", "foobar"));
        assert!(!matches("foo", "foobar"));
        assert!(!matches("bar", "foobar"));
        assert!(matches("a|ab", "ab"), "the longer alternative counts, too");
        assert!(matches("^foo$", "foo"));
        assert!(matches("(?i)FOO", "foo"));
        assert!(matches("", ""));
        assert!(!matches("", "foo"));
    }

    #[test]
    fn what_re2_takes_literally_is_taken_literally() {
        assert!(matches(r"\Qa.b\E.*", "a.b-1"));
        assert!(!matches(r"\Qa.b\E", "axb"));
        assert!(matches(r"[[a]", "a"));
        assert!(matches(r"[a&&b]", "b"));
        assert!(matches(r"[]a]x", "ax"));
        assert!(matches(r"[[:alpha:]_]+", "ab_c"));
        assert!(matches(r"t\.\d+", "t.42"));
        assert!(matches(r"(?P<name>t)[\]\-]", "t-"));
    }

    #[test]
    fn a_wrong_pattern_is_refused_with_a_reason() {
        for wrong in ["[", "(", "a)(b", "*", r"(a)\1", "(?=a)", "x{2000}{2000}"] {
            let error = TopicPattern::parse(wrong).expect_err(wrong).to_string();
            assert!(
                error.starts_with(&format!(
                    "SubscribedTopicRegex `{wrong}` is not a valid regular expression: "
                )),
                "{error}"
            );
        }
        assert!(TopicPattern::parse(&"a".repeat(1 << 20)).is_err());
    }
}
