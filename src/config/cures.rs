//! From a mistake in YAML to its cure. The parser says where it stopped and which rule
//! was broken; an administrator needs to know what to type instead.

/// A cause that can be seen in the line, and what to do.
struct Cause {
    is_it: fn(&Line<'_>) -> bool,
    cure: &'static str,
}

/// A line of the file, and the value after its key or dash.
struct Line<'t> {
    text: &'t str,
    value: &'t str,
    /// What the parser says.
    said: &'t str,
}

impl<'t> Line<'t> {
    fn new(text: &'t str, said: &'t str) -> Self {
        let inner = text.trim();
        let inner = inner.strip_prefix("- ").unwrap_or(inner).trim_start();
        let value = inner.split_once(": ").map_or(inner, |(_, value)| value.trim());
        Self { text, value, said }
    }

    fn begins_with(&self, characters: &[char]) -> bool {
        self.value.starts_with(characters)
    }

    fn indentation(&self) -> &'t str {
        let rest = self.text.trim_start_matches([' ', '\t', '\u{a0}']);
        &self.text[..self.text.len() - rest.len()]
    }
}

const QUOTE_IT: &str = "put the value in single quotes: 'value'";

/// The first one that fits is reported.
static CAUSES: &[Cause] = &[
    Cause {
        is_it: |line| {
            ["<<<<<<<", ">>>>>>>", "======="].iter().any(|mark| line.text.starts_with(mark))
        },
        cure: "this is the mark of a merge conflict; keep one of the two versions and remove the marks",
    },
    Cause {
        is_it: |line| line.indentation().contains('\t'),
        cure: "the indentation contains a tab; use spaces only",
    },
    Cause {
        is_it: |line| line.text.contains('\u{a0}'),
        cure: "this line contains a non-breaking space, which looks like a space; type a space instead",
    },
    Cause {
        is_it: |line| line.said.contains("escape") || line.said.contains("hexadecimal"),
        cure: "in double quotes a backslash begins an escape; use single quotes ('C:\\tools') or slashes (C:/tools)",
    },
    Cause {
        is_it: |line| line.begins_with(&['“', '”', '„', '‘', '’', '«']),
        cure: "these are typographic quotes; use plain ones: ' or \"",
    },
    Cause {
        is_it: |line| line.begins_with(&['%', '@', '`', '*', '!', '&', '|', '>', ',', ']', '}']),
        cure: QUOTE_IT,
    },
    Cause {
        is_it: |line| line.begins_with(&['[', '{']),
        cure: "a value that begins with [ is a list and one with { a section, up to the bracket that closes it; put any other value in single quotes",
    },
    Cause {
        is_it: |line| line.begins_with(&['"', '\'']),
        cure: "a quote that opens has to close, at the end of the value; in single quotes ' is written ''",
    },
    Cause {
        is_it: |line| line.value.contains(": ") || line.value.ends_with(':'),
        cure: "a value with a colon and a space in it needs single quotes: 'a: b'; or the line has a wrong indentation",
    },
    Cause {
        is_it: |line| !line.text.contains(": ") && !line.text.trim_end().ends_with(':'),
        cure: "a key is followed by a colon and a space: `key: value`",
    },
    Cause {
        is_it: |line| !line.indentation().is_empty(),
        cure: "the keys of one section begin in the same column; is the indentation of this line right?",
    },
];

/// Returns whether a line is the mark of a merge conflict. Then that is the mistake,
/// wherever the parser stops.
fn is_conflict(line: &str) -> bool {
    line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ")
}

/// The line where the mistake is, and what to do about it.
pub fn cure(text: &str, line: usize, said: &str) -> (usize, Option<&'static str>) {
    let line_at = |number: usize| text.lines().nth(number.saturating_sub(1)).unwrap_or_default();
    let line = match text.lines().position(is_conflict) {
        Some(before) => before + 1,
        // The parser noticed the mistake only in the line after it.
        None if line > 1 && misleads(line_at(line - 1)) => line - 1,
        None => line,
    };
    let seen = Line::new(line_at(line), said);
    (line, CAUSES.iter().find(|cause| (cause.is_it)(&seen)).map(|cause| cause.cure))
}

/// Returns whether the mistake is in this line although the parser stops at the next one.
fn misleads(line: &str) -> bool {
    let line = line.split(" #").next().unwrap_or_default();
    let value = Line::new(line, "").value;
    let count = |c: char| value.matches(c).count();
    line.contains('\u{a0}')
        || (value.starts_with('[') && count('[') > count(']'))
        || (value.starts_with('{') && count('{') > count('}'))
}
