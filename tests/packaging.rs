//! What packages hold: the program's version, completions, manual pages, and the
//! example configurations.

mod support;

use std::{fs, process::Command};

use support::{Finished, Fixture, of_kind, program};

fn run(arguments: &[&str]) -> String {
    let mut command = program();
    command.args(arguments);
    let run = Finished::of(command);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.stdout
}

/// The commands, as `--help` lists them.
fn commands() -> Vec<String> {
    let help = run(&["--help"]);
    let list = help.split("Commands:\n").nth(1).expect("help lists the commands");
    list.lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        // A long description goes on in an indented line.
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_version_has_the_commit_and_its_date_where_they_are_known() {
    let git = Command::new("git")
        .args(["--git-dir=.git", "log", "-1", "--format=%h %cs"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let mut expected = format!("qlik-sessions {}", env!("CARGO_PKG_VERSION"));
    let version = run(&["--version"]);
    match git {
        Ok(git) if git.status.success() => {
            expected.push_str(&format!(" ({})", String::from_utf8_lossy(&git.stdout).trim()));
            assert_eq!(version.trim_end(), expected);
        }
        // It may have been built where there is Git.
        _ => assert!(version.starts_with(&expected), "{version}"),
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(&["man", folder.path().to_str().expect("a name in Unicode")]);
    let page = |name: &str| {
        fs::read_to_string(folder.path().join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert!(page("qlik-sessions.1").contains("Exit codes"));
    let commands = commands();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        assert!(page(&format!("qlik-sessions-{command}.1")).starts_with(".ie"), "{command}");
    }
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(run(&["completions", shell]).contains("virtual-proxy"), "{shell}");
    }
}

/// Elasticsearch and OpenSearch refuse a template that has a key twice.
#[test]
fn index_templates_have_each_key_once() {
    for name in ["elasticsearch", "opensearch"] {
        let path = format!("vector/outputs/{name}-index-template.json");
        let text = fs::read_to_string(&path).expect("the template is shipped");
        // JSON is YAML, and this reader refuses a key that stands twice.
        let template = serde_yaml::from_str::<serde_yaml::Value>(&text);
        assert!(template.is_ok(), "{path}: {template:?}");
    }
}

/// With certificates and an address, the examples are complete.
#[test]
fn example_configurations_poll() {
    for name in ["config.yaml", "config-windows.yaml"] {
        let example = fs::read_to_string(format!("packaging/{name}")).expect("it is shipped");
        let fixture = Fixture::new(&[("sense1", &["/"])], "");
        let here = example
            .replace(r"C:\ProgramData\qlik-sessions\", "")
            .replace("/var/lib/qlik-sessions/", "")
            .replace("sense1.company.com:4243", &fixture.site.address("sense1").to_string());
        fs::write(&fixture.config, here).expect("written");
        let run = fixture.once();
        assert_eq!(run.code, Some(0), "{name}: {}", run.stderr);
        assert!(!run.stderr.contains("WARN"), "{name}: {}", run.stderr);
        assert_eq!(of_kind(&run.events(), "session_summary").len(), 1, "{name}");
        assert!(fixture.path("state.json").is_file(), "{name}");
    }
}
