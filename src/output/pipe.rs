//! What is special where stdout is a pipe: how much it takes as a whole, and
//! whether anybody still reads it.

/// How much a pipe is to hold, in bytes: a poll of some thousand sessions, so
/// that a reader that takes small bites does not slow it down. Linux gives no
/// more to everybody (`/proc/sys/fs/pipe-max-size`).
#[cfg(target_os = "linux")]
const ROOM: usize = 1024 * 1024;

/// Makes room in stdout, where it is a pipe and the operating system lets us.
#[cfg(target_os = "linux")]
pub fn widen() {
    let _ = rustix::pipe::fcntl_setpipe_size(std::io::stdout(), ROOM);
}

/// Elsewhere a pipe is as it is.
#[cfg(not(target_os = "linux"))]
pub fn widen() {}

/// Most bytes that may be written at once without a risk that a line is cut
/// where the program ends while the write waits for the reader, be it by
/// SIGKILL. A pipe takes up to `PIPE_BUF` bytes as a whole or not at all
/// (POSIX, `write`), and while it is empty as much as it holds. Only a line
/// that is longer can still be cut.
#[cfg(unix)]
pub fn whole_write() -> usize {
    use rustix::fs::{FileType, fstat};

    let stdout = std::io::stdout();
    let is_pipe =
        fstat(&stdout).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    if is_pipe { free_room().unwrap_or(rustix::pipe::PIPE_BUF) } else { usize::MAX }
}

/// What stdout holds, where it is an empty pipe.
#[cfg(target_os = "linux")]
fn free_room() -> Option<usize> {
    let stdout = std::io::stdout();
    let waiting = rustix::io::ioctl_fionread(&stdout).ok()?;
    (waiting == 0).then(|| rustix::pipe::fcntl_getpipe_size(&stdout).ok())?
}

#[cfg(all(unix, not(target_os = "linux")))]
fn free_room() -> Option<usize> {
    None
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
