//! Chance that can be had again: a seed is printed, and `TALLYSTICK_TEST_SEED` repeats it.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// A seed, told on standard error, where a failed test shows it.
///
/// # Panics
/// When `TALLYSTICK_TEST_SEED` is no number.
pub fn choose(test: &str) -> u64 {
    let given = std::env::var_os("TALLYSTICK_TEST_SEED");
    let given =
        given.map(|seed| seed.to_str().and_then(|seed| seed.parse().ok()).expect("a seed is a number"));
    let seed = given.unwrap_or_else(rand::random);
    eprintln!("{test}: TALLYSTICK_TEST_SEED={seed}");
    seed
}

/// Chance from a seed.
pub fn random(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}
