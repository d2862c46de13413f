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
    proxy::{Category, Failure, Receiver},
    snapshot::{Reader, Rules, Snapshot},
    target::VirtualProxy,
};

/// How much of stdin is read at once.
const PIECE_BYTES: usize = 64 * 1024;

pub fn run(args: &TransformArgs) -> Result<Exit, CommandError> {
    let config = match &args.config {
        Some(path) => load(path)?,
        None => Config::empty(Path::new("")),
    };
    let virtual_proxy = VirtualProxy::new(&args.virtual_proxy);
    let keys = TargetKeys::named(&args.server_name, virtual_proxy.as_str());
    let mut events = TargetEvents::new(&keys, args.timestamp.unwrap_or_else(Timestamp::now));
    let mut lines = Lines::new(config.options.max_line_bytes);
    let mut stdout = io::stdout().lock();
    match read_stdin(&config) {
        Ok(snapshot) => {
            write_events(&mut events, &snapshot, &config, &mut lines, &mut stdout)?;
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

fn read_stdin(config: &Config) -> Result<Snapshot, Failure> {
    let (rules, limit) = (Rules::new(config), config.options.max_body_bytes);
    let mut reader = Reader::new(&rules);
    let mut stdin = io::stdin().lock();
    let (mut piece, mut read) = (vec![0; PIECE_BYTES], 0);
    loop {
        let length = match stdin.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            length => length.map_err(|error| {
                Failure::new(Category::Unknown, format!("stdin cannot be read: {error}"))
            })?,
        };
        if length == 0 {
            return reader.finish();
        }
        read += length;
        if read > limit {
            return Err(Failure::new(
                Category::BodyTooLarge,
                format!("stdin holds more than {limit} bytes"),
            )
            .hint("raise `sessionSource.maxBodyBytes` in a configuration given with --config"));
        }
        reader.piece(&piece[..length]);
    }
}

fn write_events(
    events: &mut TargetEvents<'_>,
    snapshot: &Snapshot,
    config: &Config,
    lines: &mut Lines,
    stdout: &mut impl Write,
) -> io::Result<()> {
    events.summary(lines, snapshot, &SummaryFacts::default());
    if config.options.session_details == SessionDetails::Snapshot {
        let mut too_long = 0;
        for session in snapshot.sessions().filter(|session| !session.excluded) {
            let attributes = session.attributes;
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
