//! The simulated operator as a process of its own. Its ledger lives as long as it does: nothing here waits for a disk.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::FAIRCROSS;

/// A running operator; killed when dropped.
pub struct Operator {
    child: Child,
    address: String,
    http: reqwest::Client,
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Operator {
    pub fn start(http: reqwest::Client) -> Self {
        let mut child = Command::new(FAIRCROSS)
            .args([
                "operator",
                "--agent-certificate",
                "demo=demo-cert",
                "--agent-certificate",
                "other=other-cert",
            ])
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("a line");
        let address = line.trim().strip_prefix("operator listening on ").expect("its address").to_owned();
        Self { child, address, http }
    }

    /// The callback url.
    pub fn url(&self) -> String {
        format!("{}/callback", self.address)
    }

    /// The address of its ledger.
    pub fn ledger_url(&self) -> String {
        format!("{}/ledger", self.address)
    }

    /// Orders faults, by action.
    pub async fn order(&self, faults: Value) {
        let answer = self
            .http
            .put(format!("{}/faults", self.address))
            .json(&faults)
            .send()
            .await
            .expect("it answers");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    }

    pub async fn clear_faults(&self) {
        self.http
            .delete(format!("{}/faults", self.address))
            .send()
            .await
            .expect("it answers");
    }

    /// Its whole ledger.
    pub async fn ledger(&self) -> Value {
        self.get("/ledger").await
    }

    /// The latest calls of an action, oldest first.
    pub async fn calls(&self, action: &str) -> Vec<Value> {
        let calls = self.get(&format!("/calls?action={action}")).await;
        calls
            .as_array()
            .cloned()
            .or_else(|| calls["calls"].as_array().cloned())
            .expect("a list")
    }

    async fn get(&self, path: &str) -> Value {
        self.http
            .get(format!("{}{path}", self.address))
            .send()
            .await
            .expect("it answers")
            .json()
            .await
            .expect("JSON")
    }
}
