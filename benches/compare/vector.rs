//! What a poll costs in Vector, with the shipped files and nowhere to send to.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    Plan, USUAL,
    nginx::Nginx,
    process::ended_children_user_cpu,
    program,
    table::{Table, median, ms},
};

/// Outputs, and what each may cost at most, as a multiple of taking the lines in.
const OUTPUTS: [(&str, f64); 6] = [
    ("influxdb-v1", 3.5),
    ("influxdb-v2", 3.5),
    ("elasticsearch", 3.5),
    ("elasticsearch-index", 3.5),
    ("opentelemetry", 6.5),
    ("loki", 2.5),
];
const BASE_LIMIT: f64 = 2.1;

/// A configuration for Vector, and what it cost in each run.
struct Measured {
    name: String,
    limit: Option<f64>,
    config: PathBuf,
    costs: Vec<f64>,
}

impl Measured {
    fn new(folder: &Path, name: &str, limit: Option<f64>, config: &Value) -> Self {
        let path = folder.join(format!("vector-{name}.json"));
        fs::write(&path, config.to_string()).expect("the folder can be written");
        Self { name: name.to_owned(), limit, config: path, costs: Vec::new() }
    }

    fn cost(&self) -> f64 {
        median(self.costs.clone())
    }
}

/// The base and the outputs, each as a multiple of Vector only taking the lines in.
pub fn outputs(plan: &Plan, folder: &Path, nginx: &Nginx, table: &mut Table) {
    let poll = record_poll(folder, nginx);
    let nothing = folder.join("nothing");
    fs::write(&nothing, "").expect("the folder can be written");
    let source = |lines: &Path| configuration(folder, plan.polls, lines, None);
    let mut all = vec![
        Measured::new(folder, "start", None, &source(&nothing)),
        Measured::new(folder, "source", None, &source(&poll)),
    ];
    for (name, limit) in [("base", BASE_LIMIT)].into_iter().chain(OUTPUTS) {
        let config = configuration(folder, plan.polls, &poll, Some(name));
        all.push(Measured::new(folder, name, Some(limit), &config));
    }
    for _ in 0..plan.runs.div_ceil(3) {
        for measured in &mut all {
            measured.costs.push(run(&measured.config));
        }
    }
    let per_poll = |measured: &Measured| (measured.cost() - all[0].cost()) / plan.polls as f64;
    let source = per_poll(&all[1]);
    table.row("Vector takes a poll of 1,103 events in", &format!("{source:.1} ms"), "", None);
    for measured in &all[2..] {
        let (cost, limit) = (per_poll(measured), measured.limit.expect("it has one"));
        table.row(
            &format!("the same with `{}`", measured.name),
            &format!("{cost:.1} ms: {:.2} ×", cost / source),
            &format!("{limit:.1} ×"),
            Some(cost / source <= limit),
        );
    }
}

/// The lines of one poll of a server with a description and tags, as most have them.
fn record_poll(folder: &Path, nginx: &Nginx) -> PathBuf {
    let config = nginx.tagged_config(folder, &USUAL);
    let output = program(&["once", "--config", &config]).output().expect("the program was built");
    assert!(output.status.success(), "{output:?}");
    let path = folder.join("poll.ndjson");
    fs::write(&path, output.stdout).expect("the folder can be written");
    path
}

/// The shipped configuration with some polls of these lines, a second between two. Where the outputs would send to, everything is thrown away.
fn configuration(folder: &Path, polls: usize, lines: &Path, output: Option<&str>) -> Value {
    let base = read("qlik-sessions.yaml");
    let mut source = base["sources"]["qlik_sessions"].clone();
    let script = format!("for poll in $(seq {polls}); do cat {}; sleep 1; done", lines.display());
    source["command"] = json!(["sh", "-c", script]);
    source["streaming"] = json!({"respawn_on_exit": false});
    let mut transforms = json!({});
    let mut inputs = BTreeSet::from(["qlik_sessions".to_owned()]);
    if let Some(output) = output {
        transforms = base["transforms"].clone();
        inputs = BTreeSet::from(["qlik_sessions_events".to_owned()]);
        if output != "base" {
            let output = read(&format!("outputs/{output}.yaml"));
            let of_output = output["transforms"].as_object().expect("transforms");
            transforms.as_object_mut().expect("transforms").extend(of_output.clone());
            inputs = inputs_of_sinks(&output);
        }
    }
    json!({
        "data_dir": folder,
        "sources": {"qlik_sessions": source},
        "transforms": transforms,
        "sinks": {"nowhere": {"type": "blackhole", "inputs": inputs, "print_interval_secs": 0}},
    })
}

fn inputs_of_sinks(output: &Value) -> BTreeSet<String> {
    let sinks = output["sinks"].as_object().expect("sinks");
    let inputs = sinks.values().flat_map(|sink| sink["inputs"].as_array().expect("inputs"));
    inputs.map(|input| input.as_str().expect("a name").to_owned()).collect()
}

/// A shipped file.
pub fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vector").join(name);
    let text = fs::read_to_string(path).expect("it is shipped");
    serde_yaml::from_str(&text).expect("it is YAML")
}

/// User CPU of Vector until the lines end, in ms.
fn run(config: &Path) -> f64 {
    let before = ended_children_user_cpu();
    let status = Command::new("vector")
        .args(["--quiet", "--config"])
        .arg(config)
        .stdout(Stdio::null())
        .status()
        .expect("vector runs");
    assert!(status.success(), "{status}");
    ms(ended_children_user_cpu() - before)
}
