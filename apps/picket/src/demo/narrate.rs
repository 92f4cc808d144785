//! Writes the story to the terminal, a line for each thing that happened, with its time.

use std::fmt::Display;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::OnceLock;

use picket_model::Timestamp;
use picket_model::text::chain;

use crate::clock;
use crate::serve::Server;

/// Writes lines.
pub(super) struct Narrator {
    has_colour: bool,
    /// The moment that later times are counted from.
    turning_point: OnceLock<Timestamp>,
}

impl Narrator {
    pub(super) fn begin() -> Self {
        let has_colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let narrator = Self { has_colour, turning_point: OnceLock::new() };
        narrator.note(
            "Picket demo: a device goes bad and is cut off. Everything here is real and runs on \
             this machine: the server, mutual TLS, three MQTT devices, the function.\n",
        );
        narrator
    }

    /// Times from here on also say how long after this moment they are.
    pub(super) fn turning_point(&self, at: Timestamp) {
        let _ = self.turning_point.set(at);
    }

    /// Something that happened just now.
    pub(super) fn say(&self, who: &str, what: &str) {
        self.say_at(clock::now(), who, what);
    }

    /// Something that happened at a time known to the millisecond.
    pub(super) fn say_at(&self, at: Timestamp, who: &str, what: &str) {
        let text = at.to_string();
        // The time of day is enough: 10:05:07.120 out of 2026-11-20T10:05:07.120Z.
        let time = text.get(11..23).unwrap_or(&text);
        let since = self.turning_point.get().map_or(String::new(), |turning_point| {
            format!("+{} ms", at.millis_since(*turning_point))
        });
        let (bold, plain) = if self.has_colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        self.note(&format!("{time}  {since:>9}  {bold}{who:<15}{plain} {what}"));
    }

    #[expect(clippy::print_stdout, reason = "the demo's story goes to standard output")]
    pub(super) fn note(&self, text: &str) {
        println!("{text}");
    }

    pub(super) fn failed(&self, error: &dyn Display) {
        self.note(&format!("\nThe demo failed: {error:#}"));
    }

    pub(super) fn summary(&self, times: &[(&str, i64)]) {
        self.note("\nAll of it happened:");
        for (what, millis) in times {
            self.note(&format!("  {millis:>6} ms  from {what}"));
        }
        self.note("  the device that went bad is out, the others never noticed");
    }

    /// Finds or makes the Python for the function. False if there can be none.
    pub(super) async fn prepare_python(&self) -> bool {
        let made = tokio::task::spawn_blocking(crate::function::setup_python).await;
        match made {
            Ok(Ok(path)) => {
                self.say("python", &format!("functions run with {}", path.display()));
                true
            }
            Ok(Err(error)) => {
                self.say(
                    "python",
                    &format!("functions in Python cannot run here: {}", chain(&error)),
                );
                self.say("python", "the same function runs as an executable of its own instead");
                false
            }
            Err(error) => {
                self.say("python", &format!("the environment was not made: {error}"));
                false
            }
        }
    }

    pub(super) fn how_to_look_around(&self, folder: &Path, server: &Server) {
        let picket = std::env::current_exe().unwrap_or_else(|_| "picket".into());
        self.note(&format!(
            "\nThe server stays up until ctrl-C. To look around with the AWS CLI:\n\n  \
             eval \"$('{}' env --data-dir '{}')\"\n  \
             aws iot list-active-violations\n  \
             aws iot list-things-in-thing-group --thing-group-name IsolatedDevices\n  \
             aws iot remove-thing-from-thing-group --thing-group-name IsolatedDevices --thing-name SensorDevice02\n\n\
             Counters: http://{}/metrics",
            picket.display(),
            folder.display(),
            server.endpoints().console[0],
        ));
    }
}
