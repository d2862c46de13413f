//! Who is connected to Qlik Sense right now, as newline-delimited JSON.
//!
//! The modules, in the order in which the data passes through them:
//!
//! | module | does |
//! |---|---|
//! | [`config`] | reads a Butler SOS file into typed settings, with every problem reported at once |
//! | [`target`] | what is polled: one virtual proxy on one server |
//! | [`proxy`] | asks one target for its sessions; an answer or a [`proxy::Failure`] |
//! | [`repository`] | asks the repository service which virtual proxies there are |
//! | [`discovery`] | turns such a list into addresses and targets |
//! | [`poll`] | all targets, in parallel, at every tick |
//! | [`snapshot`] | one answer, checked: the sessions of one target at one moment |
//! | [`lifecycle`] | what changed since the last good answer; kept in the state file |
//! | [`events`] | one JSON line for each fact |
//! | [`output`] | whole lines to stdout, in order, through a bounded queue |
//!
//! [`report`] reads the events back. [`commands`] holds one file for each subcommand,
//! [`site`] the simulated site of `demo` and the tests.

pub mod cli;
pub mod commands;
pub mod config;
pub mod discovery;
pub mod events;
mod files;
mod fingerprint;
mod hexadecimal;
mod json;
pub mod lifecycle;
pub mod logging;
pub mod output;
pub mod poll;
pub mod proxy;
pub mod report;
pub mod repository;
pub mod signals;
#[cfg(feature = "demo")]
pub mod site;
pub mod snapshot;
pub mod target;
pub mod user;
