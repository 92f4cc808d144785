use insta::assert_snapshot;

use crate::harness::Server;

#[tokio::test]
async fn a_thing_is_made_once_changed_by_version_and_deleted_twice() {
    let server = Server::start().await;
    assert_snapshot!(
        server
            .transcript(&[
                r#"POST /things/pump-7 {"attributePayload":{"attributes":{"site":"north"}}}"#,
                r#"POST /things/pump-7 {"attributePayload":{"attributes":{"site":"north"}}}"#,
                r#"POST /things/pump-7 {"attributePayload":{"attributes":{"site":"south"}}}"#,
                "GET /things/pump-7",
                r#"PATCH /things/pump-7 {"attributePayload":{"attributes":{"floor":"2"},"merge":true},"expectedVersion":1}"#,
                r#"PATCH /things/pump-7 {"attributePayload":{"attributes":{"site":""}, "merge":true},"expectedVersion":1}"#,
                r#"PATCH /things/pump-7 {"attributePayload":{"attributes":{"site":""}, "merge":true},"expectedVersion":2}"#,
                "GET /things/pump-7",
                "DELETE /things/pump-7?expectedVersion=1",
                "DELETE /things/pump-7?expectedVersion=3",
                "DELETE /things/pump-7",
                "GET /things/pump-7",
                "PATCH /things/pump-7 {}",
            ])
            .await
    );
}

#[tokio::test]
async fn things_are_listed_in_pages_and_by_attribute_and_type() {
    let server = Server::start().await;
    server
        .given(&[
            "POST /thing-types/Pump {}",
            r#"POST /things/a {"thingTypeName":"Pump"}"#,
            r#"POST /things/b {"attributePayload":{"attributes":{"site":"north"}}}"#,
            r#"POST /things/c {"attributePayload":{"attributes":{"site":"northwest"}}}"#,
        ])
        .await;
    assert_snapshot!(
        server
            .transcript(&[
                "GET /things?attributeName=site&attributeValue=north",
                "GET /things?attributeName=site&attributeValue=north&usePrefixAttributeValue=true",
                "GET /things?thingTypeName=Pump",
                "GET /things?attributeName=site",
                "GET /things?maxResults=251",
                "GET /things?nextToken=nonsense",
            ])
            .await
    );
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let answer = server.call(&format!("GET /things?maxResults=1{token}")).await.json();
        let things = answer["things"].as_array().unwrap();
        seen.extend(things.iter().map(|thing| thing["thingName"].as_str().unwrap().to_owned()));
        match answer["nextToken"].as_str() {
            Some(next) => token = format!("&nextToken={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["a", "b", "c"]);
}

#[tokio::test]
async fn what_breaks_a_rule_of_things_is_refused_with_the_rule() {
    let server = Server::start().await;
    assert_snapshot!(
        server
            .transcript(&[
                "POST /things/pump%207 {}",
                "POST /things/a%2Fb {}",
                r#"POST /things/x {"attributePayload":{"attributes":{"a b":"1"}}}"#,
                r#"POST /things/x {"attributePayload":{"attributes":{"a":"1 2"}}}"#,
                r#"POST /things/x {"attributePayload":{"attributes":{"a":7}}}"#,
                r#"POST /things/x {"attributePayload":{"attributes":{"a":"1","b":"1","c":"1","d":"1"}}}"#,
                r#"POST /things/x {"thingTypeName":"Nothing"}"#,
                r#"POST /things/x {"billingGroupName":"B"}"#,
                "POST /things/x [1]",
                "POST /things/x {not json}",
                "DELETE /things/x?expectedVersion=new",
            ])
            .await
    );
}

#[tokio::test]
async fn a_thing_type_is_deprecated_for_five_minutes_before_it_goes() {
    let server = Server::start().await;
    let mut transcript = server
        .transcript(&[
            r#"POST /thing-types/Pump {"thingTypeProperties":{"thingTypeDescription":"moves water","searchableAttributes":["site"]}}"#,
            "POST /thing-types/Pump {}",
            "GET /thing-types/Pump",
            "DELETE /thing-types/Pump",
            "POST /thing-types/Pump/deprecate {}",
            "POST /things/a {\"thingTypeName\":\"Pump\"}",
            "POST /thing-types/Pump/deprecate {\"undoDeprecate\":true}",
            "POST /things/a {\"thingTypeName\":\"Pump\"}",
            "PATCH /things/a {\"removeThingType\":true}",
            "POST /thing-types/Pump/deprecate {}",
            "GET /thing-types?thingTypeName=Pump",
            "DELETE /thing-types/Pump",
        ])
        .await;
    server.advance(300);
    transcript += &server
        .transcript(&["DELETE /thing-types/Pump", "GET /thing-types", "DELETE /thing-types/Pump"])
        .await;
    assert_snapshot!(transcript);
}
