//! A stream in memory, with a real WebSocket client at the other end.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};

use super::*;

const BYTES_MAX: usize = 1000;

async fn both() -> (WebSocket<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
    (WebSocket::new(near, BYTES_MAX).await, client)
}

fn binary(bytes: &'static [u8]) -> Message {
    Message::Binary(Bytes::from_static(bytes))
}

fn fragment(opcode: Data, bytes: &'static [u8], is_last: bool) -> Message {
    Message::Frame(Frame::message(Bytes::from_static(bytes), OpCode::Data(opcode), is_last))
}

#[tokio::test]
async fn bytes_come_whatever_the_frames_are() {
    // mqtt-3.1.1 [MQTT-6.0.0-2], mqtt-5 [MQTT-6.0.0-2]
    let (mut server, mut client) = both().await;
    let sent = [
        binary(b"one"),
        binary(b""),
        Message::Ping(Bytes::from_static(b"there?")),
        fragment(Data::Binary, b" t", false),
        fragment(Data::Continue, b"w", false),
        Message::Pong(Bytes::new()),
        fragment(Data::Continue, b"o", true),
        binary(b" three"),
        Message::Close(None),
    ];
    let played = tokio::spawn(async move {
        for message in sent {
            client.send(message).await.unwrap();
        }
        client.next().await.unwrap().unwrap()
    });
    let mut all = String::new();
    server.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "one two three");
    assert_eq!(played.await.unwrap(), Message::Pong(Bytes::from_static(b"there?")));
}

#[tokio::test]
async fn what_is_written_comes_in_binary_frames_and_ends_with_a_close() {
    let (mut server, mut client) = both().await;
    let wrote = vec![7; 3 * WEBSOCKET_WRITE_BYTES + 1];
    let expected = wrote.clone();
    let writer = tokio::spawn(async move {
        server.write_all(&wrote).await.unwrap();
        server.shutdown().await.unwrap();
        // The client's own close frame, and then nothing.
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    });
    let mut got = Vec::new();
    loop {
        match client.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => {
                assert!(bytes.len() <= WEBSOCKET_WRITE_BYTES);
                got.extend_from_slice(&bytes);
            }
            Message::Close(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(got == expected);
    let _ = client.next().await;
    writer.await.unwrap();
}

/// How a read ends after the client did something.
async fn read_after(
    deed: impl AsyncFnOnce(&mut WebSocketStream<DuplexStream>),
) -> io::Result<usize> {
    let (mut server, mut client) = both().await;
    deed(&mut client).await;
    server.read(&mut [0; 8]).await
}

#[tokio::test]
async fn an_end_is_an_end_with_or_without_a_close_frame() {
    let close = CloseFrame { code: 1000.into(), reason: "bye".into() };
    assert_eq!(
        read_after(async |client| client.close(Some(close)).await.unwrap()).await.unwrap(),
        0
    );
    let gone = read_after(async |client| client.get_mut().shutdown().await.unwrap()).await;
    assert_eq!(gone.unwrap(), 0);
}

#[tokio::test]
async fn what_no_client_may_send_is_an_error() {
    let error = async |bytes: &'static [u8]| {
        let read =
            read_after(async |client| client.get_mut().write_all(bytes).await.unwrap()).await;
        read.unwrap_err().to_string()
    };
    // mqtt-3.1.1 [MQTT-6.0.0-1], mqtt-5 [MQTT-6.0.0-1]
    let text = read_after(async |client| client.send(Message::text("hello")).await.unwrap()).await;
    assert_eq!(text.unwrap_err().to_string(), "a text frame; MQTT travels in binary ones");
    // Not masked; with reserved bits; of an unknown kind; a close frame of one byte; too large.
    for bytes in [
        &[0x82, 0x01, b'a'][..],
        &[0xc2, 0x81, 0, 0, 0, 0, b'a'],
        &[0x83, 0x81, 0, 0, 0, 0, b'a'],
        &[0x88, 0x81, 0, 0, 0, 0, 3],
        &[0x82, 0xfe, 0x03, 0xe9, 0, 0, 0, 0],
        &[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
    ] {
        assert!(!error(bytes).await.is_empty(), "{bytes:x?}");
    }
    let pieces = read_after(async |client| {
        for part in 0..1000 {
            let opcode = if part == 0 { Data::Binary } else { Data::Continue };
            // Refused before all of it came.
            if client.send(fragment(opcode, b"ab", false)).await.is_err() {
                break;
            }
        }
    });
    assert!(pieces.await.unwrap_err().to_string().contains("too long"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_written_for_without_end() {
    let (near, _far) = tokio::io::duplex(64);
    let mut server = WebSocket::new(near, BYTES_MAX).await;
    let mut taken = 0;
    let written = std::future::poll_fn(|cx| {
        while let Poll::Ready(written) = Pin::new(&mut server).poll_write(cx, &[0; 1 << 20]) {
            taken += written.unwrap();
        }
        Poll::Ready(())
    });
    written.await;
    assert!(taken <= 2 * WEBSOCKET_WRITE_BYTES, "{taken}");
}
