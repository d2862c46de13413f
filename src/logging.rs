//! The program's own log, on stderr. It names no user and holds no secret.

use std::io;

use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use tracing_subscriber::{
    Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines of text
    #[default]
    Text,
    /// One JSON object per line, for agents that read stderr
    Json,
}

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Errors
    Error,
    /// Warnings and errors
    Warn,
    /// Also what the program does
    #[default]
    Info,
    /// Also every failed request
    Debug,
    /// Everything
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Sends the log to stderr. Only the program's own lines: libraries log
/// requests, and with them keys.
pub fn init(format: LogFormat, level: LogLevel) {
    let own = Targets::new().with_target("qlik_sessions", tracing::Level::from(level));
    let layer = match format {
        LogFormat::Text => fmt::layer()
            .with_ansi(AutoStream::choice(&io::stderr()) != ColorChoice::Never)
            .with_target(false)
            // Makes a Windows console understand colours, too.
            .with_writer(anstream::stderr)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_writer(io::stderr)
            .boxed(),
    };
    // A second call, as tests make it, changes nothing.
    let _ = tracing_subscriber::registry().with(layer.with_filter(own)).try_init();
}
