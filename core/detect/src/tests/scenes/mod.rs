//! Scenes: a profile, a timeline, and what the engine says. See [`super::scene`] for the form.

mod bounds;
mod clock;
mod counts;
mod evidence;
mod fleets;
mod points;
mod reports;
mod slices;
