//! The addresses of a process that serves.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Args;

use crate::error::Error;
use crate::settings::address;

/// The longest time to end that may be asked for: ten minutes.
const MAX_GRACE_S: u64 = 600;

/// Ports by role, as documented.
const GRPC_PORT: u16 = 7070;
const EDGE_PORT: u16 = 7071;
const OPS_PORT: u16 = 7073;

/// Where roles listen, and how they end.
#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Where the credits role listens for gRPC [default: 127.0.0.1:7070 in dev, 0.0.0.0:7070 in serve]
    #[arg(long, env = "TALLYSTICK_GRPC_ADDR", value_parser = address::parse, value_name = "IP:PORT", help_heading = "Addresses")]
    grpc_addr: Option<SocketAddr>,
    /// Where the edge role listens for webhooks [default: the same with port 7071]
    #[arg(long, env = "TALLYSTICK_EDGE_ADDR", value_parser = address::parse, value_name = "IP:PORT", help_heading = "Addresses")]
    edge_addr: Option<SocketAddr>,
    /// For the gateway role (port 7072), which this version does not have: accepted, not listened on.
    #[arg(long, env = "TALLYSTICK_GATEWAY_ADDR", value_parser = address::parse, value_name = "IP:PORT", help_heading = "Addresses")]
    gateway_addr: Option<SocketAddr>,
    /// Where /healthz, /readyz and /metrics are [default: the same with port 7073]
    #[arg(long, env = "TALLYSTICK_OPS_ADDR", value_parser = address::parse, value_name = "IP:PORT", help_heading = "Addresses")]
    ops_addr: Option<SocketAddr>,
    /// How many seconds the process may take to end after SIGTERM.
    #[arg(
        long,
        env = "TALLYSTICK_GRACE_S",
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=MAX_GRACE_S),
        value_name = "SECONDS"
    )]
    grace: u64,
}

impl ListenArgs {
    /// How long the process may take to end.
    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(self.grace)
    }

    /// Refuses addresses that others can reach.
    ///
    /// # Errors
    /// [`Error::Config`] with the flag.
    pub(crate) fn require_loopback(&self) -> Result<(), Error> {
        let all = [
            ("--grpc-addr", self.grpc_addr),
            ("--edge-addr", self.edge_addr),
            ("--gateway-addr", self.gateway_addr),
            ("--ops-addr", self.ops_addr),
        ];
        for (setting, addr) in all {
            if let Some(addr) = addr.filter(|addr| !addr.ip().is_loopback()) {
                let problem = format!(
                    "{addr} is reachable from other machines, and dev asks for no credentials: use 127.0.0.1 or \
                     [::1], or run `tallystick serve`"
                );
                return Err(Error::Config { setting, problem });
            }
        }
        Ok(())
    }

    /// Listens for gRPC; `ip` is where, unless an address was given.
    ///
    /// # Errors
    /// [`Error::Bind`] with the flag.
    pub(crate) async fn grpc(&self, ip: IpAddr) -> Result<Bound, Error> {
        Bound::try_new("--grpc-addr", self.grpc_addr, SocketAddr::new(ip, GRPC_PORT)).await
    }

    /// Listens for webhooks.
    ///
    /// # Errors
    /// [`Error::Bind`] with the flag.
    pub(crate) async fn edge(&self, ip: IpAddr) -> Result<Bound, Error> {
        Bound::try_new("--edge-addr", self.edge_addr, SocketAddr::new(ip, EDGE_PORT)).await
    }

    /// Listens for operations.
    ///
    /// # Errors
    /// [`Error::Bind`] with the flag.
    pub(crate) async fn ops(&self, ip: IpAddr) -> Result<Bound, Error> {
        Bound::try_new("--ops-addr", self.ops_addr, SocketAddr::new(ip, OPS_PORT)).await
    }
}

/// A listener and where it really is.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listener: tokio::net::TcpListener,
    pub(crate) addr: SocketAddr,
}

impl Bound {
    async fn try_new(
        flag: &'static str,
        given: Option<SocketAddr>,
        default: SocketAddr,
    ) -> Result<Self, Error> {
        let (listener, addr) = address::listen(flag, given.unwrap_or(default)).await?;
        Ok(Self { listener, addr })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        listen: ListenArgs,
    }

    fn args(words: &[&str]) -> ListenArgs {
        Line::try_parse_from(["x"].iter().chain(words)).unwrap().listen
    }

    #[test]
    fn an_address_that_others_can_reach_is_refused_by_name() {
        for flag in ["--grpc-addr", "--edge-addr", "--gateway-addr", "--ops-addr"] {
            for addr in ["0.0.0.0:0", "[::]:0", "10.0.0.1:7070"] {
                let error = args(&[flag, addr]).require_loopback().unwrap_err();
                assert!(error.to_string().starts_with(flag), "{error}");
            }
        }
        args(&["--grpc-addr", "127.0.0.2:0", "--ops-addr", "[::1]:0"]).require_loopback().unwrap();
        args(&[]).require_loopback().unwrap();
    }

    #[test]
    fn the_time_to_end_is_bounded() {
        assert_eq!(args(&[]).grace(), Duration::from_secs(10));
        assert!(Line::try_parse_from(["x", "--grace", "0"]).is_err());
        assert!(Line::try_parse_from(["x", "--grace", "601"]).is_err());
    }
}
