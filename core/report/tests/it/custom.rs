//! Custom metrics: wrong data is left out and counted, a wrong shape is refused.

use std::fmt::Write as _;

use picket_model::CustomValue;
use picket_report::{Format, decode, decode_with_losses};

use crate::fixture::{read, with_custom};

fn in_short(value: &CustomValue) -> String {
    fn list<T: ToString>(list: &[T]) -> String {
        let items: Vec<String> = list.iter().map(ToString::to_string).collect();
        format!("[{}]", items.join(" "))
    }
    match value {
        CustomValue::Number(number) => number.to_string(),
        CustomValue::NumberList(numbers) => list(numbers),
        CustomValue::StringList(strings) => list(strings),
        CustomValue::IpList(ips) => list(ips),
    }
}

/// Checks what is read of custom metrics, and how much is left out.
#[track_caller]
fn check(custom: &str, expected: &str, n_lost: u32) {
    let text = with_custom(custom);
    let mut read_back = String::new();
    for (name, value) in &read(&text).unwrap().custom {
        write!(read_back, "{name}={} ", in_short(value)).unwrap();
    }
    assert_eq!(read_back.trim(), expected, "{custom}");
    assert_eq!(decode_with_losses(Format::Json, text.as_bytes()).unwrap().1, n_lost, "{custom}");
}

#[track_caller]
fn check_refused(custom: &str, expected: &str) {
    assert_eq!(read(&with_custom(custom)).unwrap_err().to_string(), expected, "{custom}");
}

#[test]
fn every_type_is_read() {
    check(r#"{"a":[{"number":1}]}"#, "a=1", 0);
    check(r#"{"a":[{"number":-1.5}]}"#, "a=-1.5", 0);
    check(r#"{"a":[{"number_list":[1,-2,0.1,1e3]}]}"#, "a=[1 -2 0.1 1000]", 0);
    check(r#"{"a":[{"string_list":["eth0","a:b_c-d/e.f"]}]}"#, "a=[eth0 a:b_c-d/e.f]", 0);
    check(r#"{"a":[{"ip_list":["192.0.2.1","2001:db8::1"]}]}"#, "a=[192.0.2.1 2001:db8::1]", 0);
    check(r#"{"b":[{"number":1}],"a":[{"number":2}]}"#, "b=1 a=2", 0);
    check("{}", "", 0);
}

#[test]
fn an_empty_list_is_kept_and_one_of_which_nothing_is_left_is_not() {
    check(r#"{"a":[{"number_list":[]}]}"#, "a=[]", 0);
    check(r#"{"a":[{"string_list":[]}]}"#, "a=[]", 0);
    check(r#"{"a":[{"ip_list":[]}]}"#, "a=[]", 0);
    check(r#"{"a":[{"string_list":["x y"]}]}"#, "", 2);
    check(r#"{"a":[{"ip_list":["localhost"]}]}"#, "", 2);
}

#[test]
fn data_that_breaks_the_rules_is_left_out_and_counted() {
    check(r#"{"a":[{"string_list":["ok","x y","a\u0000","$","ü"]}]}"#, "a=[ok ü]", 3);
    check(r#"{"a":[{"ip_list":["192.0.2.1","192.0.2.300","","::1"]}]}"#, "a=[192.0.2.1 ::1]", 2);
    check(r#"{"a":[{"ip_list":["::ffff:192.0.2.1"]}]}"#, "a=[192.0.2.1]", 0);
    check(&format!(r#"{{"a":[{{"string_list":["{}","b"]}}]}}"#, "x".repeat(129)), "a=[b]", 1);
}

#[test]
fn a_metric_without_a_value_is_left_out() {
    for value in ["null", "[]", "[{}]", r#"[{"number":null}]"#, r#"[{"velocity":7}]"#] {
        check(&format!(r#"{{"a":{value},"b":[{{"number":1}}]}}"#), "b=1", 1);
    }
}

#[test]
fn a_name_that_nothing_can_have_is_left_out_whatever_its_value() {
    check(r#"{"a b":[{"number":1}],"":7,"c":[{"number":1}]}"#, "c=1", 2);
    check(&format!(r#"{{"{}":{{}}}}"#, "x".repeat(129)), "", 1);
    // Whether anybody knows the metric is not decided here.
    check(r#"{"aws:all-bytes-in":[{"number":1}]}"#, "aws:all-bytes-in=1", 0);
}

#[test]
fn a_number_that_is_none_is_left_out() {
    // {"hed":{"rid":7,"v":"1.0"},"cmet":{"a":[{"number": NaN}]}}, and with infinity.
    for number in ["f97e00", "f97c00", "fbfff0000000000000"] {
        let bytes = crate::fixture::hex(&format!(
            "a2 63686564 a2 63726964 07 6176 63312e30 64636d6574 a1 6161 81 a1 666e756d626572 {number}"
        ));
        assert_eq!(decode(Format::Cbor, &bytes).unwrap().custom, [], "{number}");
    }
}

#[test]
fn a_wrong_shape_is_refused() {
    for (value, expected) in [
        (r#"{"number":1}"#, "`custom_metrics.a` is an object; a list of one object is expected"),
        ("1", "`custom_metrics.a` is a number; a list of one object is expected"),
        ("[1]", "`custom_metrics.a[0]` is a number; an object is expected"),
        ("[null]", "`custom_metrics.a[0]` is null; an object is expected"),
        (r#"[{"number":1},{"number":2}]"#, "`custom_metrics.a` has more than one value"),
        (r#"[{"number":1,"ip_list":[]}]"#, "`custom_metrics.a[0]` has more than one value"),
        (r#"[{"number":"1"}]"#, "`custom_metrics.a[0].number` is a string; a number is expected"),
        (
            r#"[{"number_list":1}]"#,
            "`custom_metrics.a[0].number_list` is a number; a list is expected",
        ),
        (
            r#"[{"number_list":[1,"2"]}]"#,
            "`custom_metrics.a[0].number_list[1]` is a string; a number is expected",
        ),
        (
            r#"[{"string_list":[1]}]"#,
            "`custom_metrics.a[0].string_list[0]` is a number; a string is expected",
        ),
        (
            r#"[{"ip_list":[null]}]"#,
            "`custom_metrics.a[0].ip_list[0]` is null; a string is expected",
        ),
    ] {
        check_refused(&format!(r#"{{"a":{value}}}"#), expected);
    }
}

#[test]
fn there_may_be_too_many() {
    let metrics = |n| {
        let metrics: Vec<String> = (0..n).map(|i| format!(r#""m{i}":[{{"number":1}}]"#)).collect();
        format!("{{{}}}", metrics.join(","))
    };
    assert_eq!(read(&with_custom(&metrics(1000))).unwrap().custom.len(), 1000);
    check_refused(&metrics(1001), "`custom_metrics` has more than 1000 elements");
    let list = |n| format!(r#"{{"a":[{{"number_list":[{}]}}]}}"#, vec!["1"; n].join(","));
    assert_eq!(read(&with_custom(&list(1000))).unwrap().custom.len(), 1);
    check_refused(&list(1001), "`custom_metrics.a[0].number_list` has more than 1000 elements");
}

#[test]
fn a_metric_comes_once() {
    let text = with_custom(r#"{"b":[{"number":1}],"a":[{"number":1}],"b":[{"number":1}]}"#);
    let refusal = decode(Format::Json, text.as_bytes()).unwrap_err();
    assert_eq!(refusal.to_string(), "`custom_metrics.b` appears twice");
}
