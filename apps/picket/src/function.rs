//! `picket function setup-python`: the private Python environment, made with its progress shown.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use picket_respond::python::{self, PythonError, Step};

/// Finds or makes the environment and shows what is being done. Waits for processes and the
/// network: not for an async worker.
///
/// # Errors
/// [`PythonError`], whose text says what to do.
pub(crate) fn setup_python() -> Result<PathBuf, PythonError> {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    // Where nobody watches, a bar shows nothing; lines show the steps.
    let is_watched = std::io::stderr().is_terminal();
    let cache = python::cache_folder()?;
    let made = python::setup(&cache, &mut |step| {
        if is_watched {
            bar.set_message(step.to_string());
        } else {
            print_step(&step);
        }
    });
    bar.finish_and_clear();
    made
}

#[expect(clippy::print_stderr, reason = "the progress of what was asked for")]
fn print_step(step: &Step) {
    eprintln!("{step}");
}
