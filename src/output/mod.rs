//! Whole lines to stdout, in order, through a bounded queue.
//!
//! A thread of its own writes, so that a reader that stalls delays nothing but
//! the writing. What is in the queue is kept for the reader; when the queue is
//! full, [`Output::send`] waits, and with it the polling.

mod pipe;

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use memchr::{memchr, memrchr};
pub use pipe::PatientStdout;
use tokio::sync::{Semaphore, oneshot, watch};

/// Most bytes that wait for the reader: two polls of a thousand sessions.
const QUEUE_BYTES: usize = 1024 * 1024;
/// How much is handed over at once: large enough for few system calls, small
/// enough for a reader to see lines early, and a little less than a pipe holds.
pub const CHUNK_BYTES: usize = 60 * 1024;
/// How often a writer that has nothing to write checks that its reader is still there.
const READER_CHECK: Duration = Duration::from_secs(1);

/// Nobody reads stdout any more.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("stdout is closed")]
pub struct Closed;

enum Message {
    Lines(Vec<u8>),
    /// A request for a reply when everything that was sent before is written.
    Mark(oneshot::Sender<()>),
}

/// The way out.
#[derive(Debug)]
pub struct Output {
    queue: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

/// What the sender and the writer share.
#[derive(Debug)]
struct Shared {
    /// What the queue has room for, in bytes. Lines count until they are written.
    room: Semaphore,
    closed: watch::Sender<bool>,
    error: Mutex<Option<io::Error>>,
}

impl Output {
    /// Starts the writer on stdout.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub fn stdout() -> io::Result<Self> {
        let is_pipe = pipe::is_pipe();
        if is_pipe {
            pipe::enlarge();
        }
        Self::start(Sink { out: Box::new(PatientStdout::new()), is_stdout: true, is_pipe })
    }

    /// Starts the writer on something else than stdout.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub fn to(writer: impl Write + Send + 'static) -> io::Result<Self> {
        Self::start(Sink { out: Box::new(writer), is_stdout: false, is_pipe: false })
    }

    fn start(sink: Sink) -> io::Result<Self> {
        let (queue, messages) = mpsc::channel();
        let shared = Arc::new(Shared {
            room: Semaphore::new(QUEUE_BYTES),
            closed: watch::Sender::new(false),
            error: Mutex::default(),
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("output".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || writer.write(sink, &messages))?;
        Ok(Self { queue, shared })
    }

    /// Hands whole lines over; waits while the queue is full.
    ///
    /// # Errors
    /// When stdout is closed.
    pub async fn send(&self, lines: Vec<u8>) -> Result<(), Closed> {
        if lines.is_empty() {
            return Ok(());
        }
        let permit = self.shared.room.acquire_many(weight(&lines)).await.map_err(|_| Closed)?;
        permit.forget();
        self.queue.send(Message::Lines(lines)).map_err(|_| Closed)
    }

    /// Waits until all that was sent is written.
    ///
    /// # Errors
    /// When stdout is closed.
    pub async fn flushed(&self) -> Result<(), Closed> {
        let (mark, written) = oneshot::channel();
        self.queue.send(Message::Mark(mark)).map_err(|_| Closed)?;
        written.await.map_err(|_| Closed)
    }

    /// Waits until stdout is closed.
    pub async fn closed(&self) {
        // There is a sender as long as there is an output.
        let _ = self.shared.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Why stdout could not be written, where its reader did not simply leave.
    pub fn error(&self) -> Option<io::Error> {
        self.shared.error.lock().ok()?.take()
    }
}

/// How much of the queue lines take. A line longer than the whole queue takes all of it.
fn weight(lines: &[u8]) -> u32 {
    u32::try_from(lines.len().min(QUEUE_BYTES)).unwrap_or(u32::MAX)
}

impl Shared {
    /// The writer's thread.
    fn write(&self, mut sink: Sink, messages: &mpsc::Receiver<Message>) {
        loop {
            let written = match messages.recv_timeout(READER_CHECK) {
                Ok(Message::Lines(lines)) => {
                    let written = sink.write_lines(&lines);
                    self.room.add_permits(weight(&lines) as usize);
                    written
                }
                Ok(Message::Mark(mark)) => {
                    let _ = mark.send(());
                    Ok(())
                }
                Err(mpsc::RecvTimeoutError::Timeout) => sink.has_reader(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = written {
                return self.close(error);
            }
        }
    }

    /// Nothing can be written any more.
    fn close(&self, error: io::Error) {
        if !is_closed(&error)
            && let Ok(mut slot) = self.error.lock()
        {
            *slot = Some(error);
        }
        self.room.close();
        self.closed.send_replace(true);
    }
}

/// Where lines go.
struct Sink {
    out: Box<dyn Write + Send>,
    is_stdout: bool,
    is_pipe: bool,
}

impl Sink {
    fn has_reader(&self) -> io::Result<()> {
        if self.is_stdout { pipe::has_reader() } else { Ok(()) }
    }

    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let most = if self.is_pipe { pipe::whole_write() } else { usize::MAX };
            let (piece, behind) = rest.split_at(whole_lines(rest, most));
            self.out.write_all(piece)?;
            self.out.flush()?;
            rest = behind;
        }
        Ok(())
    }
}

/// Returns whether an error says that nobody reads any more. The standard library
/// does not know all of Windows' (`ERROR_PIPE_NOT_CONNECTED`).
pub fn is_closed(error: &io::Error) -> bool {
    const PIPE_NOT_CONNECTED: i32 = 233;
    error.kind() == io::ErrorKind::BrokenPipe
        || (cfg!(windows) && error.raw_os_error() == Some(PIPE_NOT_CONNECTED))
}

/// How many bytes of these lines are whole lines and at most so many; the whole
/// first line where that is longer.
fn whole_lines(lines: &[u8], most: usize) -> usize {
    let fitting = &lines[..lines.len().min(most)];
    let end = memrchr(b'\n', fitting).or_else(|| memchr(b'\n', lines));
    end.map_or(lines.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::whole_lines;

    #[test]
    fn only_whole_lines_are_written_at_once() {
        assert_eq!(whole_lines(b"a\nbb\nccc\n", 5), 5);
        assert_eq!(whole_lines(b"a\nbb\nccc\n", 8), 5);
        assert_eq!(whole_lines(b"a\nbb\nccc\n", usize::MAX), 9);
        assert_eq!(whole_lines(b"ccccccc\nd\n", 5), 8);
    }
}
