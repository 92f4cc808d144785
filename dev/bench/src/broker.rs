//! The broker beside Debian's mosquitto, under the same generator in the same run: messages, idle
//! connections, what deciding and counting cost, what durable sessions cost, and subscribers that do
//! not read.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::brokers::{Programs, Transport};
use crate::load::Shape;
use crate::{machine, say};

mod durable;
mod idle;
mod shares;
mod stalled;
mod throughput;

pub(crate) use self::shares::Apart;

/// What is measured, and how thoroughly.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The programs.
    pub(crate) programs: Programs,
    /// Words of a measurement's name; what does not have all of them is left out.
    pub(crate) words: Vec<String>,
    /// Whether to look once and briefly, to see that something changed rather than how much.
    pub(crate) is_quick: bool,
    /// What one message costs to decide and to count, measured apart.
    pub(crate) apart: Option<Apart>,
}

/// Payload of a message.
const PAYLOAD_BYTES: usize = 128;

/// Measures and prints what the plan names.
pub(crate) async fn run(plan: &Plan) -> Result<()> {
    let Programs { picket, mosquitto } = &plan.programs;
    say(&format!("picket:  {}", machine::first_line(picket, "--version")?));
    say(&format!("beside:  {}", machine::first_line(mosquitto, "-h")?));
    let mut n_measured = 0;
    n_measured += throughput::run(plan).await?;
    n_measured += shares::run(plan).await?;
    n_measured += idle::run(plan).await?;
    n_measured += durable::run(plan).await?;
    n_measured += stalled::run(plan).await?;
    ensure!(n_measured > 0, "no measurement has the words {:?} in its name", plan.words);
    Ok(())
}

impl Plan {
    /// Whether a measurement of that name is wanted.
    fn wants(&self, name: &str) -> bool {
        self.words.iter().all(|word| name.split(' ').any(|it| it == word))
    }

    /// How often each broker has its turn; the median counts.
    const fn rounds(&self) -> usize {
        if self.is_quick { 1 } else { 3 }
    }

    /// How long a turn is.
    const fn turn(&self) -> Duration {
        Duration::from_millis(if self.is_quick { 500 } else { 1_000 })
    }
}

/// The word for it in a measurement's name.
const fn transport_word(transport: Transport) -> &'static str {
    match transport {
        Transport::Plain => "plain",
        Transport::Tls => "tls",
    }
}

/// The word for it in a measurement's name.
const fn shape_word(shape: Shape) -> &'static str {
    match shape {
        Shape::FanIn => "fan-in",
        Shape::Pairs => "pairs",
    }
}

/// The one in the middle; of an even number the lower of the two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len().max(1) - 1) / 2).copied().unwrap_or(0.0)
}
