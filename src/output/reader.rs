//! Notices that the reader of a silent stdout is gone.
//!
//! Without it, a program whose agent was killed would live on until its next
//! event, a whole interval later.

use std::io;

/// Fails as a write would when nobody reads any more.
#[cfg(unix)]
pub fn still_there() -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // A poll that fails says nothing about the reader.
    let ready = poll(&mut fds, Some(&now)).unwrap_or(0);
    if ready > 0 && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

/// Windows tells it only to a write; the next event is one.
#[cfg(not(unix))]
pub fn still_there() -> io::Result<()> {
    Ok(())
}
