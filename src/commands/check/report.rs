//! The findings: printed as they come, for people, or as one object at the end.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::{cli::CheckOutput, proxy::Failure, target::VirtualProxy};

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Config,
    Certificates,
    Dns,
    Tcp,
    Tls,
    Http,
    Repository,
    Site,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    Warning,
    Error,
}

/// One thing that was checked: it is right, or not.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What it is about: the heading it stands under.
    about: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    virtual_proxy: Option<String>,
    step: Step,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'static str>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Finding {
    fn new(step: Step, status: Status, message: String) -> Self {
        Self {
            about: String::new(),
            virtual_proxy: None,
            step,
            status,
            category: None,
            message,
            hint: None,
        }
    }

    pub fn ok(step: Step, message: impl Into<String>) -> Self {
        Self::new(step, Status::Ok, message.into())
    }

    pub fn warning(step: Step, message: impl Into<String>) -> Self {
        Self::new(step, Status::Warning, message.into())
    }

    pub fn error(step: Step, message: impl Into<String>) -> Self {
        Self::new(step, Status::Error, message.into())
    }

    pub fn failure(step: Step, failure: Failure) -> Self {
        Self {
            category: Some(failure.category.as_str()),
            hint: failure.hint,
            ..Self::new(step, Status::Error, failure.message)
        }
    }

    /// The same as a warning: everything works in spite of it.
    pub fn into_warning(self) -> Self {
        Self { status: Status::Warning, ..self }
    }

    pub fn is_error(&self) -> bool {
        self.status == Status::Error
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn virtual_proxy(mut self, virtual_proxy: &VirtualProxy) -> Self {
        self.virtual_proxy = Some(virtual_proxy.to_string());
        self
    }
}

/// All findings.
pub struct Report {
    output: CheckOutput,
    heading: String,
    findings: Vec<Finding>,
}

impl Report {
    pub fn new(output: CheckOutput) -> Self {
        Self { output, heading: String::new(), findings: Vec::new() }
    }

    /// Begins a section: what the next findings are about.
    pub fn heading(&mut self, heading: &str) -> io::Result<()> {
        self.heading = heading.to_owned();
        if self.output == CheckOutput::Text {
            let bold = Style::new().bold();
            writeln!(anstream::stdout(), "{bold}{heading}{bold:#}")?;
        }
        Ok(())
    }

    /// Keeps a finding, and prints it at once where the output is text.
    pub fn add(&mut self, mut finding: Finding) -> io::Result<()> {
        finding.about.clone_from(&self.heading);
        if self.output == CheckOutput::Text {
            print(&finding)?;
        }
        self.findings.push(finding);
        Ok(())
    }

    /// Returns whether anything is wrong.
    pub fn has_errors(&self) -> bool {
        self.count(Status::Error) > 0
    }

    fn count(&self, status: Status) -> usize {
        self.findings.iter().filter(|finding| finding.status == status).count()
    }

    /// Prints the totals, or as JSON all findings.
    pub fn end(&self) -> io::Result<()> {
        match self.output {
            CheckOutput::Text => {
                let errors = super::counted(self.count(Status::Error), "problem", "problems");
                let warnings = super::counted(self.count(Status::Warning), "warning", "warnings");
                writeln!(anstream::stdout(), "\n{errors}, {warnings}")
            }
            CheckOutput::Json => {
                #[derive(Serialize)]
                struct Document<'a> {
                    ok: bool,
                    findings: &'a [Finding],
                }
                let mut stdout = io::stdout().lock();
                serde_json::to_writer_pretty(
                    &mut stdout,
                    &Document { ok: !self.has_errors(), findings: &self.findings },
                )?;
                writeln!(stdout)
            }
        }
    }
}

fn print(finding: &Finding) -> io::Result<()> {
    let (mark, colour) = match finding.status {
        Status::Ok => ("✓", AnsiColor::Green),
        Status::Warning => ("!", AnsiColor::Yellow),
        Status::Error => ("✗", AnsiColor::Red),
    };
    let style = colour.on_default();
    let step = match finding.step {
        Step::Dns => "DNS: ",
        Step::Tcp => "TCP: ",
        Step::Tls => "TLS: ",
        _ => "",
    };
    let mut stdout = anstream::stdout().lock();
    write!(stdout, "  {style}{mark}{style:#} {step}")?;
    if let Some(virtual_proxy) = &finding.virtual_proxy {
        write!(stdout, "{virtual_proxy}: ")?;
    }
    if let Some(category) = finding.category {
        write!(stdout, "{category}: ")?;
    }
    writeln!(stdout, "{}", finding.message)?;
    if let Some(hint) = &finding.hint {
        writeln!(stdout, "      → {hint}")?;
    }
    Ok(())
}
