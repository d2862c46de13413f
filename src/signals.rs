//! How the program is asked to end: SIGTERM and SIGINT, on Windows Ctrl-C,
//! Ctrl-Break, and the closing of the console and shutdown. Not log-off: a program
//! that a service started gets it whoever logs off, and has to go on. Without
//! a handler here, Windows' own decides, which does go on there.

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
