//! Follows accounts and prints what happens: `cargo run -p tallystick-client --example watch -- user_1`.
#![allow(clippy::print_stdout, reason = "it is what the example is for")]

use client::{WatchError, Watcher};

#[tokio::main]
async fn main() -> Result<(), WatchError> {
    let accounts = std::env::args().skip(1);
    let builder = Watcher::builder().endpoint("http://127.0.0.1:7070");
    let mut watcher = accounts.fold(builder, |builder, account| builder.account(account)).build()?;
    while let Some(update) = watcher.next().await {
        println!("{:?}", update?);
    }
    Ok(())
}
