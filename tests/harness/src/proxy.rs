//! A TCP proxy on loopback that breaks connections on purpose: at once, or exactly when chosen bytes pass, before or
//! after they reached the other side. With it a test shows that a connection lost at each phase of a transaction, its
//! commit included, gives every caller the truth.
//!
//! The driver sends `COMMIT` as a simple query (`Q`, length, `COMMIT\0`), and ends each other statement by a Sync
//! message (`S\0\0\0\x04`); see the PostgreSQL manual, section "Message Formats". Loopback connections are not
//! encrypted, since the test server has no certificate.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// As much as one read takes.
const CHUNK_BYTES: usize = 64 * 1024;

/// Which way bytes flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// When a connection breaks, seen from the bytes that a [`Fault`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The bytes are withheld; what came before them is forwarded.
    BeforeForward,
    /// The bytes are forwarded with all that was read with them; the receiver may or may not act on them.
    AfterForward,
    /// To the server only: the bytes are forwarded and the server's next bytes awaited, so that it has certainly acted;
    /// those are withheld from the client.
    AfterReply,
}

/// A rule: when these bytes pass for the n-th time, cut that connection. Each rule acts once.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which way.
    pub direction: Direction,
    /// What to wait for; matched across reads, per connection.
    pub pattern: Vec<u8>,
    /// How many occurrences, over all connections, pass unharmed first.
    pub skip: usize,
    /// When to cut.
    pub moment: Moment,
}

impl Fault {
    /// Cuts at the first `COMMIT` of a client.
    pub fn at_commit(moment: Moment) -> Self {
        Self { direction: Direction::ToServer, pattern: b"COMMIT".to_vec(), skip: 0, moment }
    }

    /// Cuts at the n-th statement (from 0) that a client sends as a prepared one, counted from when the rule is added.
    pub fn at_statement(n: usize, moment: Moment) -> Self {
        Self { direction: Direction::ToServer, pattern: b"S\0\0\0\x04".to_vec(), skip: n, moment }
    }
}

/// Tells whether a [`Fault`] has acted.
#[derive(Debug, Clone)]
pub struct Trigger(watch::Receiver<bool>);

impl Trigger {
    /// Whether the connection has been cut.
    pub fn has_fired(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the cut. Wrap it in a timeout: a pattern may never come.
    pub async fn fired(&mut self) {
        // An error means that the proxy is gone, and then nothing will ever fire.
        if self.0.wait_for(|fired| *fired).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[derive(Debug)]
struct Rule {
    direction: Direction,
    what: What,
    moment: Moment,
    fired: watch::Sender<bool>,
}

#[derive(Debug)]
enum What {
    Pattern {
        bytes: Vec<u8>,
        skip: usize,
    },
    /// So many more bytes pass.
    Count(u64),
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    upstream: watch::Sender<SocketAddr>,
    rules: Mutex<Vec<Rule>>,
    stalled: watch::Sender<bool>,
    refusing: watch::Sender<bool>,
    /// Counts the cuts; each connection ends when it changes.
    cuts: watch::Sender<u64>,
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A proxy in front of one server. Ends, with all its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `upstream`.
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn start(upstream: SocketAddr) -> Self {
        let port = crate::free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("bind the proxy's port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            upstream: watch::Sender::new(upstream),
            rules: Mutex::default(),
            stalled: watch::Sender::new(false),
            refusing: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
        });
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, acceptor }
    }

    /// A proxy in front of the server of a database url on 127.0.0.1, and the url that goes through it.
    ///
    /// # Panics
    /// When the url has no numeric host and port, as those of [`crate::TestDatabase`] have.
    pub async fn for_url(url: &str) -> (Self, String) {
        let (before, rest) = url.split_once('@').expect("a url with a user");
        let (host, path) = rest.split_once('/').expect("a url with a database");
        let proxy = Self::start(host.parse().expect("a numeric host and port")).await;
        let through = format!("{before}@{}/{path}", proxy.address);
        (proxy, through)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections now; new ones are taken.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Forwards nothing more, on all connections, old and new, until [`Proxy::resume`]; they stay open.
    pub fn stall(&self) {
        self.shared.stalled.send_replace(true);
    }

    /// Forwards again, including what came meanwhile.
    pub fn resume(&self) {
        self.shared.stalled.send_replace(false);
    }

    /// Forwards new connections to another server; those that there are stay with the old one.
    pub fn redirect(&self, upstream: SocketAddr) {
        self.shared.upstream.send_replace(upstream);
    }

    /// Closes new connections as soon as they come, until [`Proxy::admit`].
    pub fn refuse(&self) {
        self.shared.refusing.send_replace(true);
    }

    /// Takes new connections again.
    pub fn admit(&self) {
        self.shared.refusing.send_replace(false);
    }

    /// Cuts a connection when `fault` comes true.
    pub fn inject(&self, fault: Fault) -> Trigger {
        assert!(!fault.pattern.is_empty(), "a fault waits for at least one byte");
        let Fault { direction, pattern, skip, moment } = fault;
        self.add(direction, What::Pattern { bytes: pattern, skip }, moment)
    }

    /// Lets `bytes` more bytes pass in one direction, over all connections, then cuts the connection that reached them.
    pub fn cut_after(&self, direction: Direction, bytes: u64) -> Trigger {
        self.add(direction, What::Count(bytes), Moment::BeforeForward)
    }

    fn add(&self, direction: Direction, what: What, moment: Moment) -> Trigger {
        let (fired, receiver) = watch::channel(false);
        self.shared.rules().push(Rule { direction, what, moment, fired });
        Trigger(receiver)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections belong to the acceptor and end with it.
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if !*shared.refusing.borrow() {
            // Subscribed here: a cut that comes before the task first runs counts too.
            let cuts = shared.cuts.subscribe();
            connections.spawn(serve(client, cuts, Arc::clone(&shared)));
        }
    }
}

/// One connection: ends with either side, with a cut, or with a fault; both sockets are closed by the drop.
async fn serve(client: TcpStream, mut cuts: watch::Receiver<u64>, shared: Arc<Shared>) {
    let upstream = *shared.upstream.borrow();
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let awaiting_reply = Arc::new(Mutex::new(None));
    let upward = Pump {
        shared: Arc::clone(&shared),
        direction: Direction::ToServer,
        awaiting_reply: Arc::clone(&awaiting_reply),
        seen: Vec::new(),
    };
    let downward = Pump { shared, direction: Direction::ToClient, awaiting_reply, seen: Vec::new() };
    tokio::select! {
        _ = cuts.changed() => {}
        () = upward.run(from_client, to_server) => {}
        () = downward.run(from_server, to_client) => {}
    }
}

/// One direction of one connection.
struct Pump {
    shared: Arc<Shared>,
    direction: Direction,
    /// Set by the upward pump when the next bytes of the server are to be withheld: whom to tell.
    awaiting_reply: Arc<Mutex<Option<watch::Sender<bool>>>>,
    /// The end of what passed, as long as the longest pattern needs, so that one across two reads is found.
    seen: Vec<u8>,
}

/// What to do with a chunk.
enum Verdict {
    Forward,
    /// Forward so many bytes, then cut and tell.
    CutAt(usize, watch::Sender<bool>),
    /// Forward all, then cut when the server has answered.
    CutAtReply(watch::Sender<bool>),
}

impl Pump {
    async fn run(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut stalled = self.shared.stalled.subscribe();
        loop {
            let Ok(read @ 1..) = from.read(&mut chunk).await else { return };
            if stalled.wait_for(|stalled| !stalled).await.is_err() {
                return;
            }
            let bytes = &chunk[..read];
            if self.direction == Direction::ToClient
                && let Some(fired) = self.pending_reply()
            {
                fired.send_replace(true);
                return;
            }
            match self.judge(bytes) {
                Verdict::Forward => {}
                Verdict::CutAt(end, fired) => {
                    let _ = to.write_all(&bytes[..end]).await;
                    fired.send_replace(true);
                    return;
                }
                Verdict::CutAtReply(fired) => {
                    // Before the bytes leave: the answer may come at once.
                    *self.awaiting_reply.lock().unwrap_or_else(PoisonError::into_inner) = Some(fired);
                }
            }
            if to.write_all(bytes).await.is_err() {
                return;
            }
        }
    }

    fn pending_reply(&self) -> Option<watch::Sender<bool>> {
        self.awaiting_reply.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Applies the rules to a chunk; the first that comes true is used up.
    fn judge(&mut self, bytes: &[u8]) -> Verdict {
        let earlier = self.seen.len();
        self.seen.extend_from_slice(bytes);
        let mut rules = self.shared.rules();
        let mut hit = None;
        for (index, rule) in rules.iter_mut().enumerate().filter(|(_, rule)| rule.direction == self.direction)
        {
            if let Some(position) = position(&mut rule.what, &self.seen, earlier) {
                hit = Some((index, position));
                break;
            }
        }
        let longest = rules.iter().map(|rule| rule.what.len()).max().unwrap_or(0);
        let keep = longest.saturating_sub(1).min(self.seen.len());
        self.seen.drain(..self.seen.len() - keep);
        let Some((index, position)) = hit else { return Verdict::Forward };
        let rule = rules.remove(index);
        match rule.moment {
            Moment::BeforeForward => Verdict::CutAt(position, rule.fired),
            Moment::AfterForward => Verdict::CutAt(bytes.len(), rule.fired),
            Moment::AfterReply => Verdict::CutAtReply(rule.fired),
        }
    }
}

impl What {
    fn len(&self) -> usize {
        match self {
            Self::Pattern { bytes, .. } => bytes.len(),
            Self::Count(_) => 0,
        }
    }
}

/// Where in the new bytes (those of `seen` after `earlier`) a rule comes true; counts down what it skips.
fn position(what: &mut What, seen: &[u8], earlier: usize) -> Option<usize> {
    let new = seen.len() - earlier;
    match what {
        What::Count(left) => {
            let passing = usize::try_from(*left).unwrap_or(usize::MAX);
            if passing < new {
                return Some(passing);
            }
            *left -= u64::try_from(new).unwrap_or(*left);
            None
        }
        What::Pattern { bytes, skip } => {
            // Only matches that end in the new bytes: the others were counted before.
            let first = (earlier + 1).saturating_sub(bytes.len());
            for (offset, window) in seen[first..].windows(bytes.len()).enumerate() {
                if window != bytes.as_slice() {
                    continue;
                }
                if *skip == 0 {
                    return Some((first + offset).saturating_sub(earlier));
                }
                *skip -= 1;
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(bytes: &[u8], skip: usize) -> What {
        What::Pattern { bytes: bytes.to_vec(), skip }
    }

    #[test]
    fn a_pattern_is_found_across_reads_and_counted_once() {
        assert_eq!(position(&mut pattern(b"COMMIT", 0), b"xxCOMMIT", 0), Some(2));
        assert_eq!(
            position(&mut pattern(b"COMMIT", 0), b"COMMIT", 3),
            Some(0),
            "its end lies in the new bytes"
        );
        assert_eq!(position(&mut pattern(b"COMMIT", 0), b"COMMITx", 6), None, "it had passed before");
        assert_eq!(position(&mut pattern(b"ab", 1), b"ab.ab", 0), Some(3));
        let mut what = pattern(b"ab", 2);
        assert_eq!(position(&mut what, b"ab.ab", 0), None);
        assert_eq!(position(&mut what, b"bab", 1), Some(0));
    }

    #[test]
    fn a_count_lets_exactly_so_many_bytes_pass() {
        let mut what = What::Count(5);
        assert_eq!(position(&mut what, b"abc", 0), None);
        assert_eq!(position(&mut what, b"cdef", 1), Some(2));
    }
}
