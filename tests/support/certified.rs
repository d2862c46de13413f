//! Sites with certificates of some shape, and whether the program takes them.

use std::time::Duration;

use qlik_sessions::site::{Certificates, Shape, Site};

use crate::support::{Finished, Fixture, of_kind, sessions};

/// A site with certificates of a shape; it is dialled by `host`.
pub fn site(shape: &Shape, host: &str, session_source: &str) -> Fixture {
    let site = Site::start_with(Certificates::shaped(shape), &[("sense1", &["/"])], None)
        .expect("the site starts");
    site.set_sessions("sense1", "/", &sessions(3));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = site
        .write_config_with(folder.path(), Duration::from_secs(1), session_source)
        .expect("written");
    let fixture = Fixture { site, folder, config };
    fixture.edit("\"127.0.0.1:", &format!("\"{host}:"));
    fixture
}

pub fn accepted(fixture: &Fixture) -> Finished {
    let run = fixture.once();
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert_eq!(of_kind(&run.events(), "session").len(), 3);
    run
}

/// The failure, whose message and hint hold these words.
pub fn refused(fixture: &Fixture, category: &str, words: &[&str]) {
    let run = fixture.once();
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let events = run.events();
    let error = of_kind(&events, "poll_error")[0].clone();
    assert_eq!(error["category"], category, "{error}");
    let text = format!("{} {}", error["message"], error["hint"]);
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    let check = Finished::of(fixture.command("check"));
    assert_eq!(check.code, Some(1));
    for word in words {
        let word = word.replace("\\\\", "\\");
        assert!(check.stdout.contains(&word), "{word:?} is not in {}", check.stdout);
    }
}
