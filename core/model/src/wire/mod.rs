//! AWS's JSON form of the nouns that leave the API too: in the store and in alarm messages.
//!
//! One place, so that what CreateSecurityProfile takes, DescribeSecurityProfile gives, the store
//! keeps and an alarm message carries cannot drift apart. Everything that only the API speaks is
//! in `edge/api`.

pub mod behavior;
pub mod metric_value;

pub use behavior::{
    BehaviorError, behavior_from_json, behavior_to_json, dimension_from_json, dimension_to_json,
    metric_named,
};
pub use metric_value::{metric_value_from_json, metric_value_to_json, quantity_to_json};
