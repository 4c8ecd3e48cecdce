//! A service process between two proxies: one to the database, one for its clients.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use harness::{Process, Proxy};
use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::history::{Event, Recorder};

/// A service is back before, however busy the machine.
const BACK_LIMIT: Duration = Duration::from_secs(90);
/// The grace time of the program, and some for a loaded machine.
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// Lines of its log that are kept between two ends.
const LOG_LINES: usize = 5_000;

/// How services are started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) catalogue: String,
    pub(crate) mutant: Option<String>,
    pub(crate) logs: PathBuf,
}

/// One of the services.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) number: u8,
    program: Program,
    recorder: Recorder,
    database_url: String,
    listens: SocketAddr,
    /// None only while the lock is held.
    pub(crate) process: Mutex<Option<Process>>,
    /// Held by whoever does something to a proxy.
    pub(crate) to_database: Mutex<()>,
    pub(crate) to_clients: Mutex<()>,
    pub(crate) database: Proxy,
    pub(crate) clients: Proxy,
}

impl Replica {
    /// Starts it on the database of this URL.
    pub(crate) async fn start(number: u8, program: &Program, recorder: &Recorder, url: &str) -> Self {
        let (database, database_url) = Proxy::for_url(url).await;
        let listens = SocketAddr::from(([127, 0, 0, 1], harness::free_port()));
        let replica = Self {
            number,
            program: program.clone(),
            recorder: recorder.clone(),
            database_url,
            listens,
            process: Mutex::new(None),
            to_database: Mutex::default(),
            to_clients: Mutex::default(),
            database,
            clients: Proxy::start(listens).await,
        };
        let mut process = replica.process.lock().await;
        *process = Some(replica.run());
        drop(process);
        replica.is_back().await;
        replica
    }

    /// Where clients reach it.
    pub(crate) fn addr(&self) -> String {
        self.clients.address().to_string()
    }

    /// A new process.
    pub(crate) fn run(&self) -> Process {
        let listens = self.listens.to_string();
        let arguments = [
            "serve",
            "--roles",
            "credits",
            "--grpc-addr",
            &listens,
            "--ops-addr",
            "127.0.0.1:0",
            "--catalogue",
            &self.program.catalogue,
            "--insecure-no-auth",
        ];
        let mut variables = vec![("TALLYSTICK_DATABASE_URL", self.database_url.as_str())];
        variables.extend(self.program.mutant.as_deref().map(|mutant| ("TALLYSTICK_MUTANT", mutant)));
        Process::start_program(&self.program.path, &arguments, &variables, LOG_LINES)
    }

    /// Waits until it listens.
    pub(crate) async fn is_back(&self) {
        let what = format!("service {} listens", self.number);
        harness::eventually(&what, BACK_LIMIT, async || TcpStream::connect(self.listens).await.is_ok()).await;
    }

    /// SIGKILL, or SIGTERM and the time that the end takes. The lock's guard is given so that nobody looks meanwhile.
    pub(crate) async fn end(&self, process: &mut Option<Process>, signal: Signal) {
        let Some(mut process) = process.take() else { return };
        if process.is_alive() {
            process.signal(signal);
        }
        let status = process.ended(STOP_LIMIT).await;
        if signal == Signal::SIGTERM && !status.success() {
            self.fault(format!("SIGTERM: ended with {status}"));
        }
        self.keep_log(&mut process).await;
    }

    /// Starts it again when it has ended by itself, which it must not.
    pub(crate) async fn watch_over(&self) {
        let Ok(mut process) = self.process.try_lock() else { return };
        let Some(running) = process.as_mut() else { return };
        if running.is_alive() {
            return;
        }
        let status = running.ended(STOP_LIMIT).await;
        self.fault(format!("ended by itself with {status}"));
        self.keep_log(running).await;
        *process = Some(self.run());
    }

    async fn keep_log(&self, process: &mut Process) {
        let log = process.all_stderr(STOP_LIMIT).await;
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            self.fault(line.to_owned());
        }
        let path = self.program.logs.join(format!("service-{}.log", self.number));
        let file = OpenOptions::new().create(true).append(true).open(path);
        // A log that cannot be kept is no reason to stop.
        let _ = file.and_then(|mut file| file.write_all(log.as_bytes()));
    }

    fn fault(&self, said: String) {
        self.recorder.record(Event::Fault { replica: self.number, said });
    }
}
