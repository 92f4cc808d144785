//! What real clients sent is read, to the last value.

use picket_model::{CustomValue, Number, Report};
use picket_report::{Format, Names, decode, encode};

fn read(format: Format, bytes: &[u8]) -> Report {
    let report = decode(format, bytes).unwrap();
    for names in [Names::Long, Names::Short] {
        for format in Format::ALL {
            assert_eq!(decode(format, &encode(&report, format, names)).unwrap(), report);
        }
    }
    report
}

/// A report in one line: id; bytes and packets in and out; TCP ports; UDP ports; peers.
fn in_short(report: &Report) -> String {
    let ports = |ports: &Option<picket_model::ListeningPorts>| {
        ports.as_ref().map_or("-".to_owned(), |ports| {
            let list = ports.ports.as_ref().map(|list| {
                let port = |port: &picket_model::ListeningPort| match &port.interface {
                    Some(interface) => format!("{}@{interface}", port.port),
                    None => port.port.to_string(),
                };
                list.iter().map(port).collect::<Vec<_>>().join(" ")
            });
            format!("{} of {}", list.unwrap_or("-".to_owned()), ports.total)
        })
    };
    let n = report.network;
    let connections = report.tcp_connections.as_ref().map_or("-".to_owned(), |tcp| {
        let list = tcp.connections.as_ref().unwrap();
        let remotes = list.iter().map(|connection| connection.remote.to_string());
        format!("{} of {}", remotes.collect::<Vec<_>>().join(" "), tcp.total)
    });
    format!(
        "{}; {} {} {} {}; {}; {}; {connections}",
        report.id,
        n.bytes_in.unwrap(),
        n.bytes_out.unwrap(),
        n.packets_in.unwrap(),
        n.packets_out.unwrap(),
        ports(&report.listening_tcp_ports),
        ports(&report.listening_udp_ports),
    )
}

fn custom(report: &Report) -> Vec<(&str, &CustomValue)> {
    report.custom.iter().map(|(name, value)| (name.as_str(), value)).collect()
}

fn number(value: f64) -> Number {
    Number::new(value).unwrap()
}

#[test]
fn the_python_agent_in_json_with_long_names() {
    let report = read(Format::Json, include_bytes!("../samples/python-agent-2.0.0-long.json"));
    assert_eq!(
        in_short(&report),
        "1795162837; 3001 3001 11 11; 1883@lo 8883@lo 443@lo 2024@0.0.0.0 of 4; -; \
         127.0.0.1:45719 203.0.113.80:443 127.0.0.1:443 127.0.0.1:1883 203.0.113.80:443 \
         127.0.0.1:59674 of 6"
    );
    assert_eq!(custom(&report), [("cpu_usage", &CustomValue::Number(number(100.0)))]);
    let first = &report.tcp_connections.unwrap().connections.unwrap()[0];
    assert_eq!((first.local_port, first.local_interface.as_deref()), (Some(1883), Some("lo")));
}

#[test]
fn the_python_agent_in_cbor_with_long_names() {
    let report = read(Format::Cbor, include_bytes!("../samples/python-agent-2.0.0-long.cbor"));
    assert_eq!(report.id, 1_795_162_868);
    let n = report.network;
    assert_eq!(
        [n.bytes_in, n.bytes_out, n.packets_in, n.packets_out],
        [Some(80_353_328), Some(102_443), Some(1_743), Some(1_270)]
    );
    assert_eq!(report.tcp_connections.as_ref().unwrap().connections.as_ref().unwrap().len(), 10);
    assert!(report.listening_tcp_ports.is_some());
}

#[test]
fn the_python_agent_with_short_names_and_bare_ipv6() {
    let report = read(
        Format::Json,
        include_bytes!("../samples/python-agent-2.0.0-short-first-sample-ipv6.json"),
    );
    assert_eq!(
        in_short(&report),
        "1795164836; 5656642889 3993176252 2590060 2571679; 15999@lo 443@lo 5000@lo 1883@lo \
         2024@0.0.0.0 5055@lo 18700@lo 8883@lo 1884@lo 25432@lo 1885@lo of 11; -; \
         127.0.0.1:1883 127.0.0.1:45719 [::1]:52050 127.0.0.1:51840 127.0.0.1:41284 \
         127.0.0.1:18700 203.0.113.80:443 [::1]:15999 127.0.0.1:1883 203.0.113.80:443 of 10"
    );
    let cbor = read(
        Format::Cbor,
        include_bytes!("../samples/python-agent-2.0.0-short-first-sample-ipv6.cbor"),
    );
    let ports = |report: &Report| report.listening_tcp_ports.as_ref().unwrap().total;
    assert_eq!(cbor.id, 1_795_164_836);
    assert_eq!(ports(&cbor), ports(&report));
}

#[test]
fn the_embedded_c_demo_with_custom_metrics() {
    let long =
        read(Format::Json, include_bytes!("../samples/embedded-c-demo-long-custom-metrics.json"));
    assert_eq!(
        in_short(&long),
        "1795164392; 4094454395 2484746477 1737635 1720393; \
         5055 5000 443 1883 1885 1884 18700 25432 8883 2024 of 10;  of 0; \
         127.0.0.1:1883 127.0.0.1:54434 127.0.0.1:18700 127.0.0.1:45719 127.0.0.1:8883 \
         127.0.0.1:46072 of 6"
    );
    assert_eq!(
        custom(&long),
        [
            ("uptime", &CustomValue::Number(number(2172.0))),
            ("free_mem", &CustomValue::Number(number(15_783_136.0))),
            (
                "cpu_user_usage",
                &CustomValue::NumberList([307_159.0, 154_616.0, 152_542.0].map(number).to_vec())
            ),
            ("network_interface_names", &CustomValue::StringList(vec!["eth0".into()])),
            (
                "network_interface_addresses",
                &CustomValue::IpList(vec!["192.0.2.1".parse().unwrap()])
            ),
        ]
    );
    let short =
        read(Format::Json, include_bytes!("../samples/embedded-c-demo-short-custom-metrics.json"));
    assert_eq!(short.id, 1_795_164_393);
    assert_eq!(short.custom.len(), 5);
    assert_eq!(short.tcp_connections.unwrap().total, 8);
    assert_eq!(short.listening_tcp_ports.unwrap(), long.listening_tcp_ports.unwrap());
}
