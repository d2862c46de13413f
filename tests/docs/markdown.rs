//! Reads the project's Markdown files: their headings, links and code blocks.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A Markdown file.
pub struct Document {
    pub path: PathBuf,
    pub blocks: Vec<CodeBlock>,
    /// Everything that is not a code block, with its line numbers.
    pub prose: Vec<(usize, String)>,
}

/// A fenced code block.
pub struct CodeBlock {
    pub language: String,
    /// The number of its first line.
    pub line: usize,
    pub lines: Vec<String>,
}

impl CodeBlock {
    pub fn text(&self) -> String {
        self.lines.join("\n") + "\n"
    }
}

/// The folder of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown file of the project, sorted.
pub fn documents() -> Vec<Document> {
    let mut paths = Vec::new();
    collect(root(), &mut paths);
    paths.sort();
    assert!(paths.len() > 10, "{paths:?}");
    paths.iter().map(|path| Document::read(path)).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                collect(&path, paths);
            }
        } else if name.ends_with(".md") {
            paths.push(path);
        }
    }
}

impl Document {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("the file is UTF-8");
        let mut document = Self { path: path.to_owned(), blocks: Vec::new(), prose: Vec::new() };
        let mut open: Option<(CodeBlock, usize)> = None;
        for (index, line) in text.lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            match (&mut open, fence) {
                (None, Some(language)) => {
                    let language = language.trim().to_owned();
                    let block = CodeBlock { language, line: index + 2, lines: Vec::new() };
                    open = Some((block, line.len() - line.trim_start().len()));
                }
                (None, None) => document.prose.push((index + 1, line.to_owned())),
                (Some(_), Some(_)) => document.blocks.extend(open.take().map(|(block, _)| block)),
                (Some((block, indent)), None) => {
                    let line = line.get(*indent..).unwrap_or_else(|| line.trim_start());
                    block.lines.push(line.to_owned());
                }
            }
        }
        assert!(open.is_none(), "{}: a code block has no end", document.name());
        document
    }

    /// Its path inside the project, as it is written in links.
    pub fn name(&self) -> String {
        let path = self.path.strip_prefix(root()).expect("it is in the project");
        path.to_string_lossy().replace('\\', "/")
    }

    /// The anchors of its headings, as GitHub makes them.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose.iter().filter(|(_, line)| line.starts_with('#'));
        headings.map(|(_, line)| anchor(line.trim_start_matches('#').trim())).collect()
    }

    /// Code spans of its prose, with their line numbers.
    pub fn code_spans(&self) -> impl Iterator<Item = (usize, &str)> {
        self.prose.iter().flat_map(|(number, line)| {
            line.split('`').skip(1).step_by(2).map(move |span| (*number, span))
        })
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
