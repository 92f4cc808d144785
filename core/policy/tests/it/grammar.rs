//! What is a document, and what its author is told otherwise.

use picket_policy::Document;

const S: &str = r#""Effect":"Allow","Action":"iot:Connect","Resource":"*""#;

fn error(text: &str) -> String {
    match Document::parse(text) {
        Ok(_) => panic!("`{text}` was accepted"),
        Err(error) => error.to_string(),
    }
}

/// The error of a document with one statement of these members.
fn statement_error(members: &str) -> String {
    error(&format!(r#"{{"Statement":[{{{S}}},{{{members}}}]}}"#))
}

fn accepts(text: &str) {
    if let Err(error) = Document::parse(text) {
        panic!("`{text}`: {error}");
    }
}

#[test]
fn a_document_is_written_in_several_ways() {
    accepts(&format!(r#"{{"Statement":{{{S}}}}}"#));
    accepts(&format!(r#" {{"Version":"2012-10-17","Id":"x","Statement":[{{{S}}},{{{S}}}]}} "#));
    accepts(&format!(r#"{{"Version":"2008-10-17","Statement":[{{"Sid":"",{S}}}]}}"#));
    accepts(r#"{"Statement":{"Effect":"Deny","NotAction":["*"],"NotResource":["*","arn:x"]}}"#);
    accepts(&format!(r#"{{"Statement":{{{S},"Condition":{{}}}}}}"#));
    accepts(&format!(
        r#"{{"Statement":{{{S},"Condition":{{"Bool":{{"iot:Connection.Thing.IsAttached":[true]}}}}}}}}"#
    ));
    accepts(&format!(
        r#"{{"Statement":{{{S},"Condition":{{"NumericLessThan":{{"a":-1.5e3,"b":"7"}}}}}}}}"#
    ));
}

#[test]
fn the_document_as_a_whole_is_checked() {
    for (text, expected) in [
        ("[]", "the document must be an object, not a list"),
        ("{}", "the document has no `Statement`"),
        (r#"{"Statement":[]}"#, "`Statement` is an empty list"),
        (
            r#"{"Statement":"x"}"#,
            "`Statement` must be an object or a list of objects, not a string",
        ),
        (r#"{"Statement":[7]}"#, "statement 1: must be an object, not a number"),
        (r#"{"statement":[]}"#, "the document has no `Statement`"),
        (
            r#"{"Version":"2012-10-18","Statement":[]}"#,
            "`Version` must be 2012-10-17 or 2008-10-17",
        ),
        (r#"{"Version":2012,"Statement":[]}"#, "`Version` must be 2012-10-17 or 2008-10-17"),
        (r#"{"Id":1,"Statement":[]}"#, "`Id` must be a string, not a number"),
        (r#"{"Statement":[{}],"Comment":"x"}"#, "unknown member `Comment`"),
        (
            r#"{"Statement":[{}],"version":"x"}"#,
            "unknown member `version`; it is spelled `Version`",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn text_that_is_not_json_is_refused_with_its_place() {
    for (text, expected) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("{\"Statement\":\n", "EOF while parsing a value at line 2 column 0"),
        ("{} {}", "trailing characters at line 1 column 4"),
        (
            r#"{"Statement":{"Effect":"Deny","Effect":"Allow"}}"#,
            "the member `Effect` appears twice at line 1 column 38",
        ),
    ] {
        assert_eq!(error(text), format!("the document is not valid JSON: {expected}"), "{text}");
    }
}

#[test]
fn depth_is_bounded() {
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    assert!(error(&deep).contains("recursion limit exceeded"), "{}", error(&deep));
}

#[test]
fn a_statement_is_checked_member_by_member() {
    let other = r#""Action":"iot:Connect","Resource":"*""#;
    let allow = r#""Effect":"Allow""#;
    for (members, expected) in [
        (other.to_owned(), "has no `Effect`"),
        (format!(r#""Effect":"allow",{other}"#), "`Effect` must be Allow or Deny"),
        (format!(r#""Effect":["Allow"],{other}"#), "`Effect` must be Allow or Deny"),
        (format!(r#"{allow},"Resource":"*""#), "has neither `Action` nor `NotAction`"),
        (format!(r#"{allow},"NotAction":"*",{other}"#), "has both `Action` and `NotAction`"),
        (format!(r#"{allow},"Action":"iot:Connect""#), "has neither `Resource` nor `NotResource`"),
        (format!(r#"{allow},"NotResource":"*",{other}"#), "has both `Resource` and `NotResource`"),
        (format!(r#"{allow},"Action":[],"Resource":"*""#), "`Action` is an empty list"),
        (
            format!(r#"{allow},"Action":{{}},"Resource":"*""#),
            "`Action` must be a string or a list of strings, not an object",
        ),
        (
            format!(r#"{allow},"Action":"*","NotResource":[null]"#),
            "`NotResource` must be a string, not null",
        ),
        (
            format!(r#"{allow},"Action":"Publish","Resource":"*""#),
            "`Publish` is not an action; an action is written like iot:Publish, iot:* or *",
        ),
        (
            format!(r#"{allow},"Action":"i*:Publish","Resource":"*""#),
            "`i*:Publish` is not an action; an action is written like iot:Publish, iot:* or *",
        ),
        (
            format!(r#"{allow},"Action":"*","Resource":"topic/a""#),
            "`topic/a` is not a resource; a resource is written like \
             arn:aws:iot:REGION:ACCOUNT:topic/NAME or *",
        ),
        (
            format!(r#"{allow},"Action":"*","Resource":"arn:${{iot:ClientId""#),
            "`arn:${iot:ClientId` has a `${` without `}`",
        ),
        (format!(r#"{S},"Sid":7"#), "`Sid` must be a string, not a number"),
        (
            format!(r#"{S},"Principal":"*""#),
            "an IoT policy has no `Principal`: it is attached to one",
        ),
        (format!(r#"{S},"Conditions":{{}}"#), "unknown member `Conditions`"),
        (
            format!(r#"{S},"condition":{{}}"#),
            "unknown member `condition`; it is spelled `Condition`",
        ),
    ] {
        assert_eq!(statement_error(&members), format!("statement 2: {expected}"), "{members}");
    }
}

#[test]
fn a_condition_is_checked() {
    for (condition, expected) in [
        ("[]", "`Condition` must be an object, not a list"),
        (r#"{"StringEquals":"a"}"#, "`StringEquals` must be an object, not a string"),
        (r#"{"StringEquals":{}}"#, "`StringEquals` must name at least one key"),
        (r#"{"StringEqual":{"a":"b"}}"#, "`StringEqual` is not a condition operator"),
        (r#"{"BinaryEquals":{"a":"b"}}"#, "`BinaryEquals` is not a condition operator"),
        (r#"{"NumericLike":{"a":"1"}}"#, "`NumericLike` is not a condition operator"),
        (
            r#"{"ForSomeValues:StringEquals":{"a":"b"}}"#,
            "`ForSomeValues:StringEquals` is not a condition operator",
        ),
        (
            r#"{"NullIfExists":{"a":"true"}}"#,
            "condition operator `NullIfExists` asks twice whether a key exists",
        ),
        (r#"{"StringEquals":{"a":[]}}"#, "`StringEquals` of `a` must name at least one value"),
        (
            r#"{"StringEquals":{"a":null}}"#,
            "`StringEquals` of `a` must be a string, a number or a boolean, not null",
        ),
        (
            r#"{"StringEquals":{"a":["b",[]]}}"#,
            "`StringEquals` of `a` must be a string, a number or a boolean, not a list",
        ),
        (r#"{"Bool":{"a":"yes"}}"#, "`Bool` of `a`: `yes` is neither true nor false"),
        (r#"{"Null":{"a":[true,false]}}"#, "`Null` of `a`: takes one value, true or false"),
        (r#"{"NumericEquals":{"a":"1e"}}"#, "`NumericEquals` of `a`: `1e` is not a number"),
        (r#"{"NumericEquals":{"a":"inf"}}"#, "`NumericEquals` of `a`: `inf` is not a number"),
        (r#"{"DateEquals":{"a":"today"}}"#, "`DateEquals` of `a`: `today` is not a date"),
        (
            r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}"#,
            "`IpAddress` of `aws:SourceIp`: `10.0.0.0/33` is not an address or a CIDR range",
        ),
        (r#"{"ArnLike":{"a":"arn:aws"}}"#, "`ArnLike` of `a`: `arn:aws` is not an ARN"),
        (r#"{"StringEquals":{"a":"${b"}}"#, "`StringEquals` of `a`: `${b` has a `${` without `}`"),
    ] {
        let members = format!(r#"{S},"Condition":{condition}"#);
        assert_eq!(statement_error(&members), format!("statement 2: {expected}"), "{condition}");
    }
}

#[test]
fn every_condition_operator_is_read() {
    let mut operators = vec!["Bool", "IpAddress", "NotIpAddress"]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    for order in
        ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"]
    {
        operators.extend([format!("Numeric{order}"), format!("Date{order}")]);
    }
    for test in
        ["Equals", "NotEquals", "EqualsIgnoreCase", "NotEqualsIgnoreCase", "Like", "NotLike"]
    {
        operators.push(format!("String{test}"));
    }
    operators.extend(["Equals", "Like", "NotEquals", "NotLike"].map(|test| format!("Arn{test}")));
    for operator in operators {
        let value = match operator.as_str() {
            "Bool" => "true",
            operator if operator.contains("Ip") => "::/0",
            operator if operator.contains("Arn") => "arn:aws:iot:::x",
            _ => "2026",
        };
        for over in ["", "ForAllValues:", "ForAnyValue:"] {
            for suffix in ["", "IfExists"] {
                let condition = format!(r#"{{"{over}{operator}{suffix}":{{"a":"{value}"}}}}"#);
                accepts(&format!(r#"{{"Statement":{{{S},"Condition":{condition}}}}}"#));
            }
        }
    }
}

#[test]
fn size_is_counted_in_characters_without_white_space() {
    let document = |len: usize| {
        let frame = format!(r#"{{"Statement":{{{S},"Sid":""}}}}"#).len();
        format!(r#"{{"Statement":{{{S},"Sid":"{}"}}}}"#, "é".repeat(len - frame))
    };
    accepts(&document(2048));
    assert_eq!(
        error(&document(2049)),
        "the document has 2049 characters, white space not counted; at most 2048 are allowed"
    );
    accepts(&format!("{}{}", " \n\t".repeat(4000), document(1000)));
    assert_eq!(
        error(&" ".repeat(16_385)),
        "the document has 16385 bytes with white space; at most 16384 are allowed"
    );
}
