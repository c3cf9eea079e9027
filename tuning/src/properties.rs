//! Reads Java's properties format, the form of Kafka's `server.properties`.

/// The names and values in the order of the text; a name may come more than once (the last one counts).
pub(crate) fn parse(text: &str) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let start = line.trim_start_matches(BLANKS);
        if start.is_empty() || start.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = start.to_owned();
        while ends_in_continuation(&logical) {
            logical.pop();
            let Some(next) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANKS));
        }
        entries.push(split(&logical));
    }
    entries
}

const BLANKS: [char; 3] = [' ', '\t', '\x0c'];

/// Whether a line ends in an odd number of backslashes.
fn ends_in_continuation(line: &str) -> bool {
    (line.len() - line.trim_end_matches('\\').len()) % 2 == 1
}

/// Splits at the first `=`, `:` or blank that is not escaped.
fn split(line: &str) -> (String, String) {
    let mut is_escaped = false;
    let end = line.find(|letter| {
        let is_separator =
            !is_escaped && (letter == '=' || letter == ':' || BLANKS.contains(&letter));
        is_escaped = !is_escaped && letter == '\\';
        is_separator
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(BLANKS);
    let value = rest
        .strip_prefix(['=', ':'])
        .unwrap_or(rest)
        .trim_start_matches(BLANKS);
    (unescape(key), unescape(value))
}

/// Resolves backslash escapes; `\u` escapes are UTF-16 units, as in Java.
fn unescape(text: &str) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        let letter = match letter {
            '\\' => match rest.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some('u') => {
                    let digits: String = rest.clone().take(4).collect();
                    if let (4, Ok(unit)) = (digits.len(), u16::from_str_radix(&digits, 16)) {
                        units.push(unit);
                        rest.nth(3);
                        continue;
                    }
                    'u'
                }
                Some(other) => other,
                None => break,
            },
            other => other,
        };
        units.extend_from_slice(letter.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_comments_continuations_and_escapes_are_javas() {
        let text = "# comment\n! comment too\n\n  a=1\nb : 2\nc 3\nd=\n e\\=f = g=h\n\
                    list=x,\\\n   y,\\\n   z\npath=C:\\\\dir\nu=\\u00e4\\u20ac \\ud83d\\ude00\nbad=\\uzz\n\
                    even=back\\\\\nnext=1\nlast=open\\";
        let expected = [
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("d", ""),
            ("e=f", "g=h"),
            ("list", "x,y,z"),
            ("path", "C:\\dir"),
            ("u", "ä€ \u{1f600}"),
            ("bad", "uzz"),
            ("even", "back\\"),
            ("next", "1"),
            ("last", "open"),
        ];
        let parsed = parse(text);
        let parsed: Vec<(&str, &str)> = parsed
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(parsed, expected);
    }

    #[test]
    fn a_comment_sign_inside_a_continued_value_is_part_of_it() {
        assert_eq!(
            parse("a=1,\\\n#2\r\nb=2"),
            [
                ("a".to_owned(), "1,#2".to_owned()),
                ("b".to_owned(), "2".to_owned())
            ]
        );
    }
}
