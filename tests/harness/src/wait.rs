//! Waiting for a condition without a fixed sleep: looks again and again until it holds or the deadline passes.

use std::time::Duration;

use tokio::time::Instant;

/// Between two looks: short against anything a test waits for.
const INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `condition` is true. The condition gets the whole time of one look, so it should not hang by itself; one
/// that does is cut off at the deadline.
///
/// # Panics
/// With `what` and the time waited, when `limit` has passed.
pub async fn eventually<F, Fut>(what: &str, limit: Duration, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    eventually_some(what, limit, || {
        let look = condition();
        async move { look.await.then_some(()) }
    })
    .await;
}

/// As [`eventually`], for a condition that gives a value when it holds.
///
/// # Panics
/// With `what` and the time waited, when `limit` has passed.
pub async fn eventually_some<T, F, Fut>(what: &str, limit: Duration, mut condition: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        match tokio::time::timeout_at(deadline, condition()).await {
            Ok(Some(value)) => return value,
            Ok(None) if Instant::now() < deadline => tokio::time::sleep(INTERVAL).await,
            _ => panic!("{what}: not within {} ms", limit.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;
        let value = eventually_some("three looks", Duration::from_secs(60), || {
            looks += 1;
            let now = looks;
            async move { (now == 3).then_some(now) }
        });
        assert_eq!(value.await, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "the impossible: not within 20 ms")]
    async fn a_condition_that_stays_false_panics_with_its_name() {
        eventually("the impossible", Duration::from_millis(20), || async { false }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "a hanging look: not within 20 ms")]
    async fn a_look_that_hangs_is_cut_off_at_the_deadline() {
        eventually("a hanging look", Duration::from_millis(20), std::future::pending).await;
    }
}
