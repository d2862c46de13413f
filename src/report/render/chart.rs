//! Charts, as SVG within the page. Each is drawn twice, for a wide and for a narrow page,
//! because the text of a chart that is scaled down cannot be read.

use std::fmt::Write;

use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::scale::{NumberScale, TimeScale};
use crate::report::totals::{FailureSeries, Gap, HourOfWeek, Point, Span, Time};

/// Widths of the drawings.
const WIDTHS: [(f64, &str); 2] = [(960.0, "wide"), (344.0, "narrow")];

/// Room for the numbers of an axis, and for their unit above them.
const LEFT: f64 = 44.0;
const TOP: f64 = 24.0;

/// Numbers of sessions and users over time.
#[derive(Debug)]
pub struct Lines<'a> {
    /// What it shows, for those who cannot see it.
    pub label: String,
    /// Height of the plot.
    pub height: f64,
    /// The first and the last time of the axis.
    pub bounds: (Time, Time),
    /// Sessions and users at each time; none where they are not known.
    pub points: &'a [Point],
    /// Times without polls.
    pub gaps: &'a [Gap],
    /// Where the days begin.
    pub zone: &'a TimeZone,
}

impl Lines<'_> {
    /// The drawing.
    pub fn draw(&self) -> Markup {
        html! { @for (width, class) in WIDTHS { (self.draw_at(width, class)) } }
    }

    fn draw_at(&self, width: f64, class: &str) -> Markup {
        let times =
            TimeScale { from: self.bounds.0, to: self.bounds.1, left: LEFT, right: width - 14.0 };
        let most = self.points.iter().filter_map(|point| point.sessions.max(point.users)).max();
        let numbers = NumberScale::new(most.unwrap_or(0), self.height - 34.0, TOP);
        let times_of = |pick: fn(&Point) -> Option<u64>| {
            self.points.iter().map(|point| (point.time, pick(point))).collect::<Vec<_>>()
        };
        let (sessions, users) = (times_of(|point| point.sessions), times_of(|point| point.users));
        html! {
            svg class=(class) role="img" aria-label=(self.label)
                viewBox=(format!("0 0 {width} {}", self.height)) {
                @for gap in self.gaps {
                    @let x = times.x(gap.from.0);
                    rect.gap x=(px(x)) width=(px((times.x(gap.to.0) - x).max(1.0)))
                        y=(px(numbers.top)) height=(px(numbers.bottom - numbers.top)) {
                        title { "no polls" }
                    }
                }
                (number_axis(&numbers, "sessions, users", times.left, times.right))
                (time_axis(&times, self.zone, numbers.bottom))
                path.users d=(path(&users, self.gaps, &times, &numbers)) {}
                path.sessions d=(path(&sessions, self.gaps, &times, &numbers)) {}
                @for (x, length) in marks(unknown(self.points), &times) {
                    rect.failed x=(px(x)) width=(px(length)) y=(px(numbers.bottom)) height="5" {}
                }
            }
        }
    }
}

/// Times at which the number is not known.
fn unknown(points: &[Point]) -> impl Iterator<Item = Time> + '_ {
    points.iter().filter(|point| point.sessions.is_none()).map(|point| point.time)
}

fn number_axis(numbers: &NumberScale, unit: &str, left: f64, right: f64) -> Markup {
    html! {
        text.start x="0" y="11" { (unit) }
        @for (y, number) in numbers.ticks() {
            line.grid x1=(px(left)) x2=(px(right)) y1=(px(y)) y2=(px(y)) {}
            text.end x=(px(left - 6.0)) y=(px(y + 4.0)) { (number) }
        }
    }
}

fn time_axis(times: &TimeScale, zone: &TimeZone, bottom: f64) -> Markup {
    html! {
        @for (x, label) in times.ticks(zone) {
            line.tick x1=(px(x)) x2=(px(x)) y1=(px(bottom)) y2=(px(bottom + 8.0)) {}
            // A label at the right edge would stand out of the drawing.
            @if x < times.right - 24.0 {
                @let class = if x < times.left + 24.0 { "start" } else { "middle" };
                text class=(class) x=(px(x)) y=(px(bottom + 22.0)) { (label) }
            }
        }
    }
}

/// A line with gaps where nothing is known. Of the numbers that share a pixel, the
/// greatest is drawn.
fn path(
    points: &[(Time, Option<u64>)],
    gaps: &[Gap],
    times: &TimeScale,
    numbers: &NumberScale,
) -> String {
    let mut places: Vec<Place> = Vec::new();
    let mut is_joined = false;
    let mut gaps = gaps.iter().map(|gap| gap.from.0).peekable();
    for &(time, value) in points {
        match value {
            Some(value) => {
                let place = Place { x: times.x(time), y: numbers.y(value), is_joined };
                add_place(&mut places, place);
                is_joined = true;
            }
            None => is_joined = false,
        }
        if gaps.next_if_eq(&time).is_some() {
            is_joined = false;
        }
    }
    written(&places)
}

/// A point of a line.
#[derive(Clone, Copy, Debug)]
struct Place {
    x: f64,
    y: f64,
    /// Whether a line leads here from the point before.
    is_joined: bool,
}

/// Joins points that are less than a pixel apart: a month has more polls than a page has
/// pixels. A gap shorter than that is not drawn; the marks below the axis show it.
fn add_place(places: &mut Vec<Place>, mut place: Place) {
    if let Some(last) = places.last_mut() {
        if place.x - last.x < 1.0 {
            last.y = last.y.min(place.y);
            return;
        }
        place.is_joined |= place.x - last.x < 2.0;
    }
    places.push(place);
}

fn written(places: &[Place]) -> String {
    let mut path = String::new();
    for (number, place) in places.iter().enumerate() {
        let command = if place.is_joined { 'L' } else { 'M' };
        let _ = write!(path, "{command}{:.1} {:.1}", place.x, place.y);
        // A single point is visible because the line's ends are round.
        if !place.is_joined && places.get(number + 1).is_none_or(|next| !next.is_joined) {
            path.push_str("h0");
        }
    }
    path
}

/// Marks for times, joined where they touch: where each begins, how long it is.
fn marks(of: impl Iterator<Item = Time>, times: &TimeScale) -> Vec<(f64, f64)> {
    let mut marks: Vec<(f64, f64)> = Vec::new();
    for time in of {
        let x = times.x(time);
        match marks.last_mut() {
            Some((start, length)) if x - (*start + *length) < 1.5 => {
                *length = (x + 2.0 - *start).max(*length);
            }
            _ => marks.push((x, 2.0)),
        }
    }
    marks
}

/// The greatest number of sessions of each day.
#[derive(Debug)]
pub struct Bars<'a> {
    /// What it shows, for those who cannot see it.
    pub label: String,
    /// The days.
    pub days: &'a [Span],
}

impl Bars<'_> {
    /// The drawing.
    pub fn draw(&self) -> Markup {
        html! { @for (width, class) in WIDTHS { (self.draw_at(width, class)) } }
    }

    fn draw_at(&self, width: f64, class: &str) -> Markup {
        let most = self.days.iter().filter_map(|day| day.peak_sessions).max().unwrap_or(0);
        let numbers = NumberScale::new(most, 156.0, TOP);
        let (left, right) = (LEFT, width - 8.0);
        let slot = ((right - left) / self.days.len().max(1) as f64).min(60.0);
        let every = (52.0 / slot).ceil().max(1.0) as usize;
        html! {
            svg class=(class) role="img" aria-label=(self.label)
                viewBox=(format!("0 0 {width} 190")) {
                (number_axis(&numbers, "sessions", left, right))
                @for (number, day) in self.days.iter().enumerate() {
                    @let x = left + number as f64 * slot;
                    (bar(day, x, slot, &numbers))
                    @if number % every == 0 && x + 50.0 <= width.max(x + slot) {
                        text.start x=(px(x + slot * 0.1)) y="178" { (short_date(day)) }
                    }
                }
            }
        }
    }
}

fn bar(day: &Span, x: f64, slot: f64, numbers: &NumberScale) -> Markup {
    let (x, width) = (x + slot * 0.1, slot * 0.8);
    let date = day.date.as_deref().unwrap_or_default();
    html! {
        @if let Some(peak) = day.peak_sessions {
            rect.bar x=(px(x)) width=(px(width)) y=(px(numbers.y(peak)))
                height=(px(numbers.bottom - numbers.y(peak))) {
                title { (date) ": " (peak) " sessions" }
            }
        } @else {
            rect.gap x=(px(x)) width=(px(width)) y=(px(numbers.top))
                height=(px(numbers.bottom - numbers.top)) {
                title { (date) ": not known" }
            }
        }
    }
}

/// `26 Oct` of a day.
fn short_date(day: &Span) -> String {
    let date = day.date.as_deref().and_then(|date| date.parse::<jiff::civil::Date>().ok());
    date.map_or_else(String::new, |date| date.strftime("%-d %b").to_string())
}

/// Names of the days of the week.
pub const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Sessions by weekday and hour.
pub fn heat_map(hours: &[HourOfWeek], label: &str) -> Markup {
    html! { @for (width, class) in WIDTHS { (heat_map_at(hours, label, width, class)) } }
}

fn heat_map_at(hours: &[HourOfWeek], label: &str, width: f64, class: &str) -> Markup {
    let cell = (width - LEFT - 4.0) / 24.0;
    let height = 20.0;
    let every = if cell < 24.0 { 6 } else { 2 };
    let most = hours.iter().map(|hour| hour.mean_sessions).fold(0.0, f64::max).max(f64::EPSILON);
    let place = |hour: u8, weekday: u8| {
        (LEFT + f64::from(hour) * cell, f64::from(weekday - 1) * height + 2.0)
    };
    html! {
        svg class=(class) role="img" aria-label=(label) viewBox=(format!("0 0 {width} 164")) {
            @for (number, weekday) in WEEKDAYS.iter().enumerate() {
                text.end x=(px(LEFT - 6.0)) y=(px(number as f64 * height + 16.0)) { (weekday) }
                rect.frame x=(px(LEFT)) width=(px(cell * 24.0))
                    y=(px(number as f64 * height + 2.0)) height=(px(height - 2.0)) {}
            }
            @for hour in hours {
                @let (x, y) = place(hour.hour, hour.weekday);
                rect.known x=(px(x)) y=(px(y)) width=(px(cell - 1.0)) height=(px(height - 2.0)) {}
                rect.heat x=(px(x)) y=(px(y)) width=(px(cell - 1.0)) height=(px(height - 2.0))
                    fill-opacity=(format!("{:.2}", hour.mean_sessions / most)) {
                    title {
                        (WEEKDAYS[usize::from(hour.weekday - 1)]) " " (format!("{:02}", hour.hour))
                        ":00: " (format!("{:.1}", hour.mean_sessions)) " sessions on average, "
                        (hour.peak_sessions) " at most"
                    }
                }
            }
            @for hour in (0..24).step_by(every) {
                text.start x=(px(LEFT + f64::from(hour) * cell)) y="158" {
                    (format!("{hour:02}:00"))
                }
            }
        }
    }
}

/// When something could not be read, a row for each reason.
pub fn failure_rows(failures: &[FailureSeries], bounds: (Time, Time), zone: &TimeZone) -> Markup {
    html! { @for (width, class) in WIDTHS { (failure_rows_at(failures, bounds, zone, width, class)) } }
}

fn failure_rows_at(
    failures: &[FailureSeries],
    bounds: (Time, Time),
    zone: &TimeZone,
    width: f64,
    class: &str,
) -> Markup {
    let times = TimeScale { from: bounds.0, to: bounds.1, left: 8.0, right: width - 14.0 };
    let row = 36.0;
    let bottom = failures.len() as f64 * row + 6.0;
    html! {
        svg class=(class) role="img" aria-label="Failures over time; the table below has the numbers"
            viewBox=(format!("0 0 {width} {}", bottom + 30.0)) {
            @for (number, failure) in failures.iter().enumerate() {
                @let y = number as f64 * row;
                text.start x=(px(times.left)) y=(px(y + 16.0)) {
                    (shortened(&failure.server_name, 24)) " "
                    (shortened(failure.virtual_proxy.as_deref().unwrap_or("repository service"), 18))
                    ": " (failure.category)
                }
                rect.frame x=(px(times.left)) width=(px(times.right - times.left + 2.0))
                    y=(px(y + 22.0)) height="10" {}
                @for (x, length) in marks(failure.times.iter().copied(), &times) {
                    rect.failed x=(px(x)) width=(px(length)) y=(px(y + 22.0)) height="10" {}
                }
            }
            (time_axis(&times, zone, bottom))
        }
    }
}

/// SVG does not wrap lines.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// A place in a drawing; a tenth of a pixel is enough.
fn px(place: f64) -> String {
    format!("{place:.1}")
}

#[cfg(test)]
mod tests {
    use super::{marks, path};
    use crate::report::{
        render::scale::{NumberScale, TimeScale},
        totals::{At, Gap},
    };

    const TIMES: TimeScale = TimeScale { from: 0, to: 100, left: 0.0, right: 100.0 };

    #[test]
    fn a_line_is_broken_where_nothing_is_known() {
        let numbers = NumberScale::new(10, 10.0, 0.0);
        let points = [(0, Some(0)), (10, Some(10)), (20, None), (30, Some(5)), (40, None)];
        assert_eq!(path(&points, &[], &TIMES, &numbers), "M0.0 10.0L10.0 0.0M30.0 5.0h0");
        let gap = Gap { from: At(20), to: At(90), seconds: 70 };
        let late = [(0, Some(0)), (10, Some(0)), (20, Some(0)), (90, Some(10)), (100, Some(10))];
        assert_eq!(
            path(&late, &[gap], &TIMES, &numbers),
            "M0.0 10.0L10.0 10.0L20.0 10.0M90.0 0.0L100.0 0.0"
        );
    }

    #[test]
    fn marks_that_touch_are_one() {
        assert_eq!(marks([1, 2, 3, 50].into_iter(), &TIMES), [(1.0, 4.0), (50.0, 2.0)]);
    }
}
