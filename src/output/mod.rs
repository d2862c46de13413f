//! Whole lines to stdout, in order, through a bounded queue.
//!
//! A thread of its own writes, so that a reader that stalls stops nothing but
//! the writing. What is in the queue is kept for the reader; when the queue is
//! full, [`Output::send`] waits, and with it the polling. Where the queue is
//! empty and a pipe has room, there is nothing to wait for, and lines take the
//! short way: a thread that wakes up for each costs some 5 % of a poll.

mod pipe;

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
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
    shared: Arc<Shared>,
}

/// What the sender and the writer share.
#[derive(Debug)]
struct Shared {
    sink: Mutex<Sink>,
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
        Self::start(Sink { out: Box::new(io::stdout()), stdout: Some(pipe::Stdout::new()) })
    }

    /// Starts the writer on something else than stdout.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub fn to(writer: impl Write + Send + 'static) -> io::Result<Self> {
        Self::start(Sink { out: Box::new(writer), stdout: None })
    }

    fn start(sink: Sink) -> io::Result<Self> {
        let (queue, messages) = mpsc::channel();
        let shared = Arc::new(Shared {
            sink: Mutex::new(sink),
            room: Semaphore::new(QUEUE_BYTES),
            closed: watch::Sender::new(false),
            error: Mutex::default(),
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("output".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || writer.write(&messages))?;
        Ok(Self { queue, shared })
    }

    /// Hands whole lines over; waits while the queue is full.
    ///
    /// # Errors
    /// When stdout is closed.
    pub async fn send(&self, lines: Vec<u8>) -> Result<(), Closed> {
        if lines.is_empty() || self.shared.write_at_once(&lines)? {
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

    /// Why stdout could not be written, where that was not just its reader leaving.
    pub fn error(&self) -> Option<io::Error> {
        self.shared.error.lock().ok()?.take()
    }
}

/// What lines take of the queue. A line longer than the whole queue takes all of it.
fn weight(lines: &[u8]) -> u32 {
    u32::try_from(lines.len().min(QUEUE_BYTES)).unwrap_or(u32::MAX)
}

impl Shared {
    /// Writes lines where they need not wait; answers whether it did.
    fn write_at_once(&self, lines: &[u8]) -> Result<bool, Closed> {
        if self.room.is_closed() {
            return Err(Closed);
        }
        if self.room.available_permits() < QUEUE_BYTES {
            return Ok(false);
        }
        let Ok(mut sink) = self.sink.try_lock() else { return Ok(false) };
        sink.write_at_once(lines).map_err(|error| {
            self.close(error);
            Closed
        })
    }

    /// The writer's thread.
    fn write(&self, messages: &mpsc::Receiver<Message>) {
        loop {
            let written = match messages.recv_timeout(READER_CHECK) {
                Ok(Message::Lines(lines)) => {
                    let written = self.sink().write_lines(&lines);
                    self.room.add_permits(weight(&lines) as usize);
                    written
                }
                Ok(Message::Mark(mark)) => {
                    let _ = mark.send(());
                    Ok(())
                }
                Err(mpsc::RecvTimeoutError::Timeout) => self.sink().has_reader(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = written {
                return self.close(error);
            }
        }
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing can be written any more.
    fn close(&self, error: io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe
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
    /// None where something else is written to.
    stdout: Option<pipe::Stdout>,
}

impl Sink {
    fn has_reader(&self) -> io::Result<()> {
        self.stdout.as_ref().map_or(Ok(()), pipe::Stdout::has_reader)
    }

    /// Writes lines if that surely needs no waiting for the reader; answers
    /// whether it did.
    fn write_at_once(&mut self, lines: &[u8]) -> io::Result<bool> {
        let room = self.stdout.as_mut().map_or(0, pipe::Stdout::room);
        if room < lines.len() {
            return Ok(false);
        }
        self.write_piece(lines)?;
        Ok(true)
    }

    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            let most = self.stdout.as_mut().map_or(usize::MAX, pipe::Stdout::whole_write);
            let (piece, behind) = rest.split_at(whole_lines(rest, most));
            self.write_piece(piece)?;
            rest = behind;
        }
        Ok(())
    }

    fn write_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        self.out.write_all(piece)?;
        self.out.flush()?;
        if let Some(stdout) = &mut self.stdout {
            stdout.wrote(piece.len());
        }
        Ok(())
    }
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("stdout", &self.stdout).finish_non_exhaustive()
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
