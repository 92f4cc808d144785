use insta::assert_snapshot;

use crate::harness::Server;

#[tokio::test]
async fn a_group_knows_the_way_up_to_its_root() {
    let server = Server::start().await;
    assert_snapshot!(
        server
            .transcript(&[
                r#"POST /thing-groups/site {"thingGroupProperties":{"thingGroupDescription":"all of it","attributePayload":{"attributes":{"k":"v"}}}}"#,
                r#"POST /thing-groups/floor {"parentGroupName":"site"}"#,
                r#"POST /thing-groups/room {"parentGroupName":"floor"}"#,
                r#"POST /thing-groups/room {"parentGroupName":"floor"}"#,
                r#"POST /thing-groups/room {"parentGroupName":"site"}"#,
                r#"POST /thing-groups/lost {"parentGroupName":"nowhere"}"#,
                "GET /thing-groups/room",
                "GET /thing-groups/site",
                r#"PATCH /thing-groups/site {"thingGroupProperties":{"thingGroupDescription":"half of it"},"expectedVersion":1}"#,
                r#"PATCH /thing-groups/site {"thingGroupProperties":{},"expectedVersion":1}"#,
                "PATCH /thing-groups/site {}",
                "GET /thing-groups",
                "GET /thing-groups?recursive=false",
                "GET /thing-groups?parentGroup=site&recursive=false",
                "GET /thing-groups?parentGroup=site&recursive=true",
                "GET /thing-groups?namePrefixFilter=ro",
                "GET /thing-groups?parentGroup=nowhere",
                "DELETE /thing-groups/site",
                "DELETE /thing-groups/room?expectedVersion=7",
                "DELETE /thing-groups/room",
                "DELETE /thing-groups/room",
                "GET /thing-groups/room",
            ])
            .await
    );
}

#[tokio::test]
async fn a_member_stays_one_silently_and_a_stranger_leaves_silently() {
    let server = Server::start().await;
    server
        .given(&[
            "POST /things/pump-7 {}",
            "POST /thing-groups/IsolatedDevices {}",
            "POST /thing-groups/site {}",
            r#"POST /thing-groups/floor {"parentGroupName":"site"}"#,
        ])
        .await;
    assert_snapshot!(
        server
            .transcript(&[
                r#"PUT /thing-groups/addThingToThingGroup {"thingName":"pump-7","thingGroupName":"IsolatedDevices"}"#,
                r#"PUT /thing-groups/addThingToThingGroup {"thingName":"pump-7","thingGroupName":"IsolatedDevices"}"#,
                r#"PUT /thing-groups/addThingToThingGroup {"thingArn":"arn:aws:iot:eu-west-1:123456789012:thing/pump-7","thingGroupArn":"arn:aws:iot:us-east-1:123456789012:thinggroup/floor","overrideDynamicGroups":true}"#,
                r#"PUT /thing-groups/addThingToThingGroup {"thingName":"pump-7","thingGroupName":"site"}"#,
                "GET /things/pump-7/thing-groups",
                "GET /things/pump-7/thing-groups?maxResults=1",
                "GET /thing-groups/site/things",
                "GET /thing-groups/site/things?recursive=true",
                r#"PUT /thing-groups/removeThingFromThingGroup {"thingName":"pump-7","thingGroupName":"IsolatedDevices"}"#,
                r#"PUT /thing-groups/removeThingFromThingGroup {"thingName":"pump-7","thingGroupName":"IsolatedDevices"}"#,
                r#"PUT /thing-groups/updateThingGroupsForThing {"thingName":"pump-7","thingGroupsToRemove":["floor","IsolatedDevices"],"thingGroupsToAdd":["site"]}"#,
                "GET /things/pump-7/thing-groups",
                "DELETE /thing-groups/site",
                "GET /things/pump-7/thing-groups",
            ])
            .await
    );
}

#[tokio::test]
async fn a_membership_names_a_thing_and_a_group_that_exist() {
    let server = Server::start().await;
    server.given(&["POST /things/a {}", "POST /thing-groups/g {}"]).await;
    assert_snapshot!(
        server
            .transcript(&[
                r#"PUT /thing-groups/addThingToThingGroup {"thingName":"b","thingGroupName":"g"}"#,
                r#"PUT /thing-groups/addThingToThingGroup {"thingName":"a","thingGroupName":"h"}"#,
                r#"PUT /thing-groups/addThingToThingGroup {"thingName":"a"}"#,
                r#"PUT /thing-groups/addThingToThingGroup {"thingName":"a","thingGroupName":"g","thingGroupArn":"arn:aws:iot:us-east-1:123456789012:thinggroup/h"}"#,
                r#"PUT /thing-groups/addThingToThingGroup {"thingName":"a","thingGroupArn":"thinggroup/g"}"#,
                r#"PUT /thing-groups/updateThingGroupsForThing {"thingName":"b"}"#,
                r#"PUT /thing-groups/updateThingGroupsForThing {"thingName":"a","thingGroupsToAdd":["g","h"]}"#,
                "GET /things/a/thing-groups",
                "GET /things/b/thing-groups",
                "GET /thing-groups/h/things",
            ])
            .await
    );
}
