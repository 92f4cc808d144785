//! Where devices connect.

use serde_json::json;

use crate::error::ApiError;
use crate::input::one_of;
use crate::operation::{Operation, operation};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[operation!(Iot, "DescribeEndpoint", describe)];

/// aws: DescribeEndpoint. A bare host, as AWS answers; clients add port 8883.
async fn describe(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    if let Some(kind) = request.query("endpointType") {
        // One host serves them all; the credential provider is not served and still named, so
        // that scripts which look it up go on.
        let kinds =
            ["iot:Data", "iot:Data-ATS", "iot:Data-Beta", "iot:CredentialProvider", "iot:Jobs"];
        one_of("endpointType", kind, &kinds.map(|kind| (kind, ())))?;
    }
    Ok(Response::json(&json!({ "endpointAddress": state.endpoint_host })))
}
