//! Any text as a configuration: settings or problems, never a panic.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use qlik_sessions::{config::Config, snapshot::Rules};

fuzz_target!(|text: &str| {
    match Config::parse(Path::new("/nowhere/config.yaml"), text) {
        Ok(config) => {
            let _ = Rules::new(&config, None);
            for warning in &config.warnings {
                assert!(!warning.to_string().is_empty());
            }
            assert!(config.options.max_line_bytes >= 4096);
            for target in &config.targets {
                assert!(target.virtual_proxy.as_str().starts_with('/'));
                assert!(target.virtual_proxy.session_path().starts_with("/qps/"));
                assert!(!target.server.proxy.authority().is_empty());
            }
        }
        Err(error) => assert!(!error.problems.is_empty(), "an error says what is wrong: {error}"),
    }
});
