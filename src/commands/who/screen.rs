//! The terminal while a table is refreshed in place.

use std::io::{self, IsTerminal, Write};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    execute, queue,
    style::Print,
    terminal::{
        self, BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap,
        EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    },
};

use crate::output::PatientStdout;

/// The size where the terminal does not say how large it is.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// The alternate screen, without a cursor. When it is dropped, the terminal is as
/// it was before.
#[derive(Debug)]
pub struct Screen;

impl Screen {
    /// Returns whether stdout is a terminal that can show another screen.
    pub fn is_there() -> bool {
        io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Changes to the alternate screen.
    pub fn enter() -> io::Result<Self> {
        let screen = Self;
        execute!(PatientStdout::new(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(screen)
    }

    /// Columns and lines.
    pub fn size(&self) -> (u16, u16) {
        terminal::size()
            .ok()
            .filter(|(width, height)| *width > 0 && *height > 0)
            .unwrap_or(USUAL_SIZE)
    }

    /// Shows these lines in place of what was there, as many as fit.
    pub fn show(&self, text: &str) -> io::Result<()> {
        let mut frame = Vec::new();
        queue!(frame, BeginSynchronizedUpdate, MoveTo(0, 0))?;
        let (_, height) = self.size();
        for (number, line) in (0..height).zip(text.lines()) {
            queue!(frame, MoveTo(0, number), Print(line), Clear(ClearType::UntilNewLine))?;
        }
        if text.lines().count() < usize::from(height) {
            queue!(frame, Print("\r\n"), Clear(ClearType::FromCursorDown))?;
        }
        queue!(frame, EndSynchronizedUpdate)?;
        let mut stdout = PatientStdout::new();
        stdout.write_all(&frame)?;
        stdout.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nothing to do where the terminal cannot be written any more.
        let _ = execute!(PatientStdout::new(), EnableLineWrap, Show, LeaveAlternateScreen);
    }
}
