//! The metrics report of a device: JSON or CBOR, long or short names, to a typed
//! [`Report`](picket_model::Report) or a precise refusal, and back.
//!
//! Architecture invariants: no clock, no IO; bytes from outside never make this crate panic,
//! recurse without a bound, or allocate by a length that they merely declare.
