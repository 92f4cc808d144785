//! The workshop's function, as it is published, against a stand-in for the API.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};

use crate::support::{Scene, limits, zip_of};

/// From the workshop, with the `import os` that it lacks.
const ISOLATE: &str = r"
import os
import boto3
import json

iot = boto3.client('iot')

def lambda_handler(event, context):
	message = event['Records'][0]['Sns']['Message']
	d = json.loads(message)
	thing = d['thingName']

	addThing = iot.add_thing_to_thing_group(
    	thingGroupName=os.environ['ThingGroupName'],
	thingName=thing
	)
";

type Calls = Arc<Mutex<Vec<(String, Value, String)>>>;

async fn record(
    State(calls): State<Calls>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> &'static str {
    let authorization = headers["authorization"].to_str().unwrap().to_owned();
    let body = serde_json::from_str(&body).unwrap_or_default();
    calls.lock().unwrap().push((format!("{method} {uri}"), body, authorization));
    "{}"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workshops_function_isolates_the_device() {
    let calls = Calls::default();
    let api = Router::new().fallback(record).with_state(Arc::clone(&calls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, api).await });

    let scene = Scene::with(limits(), &endpoint);
    let zip = zip_of(&[("index.py", ISOLATE)]);
    let function = scene
        .create("IsolateDevice", "python3.9", &zip, |function| {
            function.environment.insert("ThingGroupName".into(), "IsolatedDevices".into());
        })
        .await;
    let message = json!({ "thingName": "SensorDevice02", "violationEventType": "in-alarm" });
    let event = json!({ "Records": [{ "Sns": { "Message": message.to_string() } }] });
    assert_eq!(scene.answer(&function, &event.to_string()).await, Value::Null);

    let calls = calls.lock().unwrap();
    let [(request, body, authorization)] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!(request, "PUT /thing-groups/addThingToThingGroup");
    assert_eq!(
        *body,
        json!({ "thingGroupName": "IsolatedDevices", "thingName": "SensorDevice02" })
    );
    assert!(authorization.contains("Credential=ASIAIsolateDevice/"), "{authorization}");
    assert!(authorization.contains("/us-east-1/iot/aws4_request"), "{authorization}");
}
