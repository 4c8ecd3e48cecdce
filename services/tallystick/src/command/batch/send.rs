//! One call of a batch, repeated until everything in it is decided: the keys make that safe, and the service keeps the
//! order of an account's commands over the repetitions.

use std::time::Duration;

use proto::v1::command_result::Result as Outcome;
use proto::v1::{ApplyBatchRequest, CommandResult};
use tonic::Code;

use super::lines::Line;
use crate::client::{CallError, Client};
use crate::error::Error;

/// Calls in a row that get nothing done, before what is left is given up.
const MAX_IDLE_CALLS: u32 = 6;
/// The first pause between them; doubled each time.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause that a service may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// The longest answer, in bytes: a thousand commands whose answers name dozens of lots each.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The results of the lines, with their numbers, in order.
///
/// # Errors
/// [`Error::Call`] when the service refuses the call, or cannot be reached any more.
pub(in crate::command) async fn send(
    client: &mut Client,
    addr: &str,
    lines: Vec<Line>,
) -> Result<Vec<(u64, CommandResult)>, Error> {
    let mut decided = Vec::with_capacity(lines.len());
    let mut left = lines;
    let mut idle_calls = 0;
    loop {
        let commands = left.iter().map(|line| line.command.clone()).collect();
        let request = client.request(ApplyBatchRequest { commands });
        let mut service = client.service.clone().max_decoding_message_size(MAX_ANSWER_BYTES);
        let (mut undecided, mut pause) = (Vec::new(), MIN_PAUSE.saturating_mul(1 << idle_calls));
        let before = decided.len();
        idle_calls += 1;
        let gives_up = idle_calls == MAX_IDLE_CALLS;
        match service.apply_batch(request).await.map_err(CallError::refused(addr)) {
            Ok(answer) => {
                for (line, result) in left.into_iter().zip(answer.into_inner().results) {
                    match retry_after(&result) {
                        Some(delay) if !gives_up => {
                            pause = pause.max(delay);
                            undecided.push(line);
                        }
                        _ => decided.push((line.number, result)),
                    }
                }
            }
            Err(error) if error.is_transient() && !gives_up => undecided = left,
            Err(error) => return Err(error.into()),
        }
        if undecided.is_empty() {
            decided.sort_unstable_by_key(|(number, _)| *number);
            return Ok(decided);
        }
        if decided.len() > before {
            idle_calls = 0;
        }
        left = undecided;
        tokio::time::sleep(pause.min(MAX_PAUSE)).await;
    }
}

/// When to try again; `None` for a command that is decided.
fn retry_after(result: &CommandResult) -> Option<Duration> {
    let Some(Outcome::Error(error)) = &result.result else { return None };
    if let Some(delay) = error.retry_after {
        return Duration::try_from(delay).ok();
    }
    // The call's time was up before its turn came.
    (error.code == i32::from(Code::DeadlineExceeded)).then_some(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: Code, retry_after: Option<prost_types::Duration>) -> CommandResult {
        let error = proto::v1::Error { code: code.into(), retry_after, ..Default::default() };
        CommandResult { result: Some(Outcome::Error(error)) }
    }

    #[test]
    fn only_what_was_not_tried_is_tried_again() {
        let second = prost_types::Duration { seconds: 1, nanos: 0 };
        assert_eq!(retry_after(&failed(Code::Unavailable, Some(second))), Some(Duration::from_secs(1)));
        assert_eq!(retry_after(&failed(Code::DeadlineExceeded, None)), Some(Duration::ZERO));
        assert_eq!(retry_after(&failed(Code::FailedPrecondition, None)), None);
        assert_eq!(retry_after(&CommandResult { result: Some(Outcome::Spend(Default::default())) }), None);
    }
}
