//! What is special where stdout is a pipe: how much it takes as a whole, and
//! whether anybody still reads it.

/// Most bytes that are written at once, so that no line is cut where the
/// program ends while a write waits for the reader, be it by SIGKILL. A pipe
/// takes up to `PIPE_BUF` bytes as a whole or not at all (POSIX, `write`);
/// only a longer line can still be cut.
#[cfg(unix)]
pub fn whole_write() -> usize {
    use rustix::fs::{FileType, fstat};

    let is_pipe = fstat(std::io::stdout())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    if is_pipe { rustix::pipe::PIPE_BUF } else { usize::MAX }
}

/// Windows promises nothing for pipes.
#[cfg(not(unix))]
pub fn whole_write() -> usize {
    usize::MAX
}

/// Fails as a write would when nobody reads any more. Without it, a program
/// whose agent was killed would live on until its next event, a whole interval
/// later.
#[cfg(unix)]
pub fn reader_is_there() -> std::io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let stdout = std::io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // A poll that fails says nothing about the reader.
    let ready = poll(&mut fds, Some(&now)).unwrap_or(0);
    if ready > 0 && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

/// Windows tells it only to a write; the next event is one.
#[cfg(not(unix))]
pub fn reader_is_there() -> std::io::Result<()> {
    Ok(())
}
