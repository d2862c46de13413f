//! What ARCHITECTURE.md says about modules and dependencies, and what the page on
//! troubleshooting says about failures.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use qlik_sessions::site::Fault;

use crate::markdown::root;

/// Each crate in Cargo.toml is in the table of dependencies, and no other is.
pub fn every_dependency_is_explained() {
    let explained: BTreeSet<String> =
        rows("## Dependencies").iter().flat_map(|row| code_spans(&row[0])).collect();
    let used = dependencies();
    let unexplained: Vec<&String> = used.difference(&explained).collect();
    let gone: Vec<&String> = explained.difference(&used).collect();
    assert!(unexplained.is_empty(), "say in ARCHITECTURE.md what these are for: {unexplained:?}");
    assert!(gone.is_empty(), "ARCHITECTURE.md names what is gone: {gone:?}");
}

fn dependencies() -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml is there");
    let mut names = BTreeSet::new();
    let mut in_section = false;
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            in_section = section.trim_end_matches(']').ends_with("dependencies");
        } else if let Some((name, value)) = line.split_once(" = ").filter(|_| in_section) {
            let renamed =
                value.split_once("package = \"").and_then(|(_, rest)| rest.split_once('"'));
            names.insert(renamed.map_or(name, |(package, _)| package).to_owned());
        }
    }
    names
}

/// The table of modules says which others each uses: those and no others, and
/// only those above it.
pub fn modules_use_what_they_may() {
    let mut uses = used_modules();
    let mut above = BTreeSet::new();
    for row in rows("## Modules, and what may depend on what") {
        let allowed: BTreeSet<String> = match row[2].as_str() {
            "all above" => above.clone(),
            listed => code_spans(listed).collect(),
        };
        for module in code_spans(&row[0]) {
            let from_below = allowed.difference(&above).next();
            assert!(from_below.is_none(), "{module} uses {from_below:?}, which is below it");
            let used = uses.remove(&module).unwrap_or_else(|| panic!("there is no {module}"));
            assert!(used.is_subset(&allowed), "{module} uses {used:?}, and may use {allowed:?}");
            above.insert(module);
        }
    }
    assert!(uses.is_empty(), "modules that are not in the table: {:?}", uses.keys());
}

/// The modules of the library, and which others the code of each names (tests not
/// counted).
fn used_modules() -> BTreeMap<String, BTreeSet<String>> {
    let library = fs::read_to_string(root().join("src/lib.rs")).expect("the library is there");
    let modules: BTreeSet<String> = library
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    let with_uses = modules.iter().map(|module| {
        let mut code = String::new();
        let path = root().join("src").join(module);
        read_code(&path.with_extension("rs"), &mut code);
        read_code(&path, &mut code);
        let mut used: BTreeSet<String> = named_modules(&code).collect();
        used.retain(|name| name != module && modules.contains(name));
        (module.clone(), used)
    });
    with_uses.collect()
}

fn read_code(path: &Path, code: &mut String) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("the folder can be read") {
            read_code(&entry.expect("an entry").path(), code);
        }
    } else if let Ok(text) = fs::read_to_string(path) {
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        code.extend(shipped.lines().filter(|line| !line.trim_start().starts_with("//")));
    }
}

/// `crate::a::B` and `crate::{a::B, c::{D, E}}` name `a`, and `a` and `c`.
fn named_modules(code: &str) -> impl Iterator<Item = String> {
    code.split("crate::").skip(1).flat_map(|rest| match rest.strip_prefix('{') {
        None => vec![identifier(rest)],
        Some(list) => top_level_items(list),
    })
}

fn top_level_items(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut items = vec![String::new()];
    for c in list.chars() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(String::new()),
            c if depth == 0 => items.last_mut().expect("one at least").push(c),
            _ => {}
        }
    }
    items.iter().map(|item| identifier(item.trim_start())).collect()
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The page on troubleshooting has every category of failure, and every fault of the
/// simulated site that makes a target fail.
pub fn every_failure_is_explained() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).expect("it is there");
    let schema = fs::read_to_string(root().join("src/schema/events.json")).expect("it is there");
    let categories = schema.split_once("\"category\":").expect("the key is there").1;
    let categories = categories.split_once(']').expect("a list").0;
    let categories = categories.split('"').skip(3).step_by(2);
    // A long list is no failure.
    let faults = Fault::names().into_iter().filter(|name| *name != "huge-list");
    for name in categories.chain(faults) {
        assert!(page.contains(&format!("`{name}`")), "docs/troubleshooting.md has no `{name}`");
    }
}

/// The cells of the table below a heading of ARCHITECTURE.md.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there");
    let section = text.split_once(&format!("{heading}\n")).expect("the heading is there").1;
    let section = section.split("\n## ").next().unwrap_or_default();
    let table = section.lines().filter(|line| line.starts_with('|')).skip(2);
    table
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

fn code_spans(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}
