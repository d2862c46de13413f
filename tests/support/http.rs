//! Plain HTTP requests with answers in JSON.

#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Method, header::CONTENT_TYPE};
use serde_json::Value;

/// The answer to a GET; the error names the status and the body.
pub fn get(url: &str) -> Result<Value, String> {
    request(Method::GET, url, "application/json", "")
}

pub fn put(url: &str, json: &str) -> Result<Value, String> {
    request(Method::PUT, url, "application/json", json)
}

pub fn delete(url: &str) -> Result<Value, String> {
    request(Method::DELETE, url, "application/json", "")
}

pub fn post(url: &str, json: &str) -> Result<Value, String> {
    request(Method::POST, url, "application/json", json)
}

/// As Grafana asks OpenSearch for several searches at once.
pub fn post_lines(url: &str, lines: &str) -> Result<Value, String> {
    request(Method::POST, url, "application/x-ndjson", lines)
}

/// As a web form is sent.
pub fn post_form(url: &str, fields: &[(&str, &str)]) -> Result<Value, String> {
    request(Method::POST, url, "application/x-www-form-urlencoded", &parameters(fields))
}

/// Names and values as part of an address.
pub fn parameters(fields: &[(&str, &str)]) -> String {
    let encoded: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    encoded.join("&")
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn request(method: Method, url: &str, content_type: &str, body: &str) -> Result<Value, String> {
    // Without a provider of cryptography there is no client, not even for plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let answer = async {
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build()?;
        let request = client.request(method, url).header(CONTENT_TYPE, content_type);
        let response = request.body(body.to_owned()).send().await?;
        let status = response.status();
        Ok::<_, reqwest::Error>((status, response.text().await?))
    };
    let (status, text) = runtime.block_on(answer).map_err(|error| error.to_string())?;
    if !status.is_success() {
        return Err(format!("{status} from {url}: {text}"));
    }
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))
}
