//! `who --watch`: looks again and again; in place on a terminal, block by block
//! elsewhere.

use std::{convert::Infallible, time::Duration};

use jiff::Timestamp;
use tokio::{pin, time::sleep};

use super::{
    super::{CommandError, Exit, closed, counted, end, runtime},
    ask::{Answers, Choice, Chosen, NothingChosen},
    blocks, for_programs,
    look::Look,
    screen::Screen,
    show::{Changes, Show, local_time},
    ticks,
};
use crate::{
    cli::WhoOutput,
    config::Config,
    output::{Closed, Output},
    signals,
};

/// How soon the table is drawn again after the window changed its size.
const SIZE_CHECK: Duration = Duration::from_millis(250);

/// Looks until it is asked to end; that is exit code 0.
pub fn watch(
    config: &Config,
    choice: Choice,
    show: Show,
    format: WhoOutput,
    every: Duration,
) -> Result<Exit, CommandError> {
    let chosen = Chosen::new(config, choice, Some(every))?;
    let pages = Pages { show, every, asked: what_is_asked(config) };
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        if format == WhoOutput::Table && Screen::is_there() {
            in_place(chosen, &pages).await
        } else {
            as_blocks(chosen, &pages, format).await
        }
    });
    runtime.shutdown_background();
    result
}

async fn in_place(chosen: Chosen, pages: &Pages) -> Result<Exit, CommandError> {
    let shutdown = signals::shutdown()?;
    let screen = Screen::enter()?;
    tokio::select! {
        Err(error) = refresh_for_ever(chosen, pages, &screen) => Err(error),
        _ = shutdown => Ok(Exit::Done),
    }
}

async fn refresh_for_ever(
    mut chosen: Chosen,
    pages: &Pages,
    screen: &Screen,
) -> Result<Infallible, CommandError> {
    let mut ticks = ticks(pages.every);
    let mut look = None;
    loop {
        let answers: Result<Answers, NothingChosen> = {
            let asking = async {
                ticks.tick().await;
                chosen.ask().await
            };
            pin!(asking);
            loop {
                let size = screen.size();
                screen.show(&pages.page(look.as_ref(), size))?;
                tokio::select! {
                    answers = &mut asking => break answers,
                    () = other_size(screen, size) => {}
                }
            }
        };
        look = Some(Look::new(look, answers?, Timestamp::now()));
    }
}

async fn other_size(screen: &Screen, size: (u16, u16)) {
    while screen.size() == size {
        sleep(SIZE_CHECK).await;
    }
}

async fn as_blocks(chosen: Chosen, pages: &Pages, format: WhoOutput) -> Result<Exit, CommandError> {
    let output = Output::stdout()?;
    let shutdown = signals::shutdown()?;
    tokio::select! {
        Err(error) = write_for_ever(chosen, pages, format, &output) => match error {
            CommandError::Closed(Closed) => closed(&output),
            error => Err(error),
        },
        () = output.closed() => closed(&output),
        signal = shutdown => end(&output, signal).await,
    }
}

async fn write_for_ever(
    mut chosen: Chosen,
    pages: &Pages,
    format: WhoOutput,
    output: &Output,
) -> Result<Infallible, CommandError> {
    let mut ticks = ticks(pages.every);
    let mut before: Option<Look> = None;
    loop {
        ticks.tick().await;
        let answers = chosen.ask().await?;
        let is_first = before.is_none();
        let look = Look::new(before, answers, Timestamp::now());
        let text =
            for_programs(&look, pages.show, format, is_first).unwrap_or_else(|| pages.block(&look));
        output.send(text.into_bytes()).await?;
        before = Some(look);
    }
}

fn what_is_asked(config: &Config) -> String {
    if config.discovery.sources.is_empty() {
        counted(config.targets.len(), "virtual proxy", "virtual proxies")
    } else {
        "the repository service, and all virtual proxies that it lists".to_owned()
    }
}

/// What is shown of each look.
struct Pages {
    show: Show,
    every: Duration,
    /// What is asked, shown until the first look is there.
    asked: String,
}

impl Pages {
    /// The whole screen, of a look or before the first one.
    fn page(&self, look: Option<&Look>, (width, height): (u16, u16)) -> String {
        let show = Show { width: Some(width), ..self.show };
        let Some(look) = look else {
            return show.broken(&format!("asking {} …", self.asked));
        };
        let every = humantime::format_duration(self.every);
        let heading = show
            .broken(&format!("{}, every {every}; Ctrl-C ends it", local_time(look.at)))
            + &show.broken(&show.totals_and_changes(look));
        let height = usize::from(height);
        let top = blocks(&[heading, show.failures(look), show.users_at_limit(look)]);
        let top = cut(&top, height / 2);
        // Above the rows stand an empty line and the header, below them what is left out.
        let most_rows = height.saturating_sub(top.lines().count() + 3);
        let table = Show { most_rows, ..show }.table(look, Changes::Shown);
        cut(&blocks(&[top, table]), height)
    }

    /// The same where it cannot be refreshed in place, with an empty line behind it.
    fn block(&self, look: &Look) -> String {
        let Self { show, .. } = self;
        let heading = format!("{}  {}\n", local_time(look.at), show.totals_and_changes(look));
        blocks(&[
            heading,
            show.failures(look),
            show.users_at_limit(look),
            show.table(look, Changes::Shown),
        ]) + "\n"
    }
}

/// At most this many lines; the last one says how many are left out.
fn cut(text: &str, most: usize) -> String {
    let lines = text.lines().count();
    if lines <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let mut cut: String = text.split_inclusive('\n').take(kept).collect();
    cut.push_str(&format!("… and {}\n", counted(lines - kept, "more line", "more lines")));
    cut
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn what_does_not_fit_is_counted() {
        assert_eq!(cut("a\nb\nc\n", 3), "a\nb\nc\n");
        assert_eq!(cut("a\nb\nc\nd\n", 3), "a\nb\n… and 2 more lines\n");
    }
}
