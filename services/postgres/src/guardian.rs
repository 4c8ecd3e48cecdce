//! The guardian of an ephemeral cluster: a shell that waits on a pipe held by this process and, when the pipe closes
//! (also by SIGKILL of this process), ends the server and removes the directory. Persistent clusters have none: they
//! may outlive their parent and are adopted.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::error::Error;

/// `$1` is the home directory, `$2` the data directory in it. The process named in the pid file is checked to be the
/// server of this directory, since after a crash the number may belong to somebody else.
const SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT
read -r _
ours() {
    if [ -d /proc/self ]; then [ "/proc/$1/cwd" -ef "$2" ]; else ps -o command= -p "$1" | grep -qF -- "$2"; fi
}
pid=$(head -n 1 "$2/postmaster.pid" 2>/dev/null)
case "$pid" in
'' | *[!0-9]*) ;;
*)
    if ours "$pid" "$2"; then
        kill -QUIT "$pid"
        n=0
        while ours "$pid" "$2" && [ "$n" -lt 100 ]; do sleep 0.05; n=$((n + 1)); done
        if ours "$pid" "$2"; then kill -KILL "$pid"; fi
    fi
    ;;
esac
rm -rf -- "$1"
"#;

/// Closing it (or the death of this process) ends the cluster.
#[derive(Debug)]
pub(crate) struct Guardian {
    shell: Child,
}

impl Guardian {
    /// Watches over `home`, whose server works in `pgdata`; to be started before the server.
    pub(crate) fn watch(home: &Path, pgdata: &Path) -> Result<Self, Error> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "tallystick-guardian"]).arg(home).arg(pgdata).current_dir("/");
        // Its own process group, so that Ctrl-C at the terminal does not end the guardian before the server; no
        // output, so that nobody who reads this process's output waits for the guardian.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let shell = command.spawn().map_err(Error::io("run", "/bin/sh"))?;
        Ok(Self { shell })
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
