//! Raw echo servers and closed-loop clients over UDP, UNIX datagrams, TCP and FIFOs.
//!
//! ```text
//! load echo udp|unix|tcp|fifo --address A --reply FILE [--reply-dir D --frame BYTES]
//! load call udp|unix|tcp|fifo --address A [--other B] --request FILE --expect FILE [--clients N --rounds N
//!                         --seconds S --dir D --late MS --timeout S --pid P --other-pid Q]
//! load once udp|unix|tcp|fifo --address A --request FILE [--dir D]
//! load stall never-open|never-read|stop-midway --address A --request FILE --dir D [--pause S]
//! ```
//!
//! `echo` answers everything with the content of a file until it is killed. `call` measures one target, or alternates
//! between two every few seconds, and prints a line of JSON. `once` prints the reply to one request. `stall` is a
//! misbehaving FIFO client, until it is killed. In the request of a FIFO client, `{reply}` stands for the name of its
//! reply FIFO.

mod client;
mod echo;
mod fifo;
mod measure;
mod sys;

use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    sys::die_with_parent();
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().ok_or("expected: load echo|call|once|stall KIND --option value ...");
    let (verb, kind) = (word()?, word()?);
    let mut options = Options(HashMap::new());
    while let Some(name) = words.next() {
        let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
        options.0.insert(name.trim_start_matches('-').to_owned(), value);
    }
    match verb.as_str() {
        "echo" => echo::serve(&kind, &options),
        "call" => {
            let figures = measure::run(&kind, &options)?;
            Ok(writeln!(std::io::stdout(), "{figures}")?)
        }
        "once" => {
            let reply = client::connect(&kind, &options, options.text("address")?, 0)?.call()?.to_vec();
            Ok(std::io::stdout().write_all(&reply)?)
        }
        "stall" => fifo::stall(&kind, &options),
        other => Err(format!("expected echo, call, once or stall, found {other}").into()),
    }
}

/// The options after the first two words.
pub(crate) struct Options(HashMap<String, String>);

impl Options {
    pub(crate) fn text(&self, name: &str) -> Result<&str, String> {
        self.0.get(name).map(String::as_str).ok_or_else(|| format!("--{name} is missing"))
    }

    /// The content of the file that an option names.
    pub(crate) fn file(&self, name: &str) -> Result<Vec<u8>, Box<dyn Error>> {
        let path = self.text(name)?;
        Ok(std::fs::read(path).map_err(|error| format!("{path}: {error}"))?)
    }

    pub(crate) fn number(&self, name: &str, default: f64) -> Result<f64, String> {
        match self.0.get(name) {
            Some(text) => text.parse().map_err(|_| format!("--{name}: expected a number, found {text}")),
            None => Ok(default),
        }
    }

    pub(crate) fn count(&self, name: &str, default: usize) -> Result<usize, String> {
        match self.0.get(name) {
            Some(text) => text.parse().map_err(|_| format!("--{name}: expected a count, found {text}")),
            None => Ok(default),
        }
    }

    pub(crate) fn seconds(&self, name: &str, default: f64) -> Result<Duration, String> {
        let seconds = self.number(name, default)?;
        Duration::try_from_secs_f64(seconds).map_err(|error| format!("--{name}: {error}"))
    }
}
