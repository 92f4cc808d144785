//! Tests of the engine as a whole; the parts are tested in their files.

mod laws;
mod oracle;
mod scene;
mod scenes;
mod sentences;
