//! Addresses to listen on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

use crate::error::Error;

/// For clap: `ip:port`; port 0 takes a free one.
///
/// # Errors
/// A sentence for the user.
pub(crate) fn parse(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be ip:port, such as 127.0.0.1:7070; port 0 takes a free one".to_owned())
}

/// The host:port of a service, `http://` in front and `/` behind dropped; `None` for anything else.
pub(crate) fn host_port(text: &str) -> Option<&str> {
    let text = text.strip_prefix("http://").unwrap_or(text);
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = text.rsplit_once(':')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    let usable =
        !host.is_empty() && host.bytes().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0);
    usable.then_some(text)
}

/// Listens on an address.
///
/// # Errors
/// [`Error::Bind`] with the flag that sets it.
pub(crate) async fn listen(flag: &'static str, addr: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let bind = |source| Error::Bind { flag, addr, source };
    let listener = TcpListener::bind(addr).await.map_err(bind)?;
    let bound = listener.local_addr().map_err(|source| Error::Bind { flag, addr, source })?;
    Ok((listener, bound))
}

/// Where this process itself reaches a listener: loopback when it listens on all addresses.
pub(crate) fn from_inside(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_ip_and_port() {
        assert!(parse("127.0.0.1:0").is_ok() && parse("[::1]:7070").is_ok());
        for text in ["", "7070", ":7070", "localhost:7070", "127.0.0.1", "127.0.0.1:70700"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn services_are_host_and_port() {
        for text in ["127.0.0.1:7070", "localhost:7070", "[::1]:7070", "credits.internal:1"] {
            assert_eq!(host_port(text), Some(text));
        }
        assert_eq!(host_port("http://localhost:7070/"), Some("localhost:7070"));
        for text in
            ["", "localhost", ":7070", "localhost:0", "localhost:x", "https://a:1", "a b:1", "a:1/b", "u@a:1"]
        {
            assert_eq!(host_port(text), None, "{text}");
        }
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_by_loopback() {
        assert_eq!(from_inside(parse("0.0.0.0:7070").unwrap()), parse("127.0.0.1:7070").unwrap());
        assert_eq!(from_inside(parse("[::]:7070").unwrap()), parse("[::1]:7070").unwrap());
        assert_eq!(from_inside(parse("10.0.0.7:7070").unwrap()), parse("10.0.0.7:7070").unwrap());
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_with_its_flag() {
        let (_held, bound) = listen("--edge-addr", parse("127.0.0.1:0").unwrap()).await.unwrap();
        let error = listen("--edge-addr", bound).await.unwrap_err();
        assert!(matches!(error, Error::Bind { flag: "--edge-addr", .. }), "{error}");
    }
}
