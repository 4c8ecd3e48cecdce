//! What a start refuses, and whether the message tells what to do about it.

mod place;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use place::{Place, binaries};
use postgres::{Binaries, Cluster, Error, Options, Route, Search};

#[test]
fn a_bad_bin_dir_is_named_with_its_problem() {
    let place = Place::new();
    for (dir, problem) in [(place.path("missing"), "No such file"), (place.path(""), "has no initdb")] {
        let search = Search { bin_dir: Some(dir.clone()), ..Search::new(place.path("cache")) };
        let message = Binaries::find(&search).unwrap_err().to_string();
        assert!(message.contains(&dir.display().to_string()) && message.contains(problem), "{message}");
    }
}

#[test]
fn programs_that_are_too_old_or_broken_are_named_with_their_problem() {
    let place = Place::new();
    let cases = [
        ("echo \"postgres (PostgreSQL) 14.9\"", "older than 15"),
        ("echo nonsense", "nonsense"),
        ("exit 3", "3"),
    ];
    for (script, problem) in cases {
        for program in ["initdb", "postgres"] {
            fs::write(place.path(program), format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(place.path(program), Permissions::from_mode(0o755)).unwrap();
        }
        let search = Search { bin_dir: Some(place.path("")), ..Search::new(place.path("cache")) };
        let message = Binaries::find(&search).unwrap_err().to_string();
        assert!(message.contains(problem), "{message}");
    }
}

#[test]
fn when_nothing_works_the_message_lists_what_was_tried_and_what_to_do() {
    let place = Place::new();
    // A file where the cache directory should be: no package can be kept.
    fs::write(place.path("cache"), "").unwrap();
    let search = Search { installed: false, ..Search::new(place.path("cache")) };
    let message = Binaries::find(&search).unwrap_err().to_string();
    for part in [
        "PythonWheel",
        "NpmPackage",
        "Install postgresql 15",
        "--postgres-bin-dir",
        "TALLYSTICK_DATABASE_URL",
    ] {
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
}

#[test]
fn a_directory_with_other_files_is_left_as_it_is() {
    let place = Place::new();
    fs::create_dir(place.path("a")).unwrap();
    fs::write(place.path("a/thesis.txt"), "years of work").unwrap();
    let before = fs::metadata(place.path("a")).unwrap().permissions();
    let error = Cluster::start(&binaries(), &Options::persistent(place.path("a"))).unwrap_err();
    assert!(matches!(error, Error::ForeignDirectory { .. }), "{error}");
    assert_eq!(fs::metadata(place.path("a")).unwrap().permissions(), before);
    assert_eq!(fs::read_dir(place.path("a")).unwrap().count(), 1);
}

#[test]
fn a_directory_of_another_major_version_names_both_versions() {
    let place = Place::new();
    let options = Options::persistent(place.path("a"));
    drop(Cluster::start(&binaries(), &options).unwrap());
    assert_eq!(postgres::cluster_major(&place.path("a")), Some(binaries().major()));
    fs::write(place.path("a/cluster/PG_VERSION"), "9\n").unwrap();
    let message = Cluster::start(&binaries(), &options).unwrap_err().to_string();
    assert!(message.contains("made by PostgreSQL 9") && message.contains("--postgres-bin-dir"), "{message}");
    let search = Search { major: Some(9), routes: Vec::new(), ..Search::new(place.path("cache")) };
    let message = Binaries::find(&search).unwrap_err().to_string();
    assert!(message.contains("the data directory needs 9"), "{message}");
}

#[test]
fn a_failed_start_shows_the_end_of_the_servers_log() {
    let place = Place::new();
    let options = Options::persistent(place.path("a"));
    let cluster = Cluster::start(&binaries(), &options).unwrap();
    let port = cluster.port();
    drop(cluster);
    let _occupant = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let message = Cluster::start(&binaries(), &Options { port, ..options }).unwrap_err().to_string();
    assert!(message.contains("could not bind") && message.contains("postgres.log"), "{message}");
}

#[test]
fn a_closed_parent_directory_is_named_when_the_server_runs_as_another_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path("closed")).unwrap();
    fs::set_permissions(place.path("closed"), Permissions::from_mode(0o700)).unwrap();
    let error = Cluster::start(&binaries(), &Options::persistent(place.path("closed/deep/a"))).unwrap_err();
    let Error::Unreachable { dir, .. } = &error else { panic!("{error}") };
    assert_eq!(dir, &place.path("closed").canonicalize().unwrap());
    assert!(error.to_string().contains("chmod o+x"), "{error}");
}

/// Downloads 25 to 40 MB, so it runs only when asked: `cargo test -p tallystick-postgres -- --ignored`.
#[test]
#[ignore = "downloads packages"]
fn a_server_obtained_as_a_package_runs_and_is_found_in_the_cache_afterwards() {
    for route in [Route::PythonWheel, Route::NpmPackage] {
        let place = Place::new();
        let search = Search { installed: false, routes: vec![route], ..Search::new(place.path("cache")) };
        let found = Binaries::find(&search).unwrap();
        assert_eq!(found.major(), 18);
        let again = Binaries::find(&search).unwrap();
        assert_eq!(again, found);
        let cluster = Cluster::start(&found, &Options::persistent(place.path("a"))).unwrap();
        cluster.kill().unwrap();
        cluster.start_again().unwrap();
        assert_eq!(place::query(&cluster.database_url(), "select current_user"), "tallystick");
        let left: Vec<PathBuf> =
            fs::read_dir(place.path("cache")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
