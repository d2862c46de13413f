//! The table in place, in a real terminal.

use std::process::Command;

use qlik_sessions::site::SimulatedSession;

use crate::{
    Test,
    support::{Fixture, wait_until},
    tests,
};

/// The tests, and the programs that each needs.
pub const TESTS: &[Test] = tests![
    ["tmux"] watch_refreshes_a_terminal_in_place_and_leaves_it_as_it_was,
];

/// A shell in a terminal of its own.
struct Terminal<'f> {
    fixture: &'f Fixture,
}

impl<'f> Terminal<'f> {
    fn new(fixture: &'f Fixture) -> Self {
        let terminal = Self { fixture };
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "90", "-y", "20", "sh"]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(self.fixture.path("tmux"))
            .args(arguments)
            .output()
            .expect("tmux runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("it writes UTF-8")
    }

    fn enter(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.tmux(&["send-keys", "Enter"]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn wait_for(&self, text: &str) -> String {
        wait_until(text, || Some(self.screen()).filter(|screen| screen.contains(text)))
    }

    /// Whether the other screen is shown, the cursor is, and lines are wrapped.
    fn modes(&self) -> String {
        self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag} #{wrap_flag}"])
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

fn watch_refreshes_a_terminal_in_place_and_leaves_it_as_it_was() {
    let fixture = Fixture::new(&[("sense1", &["/"])], "");
    let session = |id: &str, user: &str| SimulatedSession::new(id, "LAB", user);
    fixture.site.set_sessions("sense1", "/", &[session("a", "goran"), session("b", "maria")]);
    let terminal = Terminal::new(&fixture);
    let settings = |name: &str| {
        let path = fixture.path(name);
        terminal.enter(&format!("stty -a > {}; echo settings' of '{name}", path.display()));
        terminal.wait_for(&format!("settings of {name}"));
        std::fs::read_to_string(path).expect("stty wrote it")
    };
    let before = settings("before");
    let modes = terminal.modes();

    let watch = [
        env!("CARGO_BIN_EXE_qlik-sessions"),
        " who --watch -c ",
        fixture.config.to_str().expect("a name in Unicode"),
    ];
    terminal.enter(&format!("{}; echo it ended' with '$?", watch.concat()));
    let screen = terminal.wait_for("2 sessions of 2 distinct users");
    assert!(screen.contains("every 1s; Ctrl-C ends it"), "{screen}");
    assert!(!screen.contains("settings of before"), "{screen}");

    fixture.site.set_sessions("sense1", "/", &[session("a", "goran"), session("c", "kofi")]);
    let screen = terminal.wait_for("1 went");
    assert_eq!(screen.matches("USER").count(), 1, "in place: {screen}");
    terminal.wait_for("2 sessions of 2 distinct users on 1 virtual proxy\n");
    assert!(!terminal.screen().contains("maria"));

    // A smaller window shows what fits.
    let users: Vec<SimulatedSession> =
        (0..30).map(|number| session(&format!("s{number}"), &format!("user{number}"))).collect();
    fixture.site.set_sessions("sense1", "/", &users);
    terminal.tmux(&["resize-window", "-x", "60", "-y", "10"]);
    terminal.wait_for("… and 2");

    terminal.tmux(&["send-keys", "C-c"]);
    let screen = terminal.wait_for("it ended with 0");
    assert!(!screen.contains("user1"), "{screen}");
    assert_eq!(terminal.modes(), modes);
    terminal.tmux(&["resize-window", "-x", "90", "-y", "20"]);
    assert_eq!(settings("after"), before);
}
