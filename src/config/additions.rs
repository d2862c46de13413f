//! Adds to lists and sections of a YAML text. Everything else stays as it is written:
//! comments, order, quotes, line ends.
//!
//! Written by hand, because crates that edit YAML have a parser of their own: a file could
//! mean one thing to that parser and another to this program's.

use std::{cmp::Reverse, collections::HashSet, ops::Range, sync::Arc};

use super::{
    reader::Step,
    yaml::{self, Place, Value},
};

/// What is added in one place.
#[derive(Clone, Debug)]
pub struct Addition {
    /// The list or the section, which may be missing or empty.
    pub path: Vec<Step>,
    /// Its new items or entries.
    pub items: Vec<Item>,
}

/// An item of a list, or an entry of a section.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its lines in a block, not indented: `- a: 1`, or `key: value`.
    pub lines: Vec<String>,
    /// The same for a list or section in brackets: `{a: 1}`, or `key: value`.
    pub inline: String,
}

/// The text with all additions; none where they cannot be added without changing
/// something else.
pub fn add(text: &str, additions: &[Addition]) -> Option<String> {
    let document = yaml::read(text).ok()?;
    let editor = Editor { text, line_end: if text.contains("\r\n") { "\r\n" } else { "\n" } };
    let mut edits = Vec::new();
    for addition in additions {
        edits.extend(editor.edits(&document, addition)?);
    }
    let edited = editor.apply(edits);
    // Parse the result: nothing but the additions may have changed.
    let after = yaml::read(&edited).ok()?;
    extends(&after.value, &document.value, &mut HashSet::new()).then_some(edited)
}

struct Editor<'t> {
    text: &'t str,
    line_end: &'static str,
}

struct Edit {
    range: Range<usize>,
    /// How deep in the document it is: where two lists end at one place, the inner one
    /// comes first.
    depth: usize,
    text: String,
}

impl Editor<'_> {
    fn edits(&self, document: &Place, addition: &Addition) -> Option<Vec<Edit>> {
        let path = &*addition.path;
        let mut parent = document;
        // Comments that are indented further than this are within the parent.
        let mut outer = None;
        for (depth, step) in path.iter().enumerate() {
            let Some(child) = parent.value.child(step) else {
                let items = nested(&path[depth..], &addition.items)?;
                return Some(vec![self.append(parent, outer, depth, &items)?]);
            };
            if child.value.is_empty() && !parent.is_inline {
                let items = nested(&path[depth + 1..], &addition.items)?;
                return Some(self.fill(parent, child, depth + 1, &items));
            }
            outer = Some(self.column(parent));
            parent = child;
        }
        Some(vec![self.append(parent, outer, path.len(), &addition.items)?])
    }

    /// Adds after the last item of a list, or the last entry of a section.
    fn append(
        &self,
        place: &Place,
        outer: Option<usize>,
        depth: usize,
        items: &[Item],
    ) -> Option<Edit> {
        if !place.is_inline {
            let at = self.end_of_block(place.span.end, outer);
            return Some(self.insert(at, self.column(place), depth, items));
        }
        let at = place.span.end.checked_sub(1)?;
        let inline: Vec<&str> = items.iter().map(|item| &*item.inline).collect();
        let comma = match place.value.last() {
            Some(last) if !has_comma(self.text.get(last.span.end.min(at)..at)?) => ", ",
            _ => "",
        };
        Some(Edit { range: at..at, depth, text: format!("{comma}{}", inline.join(", ")) })
    }

    /// Gives a key its first items: below it, in place of `null`, `[]` or `{}`.
    fn fill(&self, section: &Place, empty: &Place, depth: usize, items: &[Item]) -> Vec<Edit> {
        let column = self.column(section);
        let lines = self.text.split_inclusive('\n').take(empty.line);
        let at = self.after_comments(lines.map(str::len).sum(), Some(column));
        let nothing = Edit { range: empty.span.clone(), depth, text: String::new() };
        vec![nothing, self.insert(at, column + 2, depth, items)]
    }

    fn insert(&self, at: usize, column: usize, depth: usize, items: &[Item]) -> Edit {
        let mut text = String::new();
        if !self.text[..at].is_empty() && !self.text[..at].ends_with('\n') {
            text.push_str(self.line_end);
        }
        for line in items.iter().flat_map(|item| &item.lines) {
            text.push_str(&format!("{:column$}{line}{}", "", self.line_end));
        }
        Edit { range: at..at, depth, text }
    }

    /// Where the line after a block begins; `end` is the end of the block's last value.
    /// Comments that belong to the block are skipped.
    fn end_of_block(&self, end: usize, outer: Option<usize>) -> usize {
        // A text of several lines ends where the next value begins.
        let end = self.text[..end].trim_end().len();
        let rest = &self.text[end..];
        let line = rest.find('\n').map_or(rest.len(), |at| at + 1);
        self.after_comments(end + line, outer)
    }

    /// Skips lines of comments that are indented further than a column.
    fn after_comments(&self, mut at: usize, outer: Option<usize>) -> usize {
        for line in self.text[at..].split_inclusive('\n') {
            let words = line.trim_start_matches(' ');
            let indent = line.len() - words.len();
            if !words.starts_with('#') || outer.is_some_and(|outer| indent <= outer) {
                break;
            }
            at += line.len();
        }
        at
    }

    /// How far the items of a block are indented. For the parser, a list may begin after
    /// its first dash.
    fn column(&self, place: &Place) -> usize {
        let start = place.span.start;
        let line = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let blanks = self.text[line..].len() - self.text[line..].trim_start_matches(' ').len();
        let is_list = matches!(*place.value, Value::List(_));
        if is_list && self.text[line + blanks..].starts_with('-') { blanks } else { start - line }
    }

    fn apply(&self, mut edits: Vec<Edit>) -> String {
        edits.sort_by_key(|edit| (edit.range.start, Reverse(edit.depth)));
        // What is below an alias is added once.
        edits.dedup_by(|a, b| a.range == b.range && a.text == b.text);
        let (mut edited, mut at) = (String::new(), 0);
        for edit in edits {
            edited.push_str(&self.text[at.min(edit.range.start)..edit.range.start]);
            edited.push_str(&edit.text);
            at = edit.range.end;
        }
        edited.push_str(&self.text[at..]);
        edited
    }
}

/// Returns whether a text has a comma outside its comments.
fn has_comma(text: &str) -> bool {
    text.lines().any(|line| line.split('#').next().is_some_and(|words| words.contains(',')))
}

/// Items below the missing keys that lead to them.
fn nested(keys: &[Step], items: &[Item]) -> Option<Vec<Item>> {
    let mut items = items.to_vec();
    for step in keys.iter().rev() {
        let Step::Key(key) = step else { return None };
        let mut lines = vec![format!("{key}:")];
        let below = items.iter().flat_map(|item| &item.lines);
        lines.extend(below.map(|line| format!("  {line}")));
        let is_list = lines.iter().any(|line| line.starts_with("  - "));
        let (open, close) = if is_list { ('[', ']') } else { ('{', '}') };
        let inline: Vec<&str> = items.iter().map(|item| &*item.inline).collect();
        let inline = format!("{key}: {open}{}{close}", inline.join(", "));
        items = vec![Item { lines, inline }];
    }
    Some(items)
}

/// Returns whether a value has everything that an old one has, in the same order.
fn extends(
    value: &Arc<Value>,
    old: &Arc<Value>,
    seen: &mut HashSet<(*const Value, *const Value)>,
) -> bool {
    // With aliases, the same pair can come many times.
    if !seen.insert((Arc::as_ptr(value), Arc::as_ptr(old))) {
        return true;
    }
    match (&**value, &**old) {
        (_, old) if old.is_empty() => true,
        (Value::Scalar { text, plain }, Value::Scalar { text: old, plain: was_plain }) => {
            (text, plain) == (old, was_plain)
        }
        (Value::List(items), Value::List(old)) => {
            items.len() >= old.len()
                && items.iter().zip(old).all(|(item, old)| extends(&item.value, &old.value, seen))
        }
        (Value::Section(_), Value::Section(old)) => old.iter().all(|(key, old)| {
            value.get(key).is_some_and(|place| extends(&place.value, &old.value, seen))
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::{collection::vec, prelude::prop_assert, proptest, sample::select};

    use super::{Addition, Item, Step, add, extends, yaml};

    fn key(name: &str) -> Step {
        Step::Key(name.to_owned())
    }

    fn item(name: &str) -> Item {
        Item {
            lines: vec!["# new".to_owned(), format!("- name: {name}")],
            inline: format!("{{name: {name}}}"),
        }
    }

    /// With `new` in `a.servers`, and `/new` in the list of its first server.
    fn added(text: &str) -> Option<String> {
        let servers = vec![key("a"), key("servers")];
        let of_first = [servers.clone(), vec![Step::Item(0), key("list")]].concat();
        add(
            text,
            &[
                Addition { path: servers, items: vec![item("new")] },
                Addition { path: of_first, items: vec![item("/new")] },
            ],
        )
    }

    fn server_added(text: &str) -> Option<String> {
        add(text, &[Addition { path: vec![key("a"), key("servers")], items: vec![item("new")] }])
    }

    #[test]
    fn comments_and_all_else_stay() {
        assert_eq!(
            added(
                "# head\na:\n  servers:\n    - list:\n        - name: / # first\n        # - name: /old\n    # - list: []\n  # about b\n  b: \"x\"   # end\n"
            )
            .as_deref(),
            Some(
                "# head\na:\n  servers:\n    - list:\n        - name: / # first\n        # - name: /old\n        # new\n        - name: /new\n    # - list: []\n    # new\n    - name: new\n  # about b\n  b: \"x\"   # end\n"
            )
        );
        assert_eq!(
            added("a:\r\n  servers:\r\n  - list:\r\n    - name: /\r\n  # about b\r\n  b: x")
                .as_deref(),
            Some(
                "a:\r\n  servers:\r\n  - list:\r\n    - name: /\r\n    # new\r\n    - name: /new\r\n  # new\r\n  - name: new\r\n  # about b\r\n  b: x"
            )
        );
    }

    #[test]
    fn lists_on_one_line_stay_on_one() {
        assert_eq!(
            added("a: {servers: [{list: [{name: /}]}, ]} # end").as_deref(),
            Some("a: {servers: [{list: [{name: /}, {name: /new}]}, {name: new}]} # end")
        );
        assert_eq!(
            added("a:\n  servers:\n    - {list: [ # all\n        {name: /}, # first\n      ]}")
                .as_deref(),
            Some(
                "a:\n  servers:\n    - {list: [ # all\n        {name: /}, # first\n      {name: /new}]}\n    # new\n    - name: new\n"
            ),
        );
    }

    #[test]
    fn a_text_of_several_lines_stays_whole() {
        assert_eq!(
            server_added("a:\n  servers:\n    - text: |\n        b\n\n        c\n\n  d: 1\n")
                .as_deref(),
            Some(
                "a:\n  servers:\n    - text: |\n        b\n\n        c\n    # new\n    - name: new\n\n  d: 1\n"
            )
        );
        let kept = "a:\n  servers:\n    - text: |+\n        b\n\n  d: 1\n";
        assert_eq!(server_added(kept), None, "its empty line is part of it");
    }

    #[test]
    fn a_list_that_is_missing_or_empty_begins() {
        let filled = "a:\n  servers:\n    # new\n    - name: new\n";
        assert_eq!(
            server_added("a:\n").as_deref(),
            Some("a:\n  servers:\n    # new\n    - name: new\n")
        );
        assert_eq!(server_added("a:\n  servers:").as_deref(), Some(filled));
        assert_eq!(
            server_added("a:\n  servers: null # none\n  b: 1\n").as_deref(),
            Some("a:\n  servers:  # none\n    # new\n    - name: new\n  b: 1\n")
        );
        assert_eq!(
            server_added("a:\n  servers: []\n    # - name: x\n").as_deref(),
            Some("a:\n  servers: \n    # - name: x\n    # new\n    - name: new\n")
        );
        assert_eq!(
            server_added("a:\n  b: 1\nc: 2\n").as_deref(),
            Some("a:\n  b: 1\n  servers:\n    # new\n    - name: new\nc: 2\n")
        );
        assert_eq!(
            server_added("a: {b: 1}\n").as_deref(),
            Some("a: {b: 1, servers: [{name: new}]}\n")
        );
        assert_eq!(
            server_added("").as_deref(),
            Some("a:\n  servers:\n    # new\n    - name: new\n")
        );
    }

    #[test]
    fn what_stands_under_an_alias_is_added_once() {
        let text = "a:\n  servers: &all\n    - name: x\nb: *all\n";
        let paths = [vec![key("a"), key("servers")], vec![key("b")]];
        let additions = paths.map(|path| Addition { path, items: vec![item("new")] });
        let edited = add(text, &additions);
        assert_eq!(
            edited.as_deref(),
            Some("a:\n  servers: &all\n    - name: x\n    # new\n    - name: new\nb: *all\n")
        );
    }

    #[test]
    fn nothing_is_added_where_something_else_would_change() {
        for text in [
            "a: {servers: }\n",
            "a: text\n",
            "a:\n  servers: text\n",
            "a: *nowhere\n",
            "a:\r  servers:\r    - name: x\r",
        ] {
            assert_eq!(server_added(text), None, "{text}");
        }
        assert_eq!(
            server_added("a:\n  servers:\n  - [x]\n  - ü\n").as_deref(),
            Some("a:\n  servers:\n  - [x]\n  - ü\n  # new\n  - name: new\n"),
            "a block whose first item is in brackets"
        );
    }

    /// Pieces of a file; few of the texts made of them are YAML.
    const PIECES: &[&str] = &[
        "\n", "\n  ", "\n    ", "- ", "a: ", "list:", "[", "]", "{", "}", ", ", "# x", "&b ", "*b",
        "ü", "|", "'", "\r\n", "null", "~", "<<: ", "!!str ", "? ",
    ];

    proptest! {
        #[test]
        fn what_is_there_stays_or_nothing_is_added(
            pieces in vec(select(PIECES), 0..24),
            start in select(&["a: ", "a:\n  servers:", "a:\n  servers:\n  - list:\n", ""][..]),
        ) {
            let text = format!("{start}{}", pieces.concat());
            if let Some(after) = added(&text) {
                let before = yaml::read(&text).expect("it was read");
                let after = yaml::read(&after).expect("it is YAML");
                prop_assert!(extends(&after.value, &before.value, &mut HashSet::new()));
            }
        }
    }
}
