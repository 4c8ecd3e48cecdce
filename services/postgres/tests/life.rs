//! The life of a cluster on a real server: start, stop, restart, crash, adoption, and what each leaves behind.

mod place;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use place::{Place, binaries, query, serves, until};
use postgres::{Cluster, Error, Lifetime, Options, StopMode};

/// Not a test of its own: the process that [`Place::parent_process`] starts and the tests kill.
#[test]
#[ignore = "started by other tests in a process of its own"]
fn hold_a_cluster() {
    let Some(dir) = std::env::var_os("HOLD_DATA_DIR").map(PathBuf::from) else { return };
    let persistent = std::env::var_os("HOLD_LIFETIME").is_some_and(|lifetime| lifetime == "persistent");
    let options = if persistent { Options::persistent(dir) } else { Options::ephemeral(dir) };
    let cluster = Cluster::start(&binaries(), &options).unwrap();
    println!("READY {} {}", cluster.pid().unwrap(), cluster.database_url());
    // Until the kill: the pipe is held open by the parent.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn a_new_directory_becomes_a_server_with_an_owner_who_is_no_superuser() {
    let place = Place::new();
    let cluster = Cluster::start(&binaries(), &Options::persistent(place.path("a"))).unwrap();
    let out = query(&cluster.database_url(), "select rolsuper from pg_roles where rolname = current_user");
    assert_eq!(out, "f");
    let settings = "select string_agg(setting, ' ' order by name) from pg_settings where name in \
        ('fsync', 'full_page_writes', 'synchronous_commit', 'listen_addresses', 'server_encoding', 'lc_collate')";
    let out = query(&cluster.superuser_url(), settings);
    assert!(["on on 127.0.0.1 UTF8 on", "on on C 127.0.0.1 UTF8 on"].contains(&out.as_str()), "{out}");
    query(&cluster.database_url(), "create table t (n int)");
    assert_eq!(query(&cluster.superuser_url(), "show max_connections"), "200");
    assert!(
        place::try_query(&cluster.database_url().replace("tallystick:", "tallystick:0"), "select 1").is_err()
    );
}

#[test]
fn a_restart_keeps_data_port_and_urls_and_a_later_start_keeps_data_and_passwords() {
    let place = Place::new();
    let options = Options::persistent(place.path("a"));
    let cluster = Cluster::start(&binaries(), &options).unwrap();
    let url = cluster.database_url();
    query(&url, "create table t as select 7 as n");
    for mode in [StopMode::Fast, StopMode::Immediate] {
        let before = cluster.pid().unwrap();
        cluster.restart(mode).unwrap();
        assert_ne!(cluster.pid().unwrap(), before);
        assert_eq!(query(&url, "select n from t"), "7");
    }
    let port = cluster.port();
    drop(cluster);
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "the port is free after the drop");
    let again = Cluster::start(&binaries(), &Options { port, ..options }).unwrap();
    assert!(!again.was_adopted());
    assert_eq!(again.database_url(), url);
    assert_eq!(query(&url, "select n from t"), "7");
}

#[test]
fn a_killed_server_leaves_no_process_and_recovers_what_was_committed() {
    let place = Place::new();
    let cluster = Cluster::start(&binaries(), &Options::persistent(place.path("a"))).unwrap();
    let url = cluster.database_url();
    query(&url, "create table t as select 7 as n");
    let busy_url = url.clone();
    let busy = std::thread::spawn(move || place::try_query(&busy_url, "select pg_sleep(600)"));
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    until("the sleeping backend", || query(&cluster.superuser_url(), waiting) == "1");
    cluster.kill().unwrap();
    assert_eq!(cluster.pid(), None);
    assert!(busy.join().unwrap().is_err());
    assert!(TcpStream::connect(("127.0.0.1", cluster.port())).is_err());
    assert!(matches!(cluster.kill(), Err(Error::NotRunning { .. })));
    cluster.start_again().unwrap();
    assert_eq!(query(&url, "select n from t"), "7");
}

#[test]
fn a_server_that_died_by_itself_is_seen_and_started_again() {
    let place = Place::new();
    let cluster = Cluster::start(&binaries(), &Options::persistent(place.path("a"))).unwrap();
    let pid = cluster.pid().unwrap();
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
    until("the end of the postmaster", || cluster.pid().is_none());
    cluster.start_again().unwrap();
    assert_eq!(query(&cluster.database_url(), "select 1"), "1");
}

#[test]
fn a_server_that_outlived_its_parent_is_adopted_on_its_port() {
    let place = Place::new();
    let mut parent = place.parent_process("persistent", "a");
    let (pid, url) = parent.ready();
    query(&url, "create table t as select 7 as n");
    parent.kill();
    assert!(serves(pid, &place.path("a")), "the server outlives its parent");
    let cluster = Cluster::start(&binaries(), &Options::persistent(place.path("a"))).unwrap();
    assert!(cluster.was_adopted());
    assert_eq!((cluster.pid(), cluster.database_url()), (Some(pid), url.clone()));
    assert_eq!(query(&url, "select n from t"), "7");
    cluster.restart(StopMode::Fast).unwrap();
    assert_eq!(query(&url, "select n from t"), "7");
    let second = cluster.pid().unwrap();
    drop(cluster);
    assert!(!serves(pid, &place.path("a")) && !serves(second, &place.path("a")));
}

#[test]
fn a_server_on_another_port_than_the_wanted_one_is_replaced() {
    let place = Place::new();
    let mut parent = place.parent_process("persistent", "a");
    let (pid, url) = parent.ready();
    query(&url, "create table t as select 7 as n");
    parent.kill();
    let port = postgres::free_port().unwrap();
    let cluster =
        Cluster::start(&binaries(), &Options { port, ..Options::persistent(place.path("a")) }).unwrap();
    assert!(!cluster.was_adopted());
    assert_eq!(cluster.port(), port);
    assert_ne!(cluster.pid(), Some(pid));
    assert_eq!(query(&cluster.database_url(), "select n from t"), "7");
}

#[test]
fn a_second_start_on_a_directory_in_use_is_refused_and_names_the_holder() {
    let place = Place::new();
    let options = Options::persistent(place.path("a"));
    let cluster = Cluster::start(&binaries(), &options).unwrap();
    let message = Cluster::start(&binaries(), &options).unwrap_err().to_string();
    assert!(message.contains(&format!("in use by process {}", std::process::id())), "{message}");
    assert_eq!(query(&cluster.database_url(), "select 1"), "1");
}

#[test]
fn a_pid_file_that_names_a_living_stranger_is_cleared() {
    let place = Place::new();
    let options = Options::persistent(place.path("a"));
    let cluster = Cluster::start(&binaries(), &options).unwrap();
    cluster.kill().unwrap();
    drop(cluster);
    let file = place.path("a/cluster/postmaster.pid");
    let mut stranger = Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&file, format!("{}\n{rest}", stranger.id())).unwrap();
    let cluster = Cluster::start(&binaries(), &options).unwrap();
    assert_eq!(query(&cluster.database_url(), "select 1"), "1");
    drop(cluster);
    assert_eq!(stranger.try_wait().unwrap(), None, "the stranger was left alone");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn an_interrupted_initdb_is_done_again() {
    let place = Place::new();
    let mut parent = place.parent_process("persistent", "a");
    let unfinished = || -> Vec<PathBuf> {
        let entries = fs::read_dir(place.path("a")).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().contains("cluster.new."))
            .collect()
    };
    until("half an initdb", || unfinished().iter().any(|dir| dir.join("global").exists()));
    parent.kill();
    assert!(!place.path("a/cluster").exists());
    let cluster = Cluster::start(&binaries(), &Options::persistent(place.path("a"))).unwrap();
    assert_eq!(query(&cluster.database_url(), "select 1"), "1");
    drop(cluster);
    let again = Cluster::start(&binaries(), &Options::persistent(place.path("a"))).unwrap();
    assert_eq!(unfinished(), Vec::<PathBuf>::new());
    drop(again);
}

#[test]
fn lost_passwords_are_replaced_without_losing_data() {
    let place = Place::new();
    let options = Options::persistent(place.path("a"));
    let cluster = Cluster::start(&binaries(), &options).unwrap();
    query(&cluster.database_url(), "create table t as select 7 as n");
    drop(cluster);
    fs::remove_file(place.path("a/owner.password")).unwrap();
    let cluster = Cluster::start(&binaries(), &options).unwrap();
    assert_eq!(query(&cluster.database_url(), "select n from t"), "7");
    assert_eq!(query(&cluster.superuser_url(), "select 1"), "1");
}

#[test]
fn an_ephemeral_cluster_leaves_nothing() {
    let place = Place::new();
    let cluster = Cluster::start(&binaries(), &Options::ephemeral(place.path("a"))).unwrap();
    let pid = cluster.pid().unwrap();
    assert_eq!(query(&cluster.database_url(), "select 1"), "1");
    drop(cluster);
    assert!(!place.path("a").exists());
    assert!(!serves(pid, &place.path("a")));
}

#[test]
fn an_ephemeral_cluster_ends_with_a_parent_that_is_killed() {
    let place = Place::new();
    let mut parent = place.parent_process("ephemeral", "a");
    let (pid, _) = parent.ready();
    parent.kill();
    until("the end of the server", || !serves(pid, &place.path("a")));
    until("the removal of its directory", || !place.path("a").exists());
}

#[test]
fn a_seed_saves_initdb_and_gives_a_working_cluster() {
    let place = Place::new();
    Cluster::prepare_seed(&binaries(), &place.path("scratch"), &place.path("seed")).unwrap();
    assert!(!place.path("scratch").exists());
    let lifetime = Lifetime::Ephemeral { seed: Some(place.path("seed")) };
    let options = Options { data_dir: place.path("a"), port: 0, lifetime };
    let (first, second) = (
        Cluster::start(&binaries(), &options).unwrap(),
        Cluster::start(&binaries(), &Options { data_dir: place.path("b"), ..options }).unwrap(),
    );
    assert_ne!(first.port(), second.port());
    assert_eq!(query(&first.database_url(), "select 1"), "1");
    assert_eq!(query(&second.database_url(), "select 1"), "1");
}

#[test]
fn a_path_too_long_for_a_socket_still_gives_a_server() {
    let place = Place::new();
    let long = place.path("a").join("x".repeat(120));
    let cluster = Cluster::start(&binaries(), &Options::ephemeral(long)).unwrap();
    assert_eq!(query(&cluster.superuser_url(), "show unix_socket_directories"), "");
}

#[test]
fn the_server_does_not_run_as_root() {
    let place = Place::new();
    let cluster = Cluster::start(&binaries(), &Options::ephemeral(place.path("a"))).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", cluster.pid().unwrap())).unwrap();
    let uids = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(uids.split_whitespace().skip(1).all(|uid| uid != "0"), "{uids}");
}
