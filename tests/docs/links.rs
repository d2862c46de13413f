//! Links between the project's files.

use crate::markdown::{Document, documents};

pub fn every_relative_link_leads_somewhere() {
    let documents = documents();
    let mut broken = Vec::new();
    let mut count = 0;
    for document in &documents {
        for (line, target) in links(document) {
            count += 1;
            if !leads_somewhere(document, &target, &documents) {
                broken.push(format!("{}:{line}: {target}", document.name()));
            }
        }
    }
    assert!(count > 40, "only {count} links were found");
    assert!(broken.is_empty(), "these links lead nowhere:\n{}", broken.join("\n"));
}

/// The targets of relative links, with their line numbers.
fn links(document: &Document) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in &document.prose {
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let relative = targets.map(|(target, _)| target).filter(|target| !target.contains("://"));
        links.extend(relative.map(|target| (*number, target.to_owned())));
    }
    links
}

fn leads_somewhere(from: &Document, target: &str, documents: &[Document]) -> bool {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => from.path.clone(),
        file => from.path.parent().expect("a folder").join(file),
    };
    let Ok(path) = path.canonicalize() else { return false };
    anchor.is_empty()
        || documents
            .iter()
            .filter(|document| document.path.canonicalize().is_ok_and(|known| known == path))
            .any(|document| document.anchors().iter().any(|known| known == anchor))
}
