//! What processes cost: CPU and memory, as Linux counts them.

use std::{
    fs, io,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// `USER_HZ`: the same on every Linux that Rust's std runs on.
const TICKS_PER_SECOND: u64 = 100;

/// CPU of all children that have ended, and of theirs. In ticks, so it has to
/// be read around many runs.
pub fn ended_children_cpu() -> Duration {
    stat_ticks("/proc/self/stat", &[13, 14])
}

/// The part of it that is not the kernel's.
pub fn ended_children_user_cpu() -> Duration {
    stat_ticks("/proc/self/stat", &[13])
}

/// CPU of a running process.
pub fn cpu(process: &Child) -> Duration {
    cpu_of(process.id())
}

fn cpu_of(id: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{id}/task"));
    let nanoseconds = threads.and_then(|threads| {
        threads
            .map(|thread| {
                let text = fs::read_to_string(thread?.path().join("schedstat"))?;
                let first = text.split_ascii_whitespace().next().unwrap_or_default();
                first.parse::<u64>().map_err(io::Error::other)
            })
            .sum::<io::Result<u64>>()
    });
    match nanoseconds {
        Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
        // A kernel without schedstat has only ticks.
        Err(_) => stat_ticks(&format!("/proc/{id}/stat"), &[11, 12]),
    }
}

/// The sum of fields of a `stat` file, counted behind the command's name.
fn stat_ticks(path: &str, fields: &[usize]) -> Duration {
    let text = fs::read_to_string(path).expect("the benchmark runs on Linux");
    let (_, behind_name) = text.rsplit_once(')').expect("the name stands in brackets");
    let values: Vec<&str> = behind_name.split_ascii_whitespace().collect();
    let ticks: u64 = fields.iter().map(|at| values[*at].parse::<u64>().unwrap_or(0)).sum();
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub now: f64,
    pub peak: f64,
}

/// The memory of a running process.
pub fn memory(process: &Child) -> Memory {
    memory_of(process.id())
}

fn memory_of(id: u32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{id}/status")).expect("it is running");
    let kilobytes = |name: &str| {
        text.lines()
            .find_map(|line| {
                line.strip_prefix(name)?.trim_start_matches(':').split_whitespace().next()
            })
            .and_then(|value| value.parse::<f64>().ok())
            .unwrap_or(f64::NAN)
    };
    Memory { now: kilobytes("VmRSS") * 1024.0, peak: kilobytes("VmHWM") * 1024.0 }
}

/// What one run of a command costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub cpu: Duration,
    pub wall: Duration,
}

/// Runs a command `times` times; returns the mean of one run.
pub fn cost(command: impl Fn() -> Command, times: u32) -> Cost {
    let (cpu, start) = (ended_children_cpu(), Instant::now());
    for _ in 0..times {
        let mut command = command();
        let status = command.stdout(Stdio::null()).status();
        let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(status.success(), "{command:?}: {status}");
    }
    Cost { cpu: (ended_children_cpu() - cpu) / times, wall: start.elapsed() / times }
}

/// Whether a program is installed.
pub fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into()])
            .any(|folder| folder.join(program).is_file())
    })
}

/// A process that is ended when it is no longer needed.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process and those that it has started.
pub struct Family(Child);

impl Family {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("it is installed"))
    }

    pub fn cpu(&self) -> Duration {
        self.ids().into_iter().map(cpu_of).sum()
    }

    /// The sum of their peaks, in bytes.
    pub fn memory(&self) -> f64 {
        self.ids().into_iter().map(|id| memory_of(id).peak).sum()
    }

    fn ids(&self) -> Vec<u32> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0.id())).expect("it is running");
        let children = threads
            .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
            .flat_map(|ids| ids.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|id| id.parse().ok());
        std::iter::once(self.0.id()).chain(children).collect()
    }
}

impl Drop for Family {
    /// Lets it end what it has started.
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Size of a file.
pub fn file_size(path: &Path) -> f64 {
    fs::metadata(path).map_or(f64::NAN, |metadata| metadata.len() as f64)
}
