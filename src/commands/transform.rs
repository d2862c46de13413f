//! `transform`: a session API answer on stdin becomes events on stdout.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use jiff::Timestamp;

use super::{CommandError, Exit, read_config};
use crate::{
    cli::TransformArgs,
    config::{self, Config, SessionDetails},
    events::{Lines, SessionEvent, SummaryFacts, TargetEvents},
    output::{CHUNK_BYTES, PatientStdout},
    proxy::{Category, Failure},
    snapshot::{Rules, Snapshot},
    target::{TargetKeys, VirtualProxy},
};

pub fn run(args: &TransformArgs) -> Result<Exit, CommandError> {
    let config = match &args.config {
        Some(path) => read_config(path)?,
        None => Config::empty(Path::new("")),
    };
    let virtual_proxy = VirtualProxy::new(&args.virtual_proxy);
    let keys = TargetKeys::named(&args.server_name, virtual_proxy.as_str());
    let timestamp = args.timestamp.unwrap_or_else(Timestamp::now);
    let events = TargetEvents::new(&keys, config.options.site.as_deref(), timestamp);
    let mut lines = Lines::new(config.options.max_line_bytes);
    let mut stdout = PatientStdout::new();
    let rules = Rules::new(&config, None);
    let mut body = read_stdin(&config);
    let answer = body.as_mut().map_err(|failure| failure.clone());
    match answer.and_then(|body| Snapshot::read(body, &rules)).map_err(for_a_file) {
        Ok(snapshot) => {
            let facts = SummaryFacts {
                users_are_shown: rules.names().are_shown(),
                ..SummaryFacts::default()
            };
            events.summary(&mut lines, &snapshot, &facts);
            write_sessions(
                config.options.session_details,
                &events,
                &snapshot,
                &mut lines,
                &mut stdout,
            )?;
            stdout.write_all(&lines.take())?;
            Ok(Exit::Done)
        }
        Err(failure) => {
            tracing::error!("{failure}");
            events.error(&mut lines, &failure, None, 1);
            stdout.write_all(&lines.take())?;
            Ok(Exit::Failed)
        }
    }
}

/// UTF-8, or UTF-16 with a byte order mark, as PowerShell's `>` writes it.
fn read_stdin(config: &Config) -> Result<Vec<u8>, Failure> {
    let limit = config.options.max_body_bytes;
    let mut body = Vec::new();
    io::stdin().lock().take(limit as u64 + 1).read_to_end(&mut body).map_err(|error| {
        Failure::new(Category::Unknown, format!("stdin cannot be read: {error}"))
    })?;
    if body.len() > limit {
        return Err(Failure::new(
            Category::BodyTooLarge,
            format!("stdin holds more than {limit} bytes"),
        )
        .hint("raise `sessionSource.maxBodyBytes` in a configuration given with --config"));
    }
    match body.as_slice() {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => config::decode(&body)
            .map(|decoded| decoded.text.into_bytes())
            .map_err(|problem| Failure::new(Category::InvalidBody, format!("stdin {problem}"))),
        _ => Ok(body),
    }
}

/// Replaces hints about servers and ports: the answer came from a file.
fn for_a_file(failure: Failure) -> Failure {
    match failure.category {
        Category::InvalidBody => Failure { http_status: None, ..failure }.hint(
            "is this an answer of the session API, saved as it came: [{\"UserDirectory\": …, \"UserId\": …, \"SessionId\": …}, …]?",
        ),
        _ => failure,
    }
}

fn write_sessions(
    details: SessionDetails,
    events: &TargetEvents<'_>,
    snapshot: &Snapshot<'_>,
    lines: &mut Lines,
    stdout: &mut impl Write,
) -> io::Result<()> {
    let mut too_long = 0;
    let shown = snapshot.sessions.iter().filter(|session| !session.excluded);
    if details == SessionDetails::Grouped {
        too_long += events.groups(lines, shown.clone().map(|session| (session, None)));
    }
    for session in shown.filter(|_| details == SessionDetails::Snapshot) {
        too_long += usize::from(!events.session(lines, SessionEvent::Session, session, None));
        if lines.len() >= CHUNK_BYTES {
            stdout.write_all(&lines.take())?;
        }
    }
    if too_long > 0 {
        tracing::warn!("{too_long} session events did not fit `maxLineBytes` and were left out");
    }
    Ok(())
}
