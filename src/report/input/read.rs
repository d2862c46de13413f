//! Several threads parse the lines of a source; what they parsed is handed over
//! in the order of the lines.

use std::{
    io,
    num::NonZero,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::{Progress, Record, Source, blocks::Blocks};

/// Most threads. More would wait for each other, because reading and handing over are
/// each done by one at a time.
const MAX_THREADS: usize = 8;

/// Hands every line that is not blank to `each`: its event, or none where it is not one.
///
/// # Errors
/// When the source cannot be opened, or ends in the middle of a packed stream.
/// The lines before that were handed over.
pub fn read_records(
    source: &Source,
    progress: &mut Progress,
    each: impl FnMut(Option<&mut Record<'_>>) + Send,
) -> io::Result<()> {
    let blocks = Mutex::new(Blocks::open(source, progress)?);
    let turns = Turns { next: Mutex::new((0, each)), changed: Condvar::new() };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| read_blocks(&blocks, &turns))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("it does not panic"))
    })
}

/// One of the threads.
fn read_blocks<F: FnMut(Option<&mut Record<'_>>)>(
    blocks: &Mutex<Blocks<'_>>,
    turns: &Turns<F>,
) -> io::Result<()> {
    let mut block = Vec::new();
    loop {
        let number = locked(blocks).next(&mut block)?;
        let Some(number) = number else { return Ok(()) };
        let mut records = Vec::with_capacity(memchr::memchr_iter(b'\n', &block).count() + 1);
        records.extend(lines(&block).map(Record::parse));
        turns.hand_over(number, &mut records);
    }
}

fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', block).chain([block.len()]);
    let lines = ends.map(move |end| &block[std::mem::replace(&mut start, end + 1)..end]);
    // Where several files were joined, each may begin with a byte order mark.
    lines
        .map(|line| line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii())
        .filter(|line| !line.is_empty())
}

/// Makes the threads hand over their blocks in order.
struct Turns<F> {
    /// The number of the block that is next, and what takes its lines.
    next: Mutex<(usize, F)>,
    changed: Condvar,
}

impl<F: FnMut(Option<&mut Record<'_>>)> Turns<F> {
    fn hand_over(&self, number: usize, records: &mut [Option<Record<'_>>]) {
        let mut next = self
            .changed
            .wait_while(locked(&self.next), |next| next.0 != number)
            .unwrap_or_else(PoisonError::into_inner);
        records.iter_mut().map(Option::as_mut).for_each(&mut next.1);
        next.0 += 1;
        self.changed.notify_all();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, path::Path};

    use flate2::{Compression, write::GzEncoder};

    use super::{Progress, Source, read_records};

    const LINES: usize = 4_000;

    #[test]
    fn lines_are_handed_over_in_their_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events");
        fs::write(&path, lines().trim_end()).expect("a file");
        assert_eq!(ids(&path), (Vec::from_iter(0..LINES as u128), true));
    }

    #[test]
    fn what_comes_before_a_damage_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.gz");
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(lines().as_bytes()).expect("packed");
        let packed = packed.finish().expect("packed");
        fs::write(&path, &packed[..packed.len() / 2]).expect("a file");
        let (ids, is_whole) = ids(&path);
        assert!(!is_whole && (LINES / 4..LINES * 3 / 4).contains(&ids.len()), "{}", ids.len());
        assert_eq!(ids, Vec::from_iter(0..ids.len() as u128));
    }

    /// Several blocks of lines with the ids 0, 1, 2 …
    fn lines() -> String {
        let line = |number| {
            format!(
                "{{\"timestamp\":\"2026-11-23T17:34:00.713Z\",\"event\":\"x\",\
                 \"event_id\":\"{number:032x}\",\"more\":\"{:0300}\"}}\n",
                number * number
            )
        };
        (0..LINES).map(line).collect()
    }

    /// The ids of a file's events, and whether it could be read to its end.
    fn ids(path: &Path) -> (Vec<u128>, bool) {
        let mut ids = Vec::new();
        let each = |record: Option<&mut super::Record<'_>>| ids.push(record.expect("one").id());
        let is_whole = read_records(&Source::new(path), &mut Progress::default(), each).is_ok();
        (ids, is_whole)
    }
}
