//! What is special about stdout, and above all where it is a pipe: how much it
//! takes as a whole, and whether anybody still reads it.

#[cfg(unix)]
pub use unix::Stdout;

#[cfg(unix)]
mod unix {
    use std::io;

    #[cfg(target_os = "linux")]
    use rustix::param::page_size;
    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        fs::{FileType, fstat},
        pipe::PIPE_BUF,
    };

    /// How much a pipe is to hold, in bytes: a poll of some thousand sessions,
    /// so that a reader that takes small bites does not slow it down. Linux
    /// gives no more to everybody (`/proc/sys/fs/pipe-max-size`).
    #[cfg(target_os = "linux")]
    const ROOM: usize = 1024 * 1024;

    /// Stdout, and what is known of its room.
    #[derive(Debug)]
    pub struct Stdout {
        is_pipe: bool,
        /// Linux keeps what is in a pipe in pages. At most so many are in use:
        /// those written since it was seen empty.
        #[cfg(target_os = "linux")]
        pages: usize,
    }

    impl Stdout {
        /// Makes room in it, where it is a pipe and the operating system lets us.
        pub fn new() -> Self {
            let is_pipe = fstat(io::stdout())
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
            #[cfg(target_os = "linux")]
            if is_pipe {
                let _ = rustix::pipe::fcntl_setpipe_size(io::stdout(), ROOM);
            }
            Self {
                is_pipe,
                #[cfg(target_os = "linux")]
                pages: 0,
            }
        }

        /// Most bytes that may be written at once without a risk that a line is
        /// cut where the program ends while the write waits for the reader, be it
        /// by SIGKILL. A pipe takes up to `PIPE_BUF` bytes as a whole or not at
        /// all (POSIX, `write`), and as much as it has room for. Only a line that
        /// is longer can still be cut.
        pub fn whole_write(&mut self) -> usize {
            if self.is_pipe { self.room().max(PIPE_BUF) } else { usize::MAX }
        }

        /// How many bytes surely fit without waiting for the reader, as long as no
        /// other program writes to the same pipe.
        #[cfg(target_os = "linux")]
        pub fn room(&mut self) -> usize {
            if !self.is_pipe {
                return 0;
            }
            if rustix::io::ioctl_fionread(io::stdout()).is_ok_and(|waiting| waiting == 0) {
                self.pages = 0;
            }
            let size = rustix::pipe::fcntl_getpipe_size(io::stdout()).unwrap_or(0);
            (size / page_size()).saturating_sub(self.pages) * page_size()
        }

        /// How many bytes surely fit without waiting for the reader: nobody tells.
        #[cfg(not(target_os = "linux"))]
        pub fn room(&mut self) -> usize {
            0
        }

        /// Takes note of a write.
        pub fn wrote(&mut self, bytes: usize) {
            #[cfg(target_os = "linux")]
            {
                self.pages = self.pages.saturating_add(bytes.div_ceil(page_size()));
            }
            #[cfg(not(target_os = "linux"))]
            let _ = bytes;
        }

        /// Fails as a write would when nobody reads any more. Without it, a
        /// program whose agent was killed would live on until its next event, a
        /// whole interval later.
        pub fn has_reader(&self) -> io::Result<()> {
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
    }
}

#[cfg(not(unix))]
pub use elsewhere::Stdout;

/// Windows promises nothing for pipes, and tells only to a write that nobody
/// reads any more; the next event is one.
#[cfg(not(unix))]
mod elsewhere {
    use std::io;

    #[derive(Debug)]
    pub struct Stdout;

    impl Stdout {
        pub fn new() -> Self {
            Self
        }

        pub fn whole_write(&mut self) -> usize {
            usize::MAX
        }

        pub fn room(&mut self) -> usize {
            0
        }

        pub fn wrote(&mut self, _bytes: usize) {}

        pub fn has_reader(&self) -> io::Result<()> {
            Ok(())
        }
    }
}
