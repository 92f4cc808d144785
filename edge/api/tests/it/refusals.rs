use insta::assert_snapshot;
use picket_api::limits::{BODY_STALL_TIMEOUT, LARGE_BODIES_AT_ONCE, LARGE_BODY_BYTES};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Call, Server};

#[tokio::test]
async fn an_operation_that_is_not_served_says_so_by_name() {
    let server = Server::start().await;
    assert_snapshot!(
        server
            .transcript(&[
                "PUT /jobs/j {}",
                "POST /audit/tasks {}",
                "GET /no/such/path",
                "PUT /things/a",
                "lambda:POST /2018-10-31/layers/l/versions {}",
                "lambda:GET /nothing",
                "sns:POST / Action=CreatePlatformEndpoint&Version=2010-03-31",
                "sns:POST / Action=Dance",
                "sns:POST / Version=2010-03-31",
                "sns:GET /",
                "sts:POST / Action=GetFederationToken&Version=2011-06-15",
                "iam:POST / Action=CreateRole",
                "s3:GET /bucket",
                "GET /endpoint?endpointType=iot%3AData-ATS",
                "GET /endpoint",
                "GET /endpoint?endpointType=mail",
            ])
            .await
            .lines()
            .map(without_request_id)
            .collect::<Vec<_>>()
            .join("\n")
    );
}

fn without_request_id(line: &str) -> String {
    match line.split_once("<RequestId>") {
        Some((before, after)) => format!("{before}<RequestId>{}", &after[36..]),
        None => line.to_owned(),
    }
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_not_read() {
    let server = Server::start().await;
    let call = Call::parse("POST /things/a {}");
    let mut headers = server.signed(&call);
    headers.push(("content-length".to_owned(), "1099511627776".to_owned()));
    let answer = server.raw("POST", "/things/a", &headers, b"{}").await;
    assert_eq!(answer.status, 413, "{}", answer.shown());

    let large = format!("POST /things/a {{\"x\":\"{}\"}}", "x".repeat(600 * 1024));
    assert_eq!(server.call(&large).await.status, 413);
}

#[tokio::test]
async fn bodies_that_are_announced_and_do_not_come_hold_nobody_up() {
    let server = Server::start().await;
    let mut stalled = Vec::new();
    for _ in 0..=LARGE_BODIES_AT_ONCE {
        let mut head =
            "POST /2015-03-31/functions HTTP/1.1\r\ncontent-length: 60000000\r\n".to_owned();
        for (name, value) in server.signed(&Call::parse("lambda:POST /2015-03-31/functions")) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut client = TcpStream::connect(server.address).await.unwrap();
        client.write_all(format!("{head}\r\n{{").as_bytes()).await.unwrap();
        stalled.push(client);
    }
    let large = format!("lambda:POST /2015-03-31/functions {}", "x".repeat(2 * LARGE_BODY_BYTES));
    let answer = tokio::time::timeout(BODY_STALL_TIMEOUT / 2, server.call(&large)).await.unwrap();
    assert_eq!(answer.status, 400, "{}", answer.shown());
    drop(stalled);
}

#[tokio::test]
async fn a_body_that_stands_still_is_given_up() {
    let server = Server::start().await;
    let mut headers = server.signed(&Call::parse("POST /things/a {}"));
    headers.push(("content-length".to_owned(), "2".to_owned()));
    let answer = server.raw("POST", "/things/a", &headers, b"{").await;
    assert_eq!(answer.status, 408, "{}", answer.shown());
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let server = Server::start().await;
    let call = Call::parse("POST /things/a {}");
    let mut headers = server.signed(&call);
    headers.push(("transfer-encoding".to_owned(), "chunked".to_owned()));
    let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", 1 << 20, "x".repeat(1 << 20));
    let answer = server.raw("POST", "/things/a", &headers, chunk.as_bytes()).await;
    assert_eq!(answer.status, 413, "{}", answer.shown());
}
