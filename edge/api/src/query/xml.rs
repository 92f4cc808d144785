//! Writing answers and errors as XML.

use std::collections::BTreeMap;

use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};

/// An XML document being written. What is written is well-formed whatever the texts hold.
pub(crate) struct Xml {
    writer: Writer<Vec<u8>>,
}

impl Xml {
    fn new() -> Self {
        Self { writer: Writer::new(Vec::new()) }
    }

    fn event(&mut self, event: Event<'_>) {
        // A Vec takes every write; there is nothing that could fail.
        let _ = self.writer.write_event(event);
    }

    /// `<name>` around what `children` writes.
    pub(crate) fn element(&mut self, name: &str, children: impl FnOnce(&mut Xml)) {
        self.event(Event::Start(BytesStart::new(name)));
        children(self);
        self.event(Event::End(BytesEnd::new(name)));
    }

    /// `<name>text</name>`.
    pub(crate) fn text(&mut self, name: &str, text: impl AsRef<str>) {
        self.element(name, |xml| {
            xml.event(Event::Text(BytesText::from_escaped(escape(text.as_ref()))));
        });
    }

    /// `<name>text</name>` if there is a text.
    pub(crate) fn maybe(&mut self, name: &str, text: Option<impl AsRef<str>>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// A list: `<name><member>..</member>..</name>`.
    pub(crate) fn members<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Xml, T),
    ) {
        self.element(name, |xml| {
            for one in items {
                xml.element("member", |xml| item(xml, one));
            }
        });
    }

    /// A map: `<name><entry><key/><value/></entry>..</name>`.
    pub(crate) fn map(&mut self, name: &str, map: &BTreeMap<String, String>) {
        self.element(name, |xml| {
            for (key, value) in map {
                xml.element("entry", |xml| {
                    xml.text("key", key);
                    xml.text("value", value);
                });
            }
        });
    }

    fn finish(self) -> String {
        // What was written is UTF-8: names are ours, texts are `str`.
        String::from_utf8_lossy(&self.writer.into_inner()).into_owned()
    }
}

/// The answer to `action`; `result` writes what is inside its result element, which is left out
/// for operations that have none (`None`).
pub(crate) fn answer<F: FnOnce(&mut Xml)>(
    namespace: &str,
    action: &str,
    request_id: &str,
    result: Option<F>,
) -> String {
    let mut xml = Xml::new();
    let name = format!("{action}Response");
    xml.event(Event::Start(BytesStart::new(&name).with_attributes([("xmlns", namespace)])));
    if let Some(result) = result {
        xml.element(&format!("{action}Result"), result);
    }
    xml.element("ResponseMetadata", |xml| xml.text("RequestId", request_id));
    xml.event(Event::End(BytesEnd::new(&name)));
    xml.finish()
}

/// An error; `is_sender` says whose fault it is.
pub(crate) fn failure(
    namespace: &str,
    is_sender: bool,
    code: &str,
    message: &str,
    request_id: &str,
) -> String {
    let mut xml = Xml::new();
    let name = "ErrorResponse";
    xml.event(Event::Start(BytesStart::new(name).with_attributes([("xmlns", namespace)])));
    xml.element("Error", |xml| {
        xml.text("Type", if is_sender { "Sender" } else { "Receiver" });
        xml.text("Code", code);
        xml.text("Message", message);
    });
    xml.text("RequestId", request_id);
    xml.event(Event::End(BytesEnd::new(name)));
    xml.finish()
}

/// Escapes a text for XML 1.0.
///
/// A carriage return is written as a reference, since readers turn a bare one into a line feed;
/// characters that XML cannot hold at all become U+FFFD.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\r' => escaped.push_str("&#13;"),
            '\t' | '\n' => escaped.push(c),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNS: &str = "http://sns.amazonaws.com/doc/2010-03-31/";

    #[test]
    fn an_answer_has_the_shape_that_the_sdks_parse() {
        let xml =
            answer(SNS, "CreateTopic", "r-1", Some(|xml: &mut Xml| xml.text("TopicArn", "a&b")));
        insta::assert_snapshot!(xml, @r#"<CreateTopicResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><CreateTopicResult><TopicArn>a&amp;b</TopicArn></CreateTopicResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></CreateTopicResponse>"#);
        let xml = answer(SNS, "DeleteTopic", "r-1", None::<fn(&mut Xml)>);
        insta::assert_snapshot!(xml, @r#"<DeleteTopicResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></DeleteTopicResponse>"#);
    }

    #[test]
    fn an_error_has_the_shape_that_the_sdks_parse() {
        let xml = failure(SNS, true, "NotFound", "topic `<x>` does not exist", "r-1");
        insta::assert_snapshot!(xml, @r#"<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type><Code>NotFound</Code><Message>topic `&lt;x&gt;` does not exist</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"#);
    }

    #[test]
    fn lists_and_maps_are_numbered_by_their_place() {
        let xml = answer(
            SNS,
            "X",
            "r",
            Some(|xml: &mut Xml| {
                xml.members("Topics", ["a", "b"], |xml, arn| xml.text("TopicArn", arn));
                xml.map("Attributes", &BTreeMap::from([("k".to_owned(), "v".to_owned())]));
                xml.maybe("NextToken", None::<&str>);
            }),
        );
        insta::assert_snapshot!(xml, @r#"<XResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><XResult><Topics><member><TopicArn>a</TopicArn></member><member><TopicArn>b</TopicArn></member></Topics><Attributes><entry><key>k</key><value>v</value></entry></Attributes></XResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></XResponse>"#);
    }

    #[test]
    fn no_text_can_break_out_or_make_the_document_unreadable() {
        assert_eq!(escape("]]><a b='\"'>&"), "]]&gt;&lt;a b=&apos;&quot;&apos;&gt;&amp;");
        assert_eq!(escape("a\0b\u{1b}[31m\u{ffff}"), "a\u{fffd}b\u{fffd}[31m\u{fffd}");
        assert_eq!(escape("line\r\nline\t"), "line&#13;\nline\t");
    }
}
