//! Whole lines to stdout, in order, through a bounded queue.
//!
//! A thread of its own writes, so that a reader that stalls stops nothing but
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
use tokio::sync::{Semaphore, oneshot, watch};

/// Most bytes that wait for the reader.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// How much is handed over at once: large enough for few system calls, small
/// enough for a reader to see lines early, and a little less than a pipe holds.
pub const CHUNK_BYTES: usize = 60 * 1024;
/// How often a silent writer looks whether its reader is still there.
const READER_CHECK: Duration = Duration::from_secs(1);

/// Nobody reads stdout any more.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("stdout is closed")]
pub struct Closed;

enum Message {
    Lines(Vec<u8>),
    /// Answered when all that was sent before is written.
    Mark(oneshot::Sender<()>),
}

/// The way out.
#[derive(Debug)]
pub struct Output {
    queue: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    closed: watch::Receiver<bool>,
    error: Arc<Mutex<Option<io::Error>>>,
}

impl Output {
    /// Starts the writer on stdout.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub fn stdout() -> io::Result<Self> {
        Self::start(io::stdout(), Some(pipe::Stdout::new()))
    }

    /// Starts the writer on something else than stdout.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub fn to(writer: impl Write + Send + 'static) -> io::Result<Self> {
        Self::start(writer, None)
    }

    fn start(
        writer: impl Write + Send + 'static,
        stdout: Option<pipe::Stdout>,
    ) -> io::Result<Self> {
        let (queue, messages) = mpsc::channel();
        let room = Arc::new(Semaphore::new(QUEUE_BYTES));
        let (closing, closed) = watch::channel(false);
        let error = Arc::default();
        let thread = Writer {
            messages,
            room: Arc::clone(&room),
            closing,
            error: Arc::clone(&error),
            stdout,
        };
        thread::Builder::new()
            .name("output".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || thread.run(writer))?;
        Ok(Self { queue, room, closed, error })
    }

    /// Hands whole lines over; waits while the queue is full.
    ///
    /// # Errors
    /// When stdout is closed.
    pub async fn send(&self, lines: Vec<u8>) -> Result<(), Closed> {
        if lines.is_empty() {
            return Ok(());
        }
        let permit = self.room.acquire_many(weight(&lines)).await.map_err(|_| Closed)?;
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
        // The writer is gone when the sender is: then it is closed too.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }

    /// Why stdout could not be written, where that was not just its reader leaving.
    pub fn error(&self) -> Option<io::Error> {
        self.error.lock().ok()?.take()
    }
}

/// What lines take of the queue. A line longer than the whole queue takes all of it.
fn weight(lines: &[u8]) -> u32 {
    u32::try_from(lines.len().min(QUEUE_BYTES)).unwrap_or(u32::MAX)
}

struct Writer {
    messages: mpsc::Receiver<Message>,
    room: Arc<Semaphore>,
    closing: watch::Sender<bool>,
    error: Arc<Mutex<Option<io::Error>>>,
    /// None where something else is written to.
    stdout: Option<pipe::Stdout>,
}

impl Writer {
    fn run(mut self, out: impl Write) {
        if let Err(error) = self.write_all(out)
            && error.kind() != io::ErrorKind::BrokenPipe
            && let Ok(mut slot) = self.error.lock()
        {
            *slot = Some(error);
        }
        self.room.close();
        let _ = self.closing.send(true);
    }

    fn write_all(&mut self, mut out: impl Write) -> io::Result<()> {
        loop {
            match self.messages.recv_timeout(READER_CHECK) {
                Ok(Message::Lines(lines)) => {
                    self.write_lines(&mut out, &lines)?;
                    out.flush()?;
                    self.room.add_permits(weight(&lines) as usize);
                }
                Ok(Message::Mark(mark)) => drop(mark.send(())),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if let Some(stdout) = &self.stdout {
                        stdout.has_reader()?;
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn write_lines(&mut self, out: &mut impl Write, lines: &[u8]) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let most = self.stdout.as_mut().map_or(usize::MAX, pipe::Stdout::whole_write);
            let (piece, behind) = rest.split_at(whole_lines(rest, most));
            out.write_all(piece)?;
            if let Some(stdout) = &mut self.stdout {
                stdout.wrote(piece.len());
            }
            rest = behind;
        }
        Ok(())
    }
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
