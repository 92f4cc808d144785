//! Clients that take their time, each on a real socket.

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Long enough for a request on loopback, short enough to wait for.
const SHORT: Duration = Duration::from_millis(200);

/// When a test is given up.
const GIVEN_UP: Duration = Duration::from_secs(20);

struct Testbed {
    address: SocketAddr,
    metrics: HttpMetrics,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

impl Testbed {
    async fn start(limits: HttpLimits) -> Self {
        let router = Router::new()
            .route("/hello", get(|| async { "hello" }))
            .route("/much", get(|| async { "a lot ".repeat(1 << 20) }));
        let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let metrics = HttpMetrics::default();
        let listener = HttpListener { name: "test", socket, limits, metrics: metrics.clone() };
        Self { address, metrics, stop, serving: tokio::spawn(listener.serve(router, stopping)) }
    }

    async fn client(&self, says: &[u8]) -> TcpStream {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        client.write_all(says).await.unwrap();
        client
    }

    fn refused(&self) -> u64 {
        self.metrics.refused.get_or_create_owned(&Listening { listener: "test" }).get()
    }
}

/// Everything that the server says before it closes, broken connection or not.
async fn until_closed(mut client: TcpStream) -> String {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    let read = async {
        while let Ok(n @ 1..) = client.read(&mut chunk).await {
            all.extend_from_slice(&chunk[..n]);
        }
    };
    tokio::time::timeout(GIVEN_UP, read).await.expect("the server should close the connection");
    String::from_utf8_lossy(&all).into_owned()
}

/// A listener that waits shortly for heads must close this client's connection.
async fn check_closed(says: &[u8], expected: &str) {
    let limits = HttpLimits { head_timeout: SHORT, ..HttpLimits::default() };
    let testbed = Testbed::start(limits).await;
    let answer = until_closed(testbed.client(says).await).await;
    assert!(answer.starts_with(expected), "{answer}");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    check_closed(b"", "").await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_closed() {
    check_closed(b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Slow: ", "").await;
}

#[tokio::test]
async fn a_client_that_asks_nothing_more_is_closed() {
    check_closed(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n").await;
}

#[tokio::test]
async fn a_client_that_speaks_http_2_is_closed() {
    check_closed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "").await;
}

#[tokio::test]
async fn a_client_with_a_head_beyond_the_bound_is_told_so() {
    let head = format!("GET /hello HTTP/1.1\r\nX: {}", "x".repeat(HTTP_HEAD_BYTES_MAX));
    let testbed = Testbed::start(HttpLimits::default()).await;
    let answer = until_closed(testbed.client(head.as_bytes()).await).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_loses_its_place() {
    let limits = HttpLimits { connections_max: 1, stall_timeout: SHORT, ..HttpLimits::default() };
    let testbed = Testbed::start(limits).await;
    let greedy = testbed.client(&b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n".repeat(8)).await;
    let served = async {
        loop {
            let client = testbed
                .client(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .await;
            if until_closed(client).await.ends_with("hello") {
                break;
            }
        }
    };
    tokio::time::timeout(GIVEN_UP, served).await.expect("the place should become free");
    drop(greedy);
}

#[tokio::test]
async fn a_connection_beyond_the_last_place_is_closed_and_counted() {
    let testbed = Testbed::start(HttpLimits { connections_max: 1, ..HttpLimits::default() }).await;
    let mut first = testbed.client(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await;
    first.read_exact(&mut [0; 12]).await.unwrap();
    let second = TcpStream::connect(testbed.address).await.unwrap();
    assert_eq!(until_closed(second).await, "");
    assert_eq!(testbed.refused(), 1);
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_ends() {
    let testbed = Testbed::start(HttpLimits::default()).await;
    let mut idle = testbed.client(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await;
    idle.read_exact(&mut [0; 12]).await.unwrap();
    testbed.stop.send_replace(true);
    tokio::time::timeout(GIVEN_UP, testbed.serving).await.unwrap().unwrap();
    assert!(until_closed(idle).await.ends_with("hello"));
}

#[test]
fn strangers_leave_a_quarter_of_the_places_to_this_machine() {
    let places = Places::new(8);
    let stranger = IpAddr::from([192, 0, 2, 1]);
    let strangers: Vec<_> = std::iter::from_fn(|| places.take(stranger)).collect();
    assert_eq!(strangers.len(), 6);
    let here = ["127.0.0.1", "::ffff:127.0.0.1"].map(|ip| places.take(ip.parse().unwrap()));
    assert!(here.iter().all(Option::is_some));
    assert!(places.take("::1".parse().unwrap()).is_none());
    drop(strangers);
    assert!(places.take(stranger).is_some());
}
