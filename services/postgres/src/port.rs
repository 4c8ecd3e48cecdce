//! A free TCP port on loopback, chosen outside the range from which the kernel takes the ports of outgoing
//! connections: a client that keeps dialling a stopped server inside that range can connect to itself and then
//! holds the port that the server needs for its restart.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};

use crate::error::Error;

/// Below are ports of well-known services; from 32,768 on, Linux hands out ephemeral ports (other systems later).
const RANGE: std::ops::Range<u16> = 15_000..32_000;
/// With more than this many occupied in a row something else is wrong.
const ATTEMPTS: u32 = 200;

/// A TCP port on 127.0.0.1 that nobody listens on at this moment, at random so that several processes rarely meet.
///
/// # Errors
/// [`Error::NoFreePort`] when 200 random ports in a row are taken.
pub fn free_port() -> Result<u16, Error> {
    let span = RANGE.end - RANGE.start;
    for _ in 0..ATTEMPTS {
        // RandomState is seeded by the operating system; the standard library has no other randomness.
        let random = RandomState::new().build_hasher().finish() % u64::from(span);
        let port = RANGE.start + u16::try_from(random).unwrap_or(0);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::NoFreePort { attempts: ATTEMPTS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound_and_lies_outside_the_ephemeral_range() {
        let port = free_port().unwrap();
        assert!(RANGE.contains(&port));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
