//! Reading a body from a stranger: bounded in bytes and in time.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::config::EdgeLimits;

/// How much of an oversized body is read and thrown away before it is refused. A connection that is closed with
/// unread bytes is reset, and the sender may then never see the 413; beyond this it has to live with that.
const MAX_DISCARDED_BYTES: usize = 8 * 1024 * 1024;

/// Reads the whole body, or says how to answer instead.
pub(crate) async fn read(headers: &HeaderMap, body: Body, limits: &EdgeLimits) -> Result<Bytes, Answer> {
    if declared_bytes(headers).is_some_and(|declared| declared > limits.body_bytes)
        && (headers.contains_key(header::EXPECT)
            || declared_bytes(headers) > Some(limits.body_bytes.saturating_add(MAX_DISCARDED_BYTES)))
    {
        // The sender waits for our go-ahead, or has more to send than we want to throw away.
        return Err(Answer::TooLarge);
    }
    let mut reader = Reader { body, kept: BytesMut::new(), discarded: 0, limit: limits.body_bytes };
    match timeout(limits.body_timeout, reader.run()).await {
        Ok(outcome) => outcome.map(|()| reader.kept.freeze()),
        Err(_) if reader.discarded > 0 => Err(Answer::TooLarge),
        Err(_) => Err(Answer::TooSlow),
    }
}

fn declared_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

struct Reader {
    body: Body,
    kept: BytesMut,
    discarded: usize,
    limit: usize,
}

impl Reader {
    async fn run(&mut self) -> Result<(), Answer> {
        while let Some(frame) = self.body.frame().await {
            // The connection broke, or its framing is not HTTP: whoever is left gets the fixed refusal.
            let frame = frame.map_err(|_| Answer::Invalid)?;
            let Ok(data) = frame.into_data() else { continue };
            if self.discarded > 0 || data.len() > self.limit.saturating_sub(self.kept.len()) {
                self.discarded = self.discarded.saturating_add(data.len());
                self.kept = BytesMut::new();
                if self.discarded > MAX_DISCARDED_BYTES {
                    break;
                }
            } else {
                self.kept.extend_from_slice(&data);
            }
        }
        if self.discarded > 0 { Err(Answer::TooLarge) } else { Ok(()) }
    }
}
