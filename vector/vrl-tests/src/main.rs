//! `run-transforms OUTPUT.yaml TRANSFORM`: lines of the program on stdin, and on stdout
//! what that transform of an output makes of them, an event to a line. Stands in for
//! Vector where a test wants its documents and Vector is not there.

use std::{env, io, path::Path};

use serde_json::Value as Json;
use vrl_tests::{Pipeline, raw_event};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [output, transform] = arguments.as_slice() else {
        eprintln!("usage: run-transforms OUTPUT.yaml TRANSFORM");
        std::process::exit(2);
    };
    let lines = io::stdin().lines().map(|line| line.expect("lines are UTF-8"));
    let raw = lines.map(|line| raw_event(&line, "stdout")).collect();
    for event in Pipeline::new(Path::new(output), raw).events_of(transform) {
        let event: Json = event.try_into().expect("an event is JSON");
        println!("{event}");
    }
}
