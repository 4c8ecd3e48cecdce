//! A day in the life of a product that makes videos with AI, told by its commands: packs, promotions, a job with a hold,
//! heartbeats and partial captures, a worker that dies, a refund, a dispute, and expiry at midnight. After every step
//! `explain` must tell the story right, and in the end the exported journal must add up.

use black_box::{Options, Program, run};
use serde_json::Value;

use crate::assert_healthy;

const MAYA: &str = "maya";
/// The day, by the account's own clock; far enough ahead for the clock to go forward only.
const DAY: &str = "2100-03-01";

struct Day {
    addr: String,
}

impl Day {
    /// A command with `--json`, which must succeed.
    async fn told(&self, words: &[&str]) -> Value {
        run(&[words, &["--addr", &self.addr, "--json"]].concat()).await.json()
    }

    /// The reason of a command that must be refused.
    async fn refused(&self, words: &[&str]) -> String {
        let finished = run(&[words, &["--addr", &self.addr, "--json"]].concat()).await;
        assert_eq!(finished.code(), 1, "{finished:?}");
        finished.error_json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    async fn clock(&self, time: &str) -> i64 {
        let at = format!("{DAY}T{time}Z");
        self.told(&["account", "clock", MAYA, &at]).await["settled_operations"].as_i64().unwrap()
    }

    /// What `explain` says: the sentence without its dates, and that its terms sum to the balance.
    async fn story(&self) -> String {
        let explained = self.told(&["explain", MAYA]).await;
        let figure = |name: &str| explained["balance"][name].as_i64().unwrap();
        let sum: i64 =
            explained["terms"].as_array().unwrap().iter().map(|term| term["amount"].as_i64().unwrap()).sum();
        assert_eq!(sum, figure("available") + figure("held") + figure("scheduled") - figure("debt"));
        let words = explained["text"].as_str().unwrap().split(' ');
        let is_date = |word: &&str| word.len() >= 10 && word.starts_with("2100-");
        let text: Vec<&str> =
            words.filter(|word| !is_date(word) && !["on", "to", "from"].contains(word)).collect();
        text.join(" ").replace(',', "")
    }

    async fn figures(&self) -> [i64; 4] {
        let balance = self.told(&["balance", MAYA]).await["balance"].clone();
        ["available", "held", "scheduled", "debt"].map(|name| balance[name].as_i64().unwrap())
    }
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("{path}: {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_a_video_product_is_told_right_at_every_step() {
    let database = harness::database().await;
    let mut program = Program::start(&Options::dev_on(&database)).await;
    let day = Day { addr: program.ready.grpc().to_owned() };

    // Morning: a promotion that ends at midnight, and a pack.
    let gift = ["--kind", "promotion", "--expires-at", "2100-03-02T00:00:00Z", "--reference", "spring"];
    day.told(&[&["grant", MAYA, "50"], &gift[..]].concat()).await;
    day.clock("08:00:00").await;
    let pack = day.told(&["grant", MAYA, "1000", "--kind", "purchase", "--reference", "cs_1"]).await;
    let pack = text(&pack, "/grant/grant_id").to_owned();
    assert_eq!(day.figures().await, [1050, 0, 0, 0]);
    let morning = day.story().await;
    assert!(morning.starts_with("1050 = ") && morning.contains("1000 bought"), "{morning}");

    // A short clip: the promotion burns first.
    let clip = day.told(&["spend", MAYA, "30", "--reference", "clip_1"]).await;
    assert_eq!(clip["entry"]["lines"].as_array().unwrap().len(), 1);
    let quote = day.told(&["quote", MAYA, "25"]).await;
    assert_eq!(quote["lines"].as_array().unwrap().len(), 2, "the rest of the gift, then the pack: {quote}");
    assert_eq!(day.figures().await, [1020, 0, 0, 0]);

    // A long render: held, kept alive by heartbeats, captured scene by scene.
    let render = day.told(&["hold", MAYA, "400", "--ttl", "10m", "--reference", "render_7"]).await;
    let render = text(&render, "/hold/hold_id").to_owned();
    assert_eq!(day.figures().await, [620, 400, 0, 0]);
    for (time, captured) in [("08:08:00", "120"), ("08:16:00", "90"), ("08:24:00", "110")] {
        assert_eq!(day.clock(time).await, 0, "the heartbeat came in time");
        day.told(&["capture", MAYA, &render, captured]).await;
        day.told(&["extend", MAYA, &render, "--ttl", "10m"]).await;
    }
    assert_eq!(day.refused(&["capture", MAYA, &render, "90"]).await, "HOLD_EXCEEDED");
    let last = day.told(&["capture", MAYA, &render, "20", "--final"]).await;
    assert_eq!((&last["hold"]["captured"], &last["hold"]["released"]), (&340.into(), &60.into()));
    assert_eq!(day.figures().await, [680, 0, 0, 0]);
    assert!(day.story().await.contains("- 340 used holds"), "{}", day.story().await);

    // A worker dies: nobody extends its hold, and time gives the credits back.
    let lost = day.told(&["hold", MAYA, "300", "--ttl", "10m", "--reference", "render_8"]).await;
    let lost = text(&lost, "/hold/hold_id").to_owned();
    assert_eq!(day.clock("08:50:00").await, 1);
    assert_eq!(day.refused(&["capture", MAYA, &lost, "10"]).await, "HOLD_EXPIRED");
    assert_eq!(day.figures().await, [680, 0, 0, 0]);

    // The clip was bad: half of it comes back.
    let entry = text(&clip, "/entry/entry_id").to_owned();
    day.told(&["reverse", MAYA, &entry, "15", "--reason", "artefacts"]).await;
    assert_eq!(day.refused(&["reverse", MAYA, &entry, "16"]).await, "REVERSAL_EXCEEDED");
    assert_eq!(day.figures().await, [695, 0, 0, 0]);

    // A quarter of the pack is refunded; then the bank takes all of it back: what is gone is owed.
    day.told(&["revoke", MAYA, &pack, "250", "--reason", "refund re_1"]).await;
    assert_eq!(day.figures().await, [445, 0, 0, 0]);
    let dispute =
        day.told(&["revoke", MAYA, &pack, "1000", "--shortfall", "owed", "--reason", "dispute dp_1"]).await;
    assert_eq!(dispute["grant"]["revoked"], 1000);
    let [available, _, _, debt] = day.figures().await;
    assert_eq!((available, debt > 0), (0, true));
    let owing = day.story().await;
    assert!(owing.starts_with(&format!("-{debt} = ")), "{owing}");

    // What she buys next pays the debt first. Then the dispute is won.
    day.told(&["grant", MAYA, "500", "--kind", "purchase", "--reference", "cs_2"]).await;
    assert_eq!(day.figures().await, [500 - debt, 0, 0, 0]);
    day.told(&["revoke", MAYA, &pack, "250", "--reason", "dispute dp_1 won"]).await;
    assert_eq!(day.figures().await, [945, 0, 0, 0]);

    // An evening gift, half of it used; at midnight the rest ends, in an entry of its own.
    day.told(&[&["grant", MAYA, "40"], &gift[..4], &["--reference", "evening"]].concat()).await;
    day.told(&["spend", MAYA, "20", "--reference", "clip_2"]).await;
    let before = day.figures().await[0];
    day.told(&["account", "clock", MAYA, "2100-03-02T00:00:01Z"]).await;
    let expired = day.told(&["history", MAYA, "--kind", "expiry", "-n", "1"]).await;
    let ended = -expired["available_delta"].as_i64().unwrap();
    assert_eq!((ended, day.figures().await), (20, [before - ended, 0, 0, 0]));
    let story = day.story().await;
    for words in ["1500 bought", "50 spent", "340 used holds", "15 given back", "expired"] {
        assert!(story.contains(words), "{words}: {story}");
    }

    // She can check all of it herself.
    let exported = run(&["export", MAYA, "--addr", &day.addr]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), exported.stdout.join("\n")).unwrap();
    let path = file.path().to_str().unwrap();
    let verified = run(&["verify", "--file", path]).await;
    assert_eq!(verified.code(), 0, "{verified:?}");
    std::fs::write(file.path(), exported.stdout.join("\n").replace("artefacts", "nothing")).unwrap();
    assert_eq!(run(&["verify", "--file", path]).await.code(), 1);
    let whole = run(&["verify", "--database-url", database.url()]).await;
    assert_eq!(whole.code(), 0, "{whole:?}");
    assert_healthy(&mut program).await;
}
