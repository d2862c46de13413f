//! `transform`: a session API answer on stdin becomes events on stdout.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use jiff::Timestamp;

use super::{CommandError, Exit, load};
use crate::{
    cli::TransformArgs,
    config::{Config, SessionDetails},
    events::{Lines, SessionEvent, SessionKeys, SummaryFacts, TargetEvents, TargetKeys},
    output::CHUNK_BYTES,
    proxy::{Category, Failure},
    snapshot::{Body, Rules, Snapshot},
    target::VirtualProxy,
};

pub fn run(args: &TransformArgs) -> Result<Exit, CommandError> {
    let config = match &args.config {
        Some(path) => load(path)?,
        None => Config::empty(Path::new("")),
    };
    let virtual_proxy = VirtualProxy::new(&args.virtual_proxy);
    let keys = TargetKeys::named(&args.server_name, virtual_proxy.as_str());
    let events = TargetEvents::new(&keys, args.timestamp.unwrap_or_else(Timestamp::now));
    let mut lines = Lines::new(config.options.max_line_bytes);
    let mut stdout = io::stdout().lock();
    let result = read_stdin(config.options.max_body_bytes).and_then(|body| {
        let mut body = Body::new(body);
        let snapshot = body.read(&Rules::new(&config))?;
        Ok(write_events(&events, &snapshot, &config, &mut lines, &mut stdout))
    });
    match result {
        Ok(written) => written.map(|()| Exit::Done).map_err(CommandError::from),
        Err(failure) => {
            tracing::error!("{failure}");
            events.error(&mut lines, &failure, None, 1);
            stdout.write_all(&lines.take())?;
            Ok(Exit::Failed)
        }
    }
}

fn read_stdin(limit: usize) -> Result<Vec<u8>, Failure> {
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
    Ok(body)
}

fn write_events(
    events: &TargetEvents<'_>,
    snapshot: &Snapshot<'_>,
    config: &Config,
    lines: &mut Lines,
    stdout: &mut impl Write,
) -> io::Result<()> {
    events.summary(lines, snapshot, &SummaryFacts::default());
    if config.options.session_details == SessionDetails::Snapshot {
        let mut too_long = 0;
        for session in snapshot.sessions.iter().filter(|session| !session.excluded) {
            let attributes = session.attributes.as_deref();
            if !events.session(
                lines,
                SessionEvent::Session,
                SessionKeys::from(session),
                attributes,
                None,
            ) {
                too_long += 1;
            }
            if lines.len() >= CHUNK_BYTES {
                stdout.write_all(&lines.take())?;
            }
        }
        if too_long > 0 {
            tracing::warn!(
                "{too_long} session events did not fit `maxLineBytes` and were left out"
            );
        }
    }
    stdout.write_all(&lines.take())?;
    stdout.flush()
}
