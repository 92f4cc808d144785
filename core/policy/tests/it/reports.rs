//! What a person asking "why" is told.

use picket_model::Account;
use picket_policy::Report;

use crate::fixture::{guest, policies, pump, request};

fn report(policies_text: &str, facts: &picket_policy::ConnectionFacts, text: &str) -> String {
    let (action, resource) = request(text);
    let documents = policies(policies_text);
    let report = Report::of(&Account::default(), &documents, facts, action, resource);
    let names = |statements: &[picket_policy::StatementRef]| {
        let names = statements.iter().map(|by| format!("{}.{}", by.policy, by.statement + 1));
        names.collect::<Vec<_>>().join(" ")
    };
    let silent: Vec<String> = report.silent.iter().map(ToString::to_string).collect();
    let missing: Vec<String> = report.missing.into_iter().collect();
    format!(
        "{}; allowed by [{}], denied by [{}], silent [{}], missing [{}]",
        if report.decision.is_allowed() { "allowed" } else { "denied" },
        names(&report.allowed_by),
        names(&report.denied_by),
        silent.join(" "),
        missing.join(" "),
    )
}

#[test]
fn it_names_who_allowed_who_denied_and_who_said_nothing() {
    insta::assert_snapshot!(
        report(
            "allow iot:* * | deny iot:Publish topic/a | allow iot:Subscribe *",
            &pump(),
            "iot:Publish a",
        ),
        @"denied; allowed by [P1.1], denied by [P2.1], silent [P3], missing []"
    );
    insta::assert_snapshot!(
        report("allow iot:* * | deny iot:Publish topic/a", &pump(), "iot:Publish b"),
        @"allowed; allowed by [P1.1], denied by [], silent [P2], missing []"
    );
}

#[test]
fn it_names_what_would_have_been_needed() {
    insta::assert_snapshot!(
        report(
            "allow iot:Publish topic/${iot:Connection.Thing.ThingName}/${iot:ClientId} \
             ; allow iot:Connect client/${iot:Certificate.SerialNumber} \
             ; allow iot:Publish * if IpAddress aws:SourceIp 10.0.0.0/8 \
             if Null iot:ConnectAttributes false \
             if StringEqualsIfExists iot:Certificate.Issuer.Country DE",
            &guest(),
            "iot:Publish a",
        ),
        @"denied; allowed by [], denied by [], silent [P1], missing [aws:SourceIp iot:Connection.Thing.ThingName]"
    );
}
