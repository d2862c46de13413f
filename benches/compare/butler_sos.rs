//! The whole pipeline next to Butler SOS, in turns: the same site, the same InfluxDB.
//! Butler SOS is no part of this project: `BUTLER_SOS` names a checkout of it, with its
//! dependencies installed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    PROGRAM, Plan, USUAL,
    nginx::Nginx,
    process::{Family, is_installed},
    servers::InfluxDb,
    table::{Table, mb, median, ms},
    vector,
};

/// Details of sessions, and what they may cost at most, as a multiple of Butler SOS.
const DETAILS: [(&str, f64); 3] = [("snapshot", 2.0), ("grouped", 0.7), ("changes", 0.2)];
/// What Vector and the program may take together, in MB.
const MEMORY_LIMIT: f64 = 90.0;
/// The first polls are not measured: programs load, and buffers grow.
const WARM_UP: Duration = Duration::from_secs(15);

/// The part of Butler SOS's file that stands for the InfluxDB of this benchmark.
const DATABASE: &str = "butler";

/// A way from the site to InfluxDB.
struct Pipeline {
    name: String,
    command: Command,
    /// Where its summaries are.
    summaries: String,
    /// What a poll cost in each run: CPU of all its processes, in ms.
    costs: Vec<f64>,
    /// Peaks of its processes in each run, in MB.
    memory: Vec<f64>,
}

impl Pipeline {
    fn new(name: &str, command: Command, database: &str) -> Self {
        let summaries = format!("{database}..user_session_summary");
        Self { name: name.to_owned(), command, summaries, costs: vec![], memory: vec![] }
    }

    /// Runs it for some polls.
    fn measure(&mut self, influxdb: &InfluxDb, polls: usize) {
        let processes = Family::start(&mut self.command);
        thread::sleep(WARM_UP);
        let (begin, cpu) = (self.polls(influxdb), processes.cpu());
        thread::sleep(Duration::from_secs(polls as u64));
        let (end, cpu) = (self.polls(influxdb), processes.cpu() - cpu);
        assert!(end > begin, "{} writes nothing", self.name);
        self.costs.push(ms(cpu) / (end - begin));
        self.memory.push(mb(processes.memory()));
    }

    /// How many polls are in InfluxDB.
    fn polls(&self, influxdb: &InfluxDb) -> f64 {
        let query = format!("SELECT count(session_count) FROM {}", self.summaries);
        let answer = influxdb.query(&query).expect("InfluxDB answers");
        let count = answer["results"][0]["series"][0]["values"][0][1].as_f64();
        count.unwrap_or_default() / USUAL.len() as f64
    }

    fn cost(&self) -> f64 {
        median(self.costs.clone())
    }
}

pub fn compare(plan: &Plan, folder: &Path, nginx: &Nginx, table: &mut Table) {
    let Some(checkout) = env::var_os("BUTLER_SOS").map(PathBuf::from) else {
        eprintln!("BUTLER_SOS names no checkout of Butler SOS: the comparison with it is left out");
        return;
    };
    if let Some(missing) = ["node", "influxd"].into_iter().find(|name| !is_installed(name)) {
        eprintln!("{missing} is not installed: the comparison with Butler SOS is left out");
        return;
    }
    let influxdb = InfluxDb::start();
    let own = nginx.tagged_config(folder, &USUAL);
    let mut butler_sos = butler_sos(&checkout, folder, Path::new(&own), &influxdb);
    let mut pipelines = DETAILS.map(|(details, _)| pipeline(folder, &own, details, &influxdb));
    for _ in 0..plan.runs.div_ceil(2) {
        butler_sos.measure(&influxdb, plan.polls);
        for pipeline in &mut pipelines {
            pipeline.measure(&influxdb, plan.polls);
        }
    }
    let usual = butler_sos.cost();
    let measured = format!("{usual:.1} ms, peak {:.0} MB", median(butler_sos.memory));
    table.row("Butler SOS, a poll of 1,100 sessions into InfluxDB 1", &measured, "", None);
    for (pipeline, (_, limit)) in pipelines.iter().zip(DETAILS) {
        let (cost, memory) = (pipeline.cost(), median(pipeline.memory.clone()));
        table.row(
            &format!("`stream`, Vector and its disk buffer, `{}`", pipeline.name),
            &format!("{cost:.1} ms: {:.2} ×, peak {memory:.0} MB", cost / usual),
            &format!("{limit:.1} ×, {MEMORY_LIMIT:.0} MB"),
            Some(cost / usual <= limit && memory <= MEMORY_LIMIT),
        );
    }
}

/// Vector as shipped for InfluxDB 1, with these details of sessions.
fn pipeline(folder: &Path, config: &str, details: &str, influxdb: &InfluxDb) -> Pipeline {
    let text = fs::read_to_string(config).expect("it was written");
    let config = folder.join(format!("{details}.yaml"));
    fs::write(&config, format!("{text}  sessionSource: {{sessionDetails: {details}}}\n"))
        .expect("the folder can be written");
    let data = folder.join(format!("data-{details}"));
    fs::create_dir_all(&data).expect("the folder can be written");
    let mut vector = vector::read("qlik-sessions.yaml");
    vector["data_dir"] = json!(data);
    let source = &mut vector["sources"]["qlik_sessions"];
    source["command"] = json!([PROGRAM, "stream", "--log-format=json", "--config", config]);
    let output = vector::read("outputs/influxdb-v1.yaml");
    let transforms = vector["transforms"].as_object_mut().expect("transforms");
    transforms.extend(output["transforms"].as_object().expect("transforms").clone());
    vector["sinks"] = output["sinks"].clone();
    let address = format!("http://127.0.0.1:{}/write?db=SenseOps&precision=ms", influxdb.port);
    vector["sinks"]["qlik_sessions_influxdb_v1"]["uri"] = json!(address);
    let path = folder.join(format!("pipeline-{details}.json"));
    fs::write(&path, vector.to_string()).expect("the folder can be written");
    let mut command = Command::new("vector");
    command.args(["--quiet", "--config"]).arg(path).stdout(Stdio::null());
    Pipeline::new(details, command, "SenseOps")
}

/// Butler SOS with its own template, in which all is switched off but sessions.
fn butler_sos(checkout: &Path, folder: &Path, own: &Path, influxdb: &InfluxDb) -> Pipeline {
    let read = |path: &Path| -> Value {
        let text = fs::read_to_string(path).expect("it can be read");
        serde_yaml::from_str(&text).expect("it is YAML")
    };
    let mut config = read(&checkout.join("src/config/production_template.yaml"));
    let own = &read(own)["Butler-SOS"];
    let mut servers = own["serversToMonitor"]["servers"].clone();
    servers[0]["headers"] = Value::Null;
    for (pointer, value) in [
        ("fileLogging", json!(false)),
        ("crashFile/enable", json!(false)),
        ("systemInfo/enable", json!(false)),
        ("anonTelemetry", json!(false)),
        ("uptimeMonitor/enable", json!(false)),
        ("logEvents/source/qixPerf/enable", json!(false)),
        ("appNames/enableAppNameExtract", json!(false)),
        // What is not used has to look like a host all the same.
        ("userEvents/udpServerConfig/serverHost", json!("localhost")),
        ("logEvents/udpServerConfig/serverHost", json!("localhost")),
        ("mqttConfig/brokerHost", json!("localhost")),
        ("prometheus/host", json!("localhost")),
        ("appNames/hostIP", json!("localhost")),
        ("influxdbConfig/host", json!("127.0.0.1")),
        ("influxdbConfig/port", json!(influxdb.port)),
        ("influxdbConfig/version", json!(1)),
        ("influxdbConfig/v1Config/dbName", json!(DATABASE)),
        ("cert/clientCert", json!(folder.join("client.pem"))),
        ("cert/clientCertKey", json!(folder.join("client_key.pem"))),
        ("cert/clientCertCA", json!(folder.join("root.pem"))),
        ("cert/clientCertPassphrase", json!("")),
        ("userSessions/pollingInterval", own["userSessions"]["pollingInterval"].clone()),
        // The engines of the servers are another matter, and not there.
        ("serversToMonitor/pollingInterval", json!(86_400_000)),
        ("serversToMonitor/serverTagsDefinition", json!(["environment", "location"])),
        ("serversToMonitor/servers", servers),
    ] {
        let place = config.pointer_mut(&format!("/Butler-SOS/{pointer}"));
        *place.unwrap_or_else(|| panic!("Butler SOS's template has {pointer}")) = value;
    }
    let path = folder.join("butler-sos.yaml");
    fs::write(&path, config.to_string()).expect("the folder can be written");
    let mut command = Command::new("node");
    command.arg(checkout.join("src/butler-sos.js")).arg("-c").arg(path);
    // From there it finds its reader of YAML.
    command.current_dir(checkout).stdout(Stdio::null()).stderr(Stdio::null());
    Pipeline::new("Butler SOS", command, DATABASE)
}
