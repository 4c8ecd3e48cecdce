//! A snapshot as PostgreSQL writes it, `xmin:xmax:xip_list` (manual, 9.27 "Transaction ID and Snapshot Information
//! Functions"), and as a token holds it.

use std::fmt;

/// Most transactions in progress that a snapshot may list. Two snapshots with as many fit into a token of 64 KiB; a server
/// with more writers at once than that refuses new ones long before.
pub const MAX_IN_PROGRESS: usize = 7000;

/// A snapshot: which transactions had ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    xmin: u64,
    xmax: u64,
    /// Ascending, each from `xmin` to below `xmax`.
    in_progress: Vec<u64>,
}

impl Snapshot {
    /// From the server's text; none for what is no snapshot.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let list = parts.next()?;
        let ids = list.split(',').filter(|_| !list.is_empty());
        let in_progress = ids.map(|id| id.parse().ok()).collect::<Option<Vec<u64>>>()?;
        Self::checked(xmin, xmax, in_progress)
    }

    fn checked(xmin: u64, xmax: u64, in_progress: Vec<u64>) -> Option<Self> {
        let ascends = in_progress.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        let within = in_progress.iter().all(|id| (xmin..xmax).contains(id));
        (xmin <= xmax && ascends && within).then_some(Self { xmin, xmax, in_progress })
    }

    /// How many transactions were in progress.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.in_progress.len()
    }

    /// Appends its bytes: xmin and xmax (8 bytes each, big endian), the number of transactions in progress, and for each its
    /// distance from xmin (4 bytes each; ids that are further apart cannot be in progress together). None for a
    /// snapshot that lists more than [`MAX_IN_PROGRESS`].
    #[must_use]
    pub fn write(&self, to: &mut Vec<u8>) -> Option<()> {
        if self.in_progress.len() > MAX_IN_PROGRESS {
            return None;
        }
        to.extend(self.xmin.to_be_bytes());
        to.extend(self.xmax.to_be_bytes());
        to.extend(u32::try_from(self.in_progress.len()).ok()?.to_be_bytes());
        for id in &self.in_progress {
            to.extend(u32::try_from(id.checked_sub(self.xmin)?).ok()?.to_be_bytes());
        }
        Some(())
    }

    /// Reads what [`Snapshot::write`] has written, and what is behind it.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (xmin, bytes) = bytes.split_first_chunk::<8>()?;
        let (xmax, bytes) = bytes.split_first_chunk::<8>()?;
        let (count, bytes) = bytes.split_first_chunk::<4>()?;
        let count =
            usize::try_from(u32::from_be_bytes(*count)).ok().filter(|count| *count <= MAX_IN_PROGRESS)?;
        let (ids, rest) = bytes.split_at_checked(count.checked_mul(4)?)?;
        let xmin = u64::from_be_bytes(*xmin);
        let id = |chunk: &[u8]| xmin.checked_add(u32::from_be_bytes(chunk.try_into().ok()?).into());
        let in_progress = ids.chunks_exact(4).map(id).collect::<Option<Vec<u64>>>()?;
        Some((Self::checked(xmin, u64::from_be_bytes(*xmax), in_progress)?, rest))
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (index, id) in self.in_progress.iter().enumerate() {
            write!(f, "{}{id}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_comes_back_from_its_text_and_its_bytes() {
        for text in ["795:795:", "795:799:795,797", "1:18446744073709551615:"] {
            let snapshot = Snapshot::parse(text).unwrap();
            assert_eq!(snapshot.to_string(), text);
            let mut bytes = Vec::new();
            snapshot.write(&mut bytes).unwrap();
            bytes.push(7);
            assert_eq!(Snapshot::read(&bytes), Some((snapshot, &[7][..])), "{text}");
        }
    }

    #[test]
    fn what_is_no_snapshot_is_none() {
        for text in ["", "1:2", "2:1:", "a:2:", "1:5:3,2", "1:5:5", "2:5:1", "1:5:,", "1:5:2,"] {
            assert_eq!(Snapshot::parse(text), None, "{text}");
        }
        let mut bytes = Vec::new();
        Snapshot::parse("795:799:795,797").unwrap().write(&mut bytes).unwrap();
        for cut in 0..bytes.len() {
            assert_eq!(Snapshot::read(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn as_many_in_progress_as_allowed_fit_twice_into_a_token_and_one_more_is_refused() {
        let listing = |count: u64| {
            let ids: Vec<String> = (10..10 + count).map(|id| id.to_string()).collect();
            Snapshot::parse(&format!("10:{}:{}", 10 + count, ids.join(","))).unwrap()
        };
        let most = u64::try_from(MAX_IN_PROGRESS).unwrap();
        let mut bytes = Vec::new();
        listing(most).write(&mut bytes).unwrap();
        assert!(2 * bytes.len() + 1024 < 64 * 1024);
        assert_eq!(listing(most + 1).write(&mut bytes), None);
    }
}
