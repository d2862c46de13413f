//! What is special about stdout, above all where it is a pipe: how much can be written
//! to it at once, whether it can be written now, and whether anybody still reads it.

use std::io::{self, Write};

/// Stdout. Another program may have made it non-blocking: then a write that cannot be
/// done at once waits, and is not an error.
#[derive(Debug)]
pub struct PatientStdout(io::Stdout);

impl PatientStdout {
    /// The program's stdout.
    #[expect(clippy::new_without_default, reason = "there is only one stdout")]
    pub fn new() -> Self {
        Self(io::stdout())
    }
}

impl Write for PatientStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        when_ready(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        when_ready(|| self.0.flush())
    }
}

fn when_ready<T>(mut action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match action() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => system::wait_until_ready()?,
            result => return result,
        }
    }
}

pub use system::{enlarge, has_reader, is_pipe, whole_write};

#[cfg(unix)]
mod system {
    use std::io;

    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        fs::{FileType, fstat},
        pipe::PIPE_BUF,
    };

    /// Returns whether stdout is a pipe, where [`whole_write`] is to be asked.
    pub fn is_pipe() -> bool {
        fstat(io::stdout())
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
    }

    /// Makes stdout's pipe larger, as far as the system allows.
    ///
    /// A poll of a thousand sessions is 450 KB, and an agent's pipe holds 64: most of the
    /// poll would go out in pieces of `PIPE_BUF`, as the agent reads, in 60 to 95 writes in
    /// place of 13. Linux allows everyone this size.
    #[cfg(target_os = "linux")]
    pub fn enlarge() {
        const BYTES: usize = 1024 * 1024;
        // Where it is refused, the pipe stays as it is.
        let _ = rustix::pipe::fcntl_setpipe_size(io::stdout(), BYTES);
    }

    #[cfg(not(target_os = "linux"))]
    pub fn enlarge() {}

    /// Most bytes that may be written to a pipe now without a risk that a line is cut where
    /// the program ends while the write waits for the reader, be it by SIGKILL. A pipe takes
    /// up to `PIPE_BUF` bytes as a whole or not at all (POSIX, `write`). Only a line that
    /// is longer can still be cut. Without this, each kill while the reader is behind
    /// leaves half a line.
    pub fn whole_write() -> usize {
        PIPE_BUF.max(room(&io::stdout()))
    }

    /// What a pipe takes without waiting. In pieces of `PIPE_BUF` the writes would be a
    /// sixth of a poll's time.
    ///
    /// Linux keeps what waits in pages. Two neighbours hold more than one page together, or
    /// they would be one (`pipe_write` in Linux); only the first may be read in part.
    #[cfg(target_os = "linux")]
    fn room(stdout: &io::Stdout) -> usize {
        use rustix::{io::ioctl_fionread, param::page_size, pipe::fcntl_getpipe_size};

        let (Ok(size), Ok(waiting)) = (fcntl_getpipe_size(stdout), ioctl_fionread(stdout)) else {
            return 0;
        };
        if waiting == 0 {
            return size;
        }
        let waiting = usize::try_from(waiting).unwrap_or(usize::MAX);
        size.saturating_sub(waiting.saturating_add(page_size()).saturating_mul(2))
    }

    /// Other systems do not say how much a pipe holds.
    #[cfg(not(target_os = "linux"))]
    fn room(_stdout: &io::Stdout) -> usize {
        0
    }

    /// Fails as a write would when nobody reads any more. Without this check, a program
    /// whose agent was killed would go on until its next event, a whole interval later.
    pub fn has_reader() -> io::Result<()> {
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

    pub fn wait_until_ready() -> io::Result<()> {
        let stdout = io::stdout();
        let mut fds = [PollFd::new(&stdout, PollFlags::OUT)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Windows makes no promise for pipes, and shows only at a write that nobody reads any
/// more; the next event is such a write.
#[cfg(not(unix))]
mod system {
    use std::{io, thread, time::Duration};

    pub fn is_pipe() -> bool {
        false
    }

    pub fn enlarge() {}

    pub fn whole_write() -> usize {
        usize::MAX
    }

    #[expect(clippy::unnecessary_wraps, reason = "the one for Unix can fail")]
    pub fn has_reader() -> io::Result<()> {
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the one for Unix can fail")]
    pub fn wait_until_ready() -> io::Result<()> {
        thread::sleep(Duration::from_millis(20));
        Ok(())
    }
}
