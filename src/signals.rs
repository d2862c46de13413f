//! What asks the program to end: SIGTERM and SIGINT, on Windows Ctrl-C, Ctrl-Break,
//! the closing of the console, and shutdown. Not log-off: a program that a service
//! started gets that event whoever logs off, and has to go on.

use std::io;

/// Resolves to the name of the first signal that asks the program to end.
///
/// # Errors
/// Where the operating system refuses a handler.
#[cfg(unix)]
pub fn shutdown() -> io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Resolves to the name of the first signal that asks the program to end.
///
/// # Errors
/// Where the operating system refuses a handler.
#[cfg(windows)]
pub fn shutdown() -> io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::windows;

    ignore_log_off()?;
    let mut interrupt = windows::ctrl_c()?;
    let mut stop = windows::ctrl_break()?;
    let mut close = windows::ctrl_close()?;
    let mut shutdown = windows::ctrl_shutdown()?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "Ctrl-C",
            _ = stop.recv() => "Ctrl-Break",
            _ = close.recv() => "the closing of the console",
            _ = shutdown.recv() => "shutdown",
        }
    })
}

/// Windows calls handlers from the newest to the oldest, until one handles an event. This
/// is the oldest one: it handles what those of [`shutdown`] leave, and does nothing.
#[cfg(windows)]
fn ignore_log_off() -> io::Result<()> {
    match ctrlc::set_handler(|| {}) {
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        Err(ctrlc::Error::System(error)) => Err(error),
        Err(error) => Err(io::Error::other(error)),
    }
}
