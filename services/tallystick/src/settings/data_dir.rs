//! Where `dev` keeps its PostgreSQL.

use std::path::{Path, PathBuf};

use clap::Args;

/// Variables that the operating system gives, read by clap so that nothing else reads the environment.
#[derive(Debug, Args)]
pub(crate) struct UserDirs {
    /// The user's home directory.
    #[arg(long, env = "HOME", hide = true, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Where the user's programs keep data.
    #[arg(long, env = "XDG_DATA_HOME", hide = true, value_name = "DIR")]
    xdg_data_home: Option<PathBuf>,
    /// Where the user's programs keep what can be had again.
    #[arg(long, env = "XDG_CACHE_HOME", hide = true, value_name = "DIR")]
    pub(crate) xdg_cache_home: Option<PathBuf>,
    /// Where temporary files go.
    #[arg(long, env = "TMPDIR", hide = true, value_name = "DIR", default_value = "/tmp")]
    tmpdir: PathBuf,
}

/// A directory of root's that the user who runs PostgreSQL can enter; root's home is closed to others.
const OF_ROOT: &str = "/var/lib/tallystick/dev";

/// Whether this process runs as root, which PostgreSQL refuses to do.
pub(crate) fn runs_as_root() -> bool {
    nix::unistd::geteuid().is_root()
}

impl UserDirs {
    /// The directory whose data stay: `tallystick/dev` in `$XDG_DATA_HOME` or in `.local/share` of the home directory
    /// (XDG Base Directory Specification); `/var/lib/tallystick/dev` for root. `None`: neither is known.
    pub(crate) fn lookup_persistent(&self, is_root: bool) -> Option<PathBuf> {
        if is_root {
            return Some(PathBuf::from(OF_ROOT));
        }
        // A relative path in the variable is to be ignored, says the specification.
        let data = self.xdg_data_home.clone().filter(|dir| dir.is_absolute());
        let data = data.or_else(|| {
            let home = self.home.as_deref().filter(|home| home.is_absolute());
            home.map(|home| home.join(".local/share"))
        });
        data.map(|data| data.join("tallystick/dev"))
    }

    /// A new directory for data that are thrown away; short, since PostgreSQL puts a socket into it.
    pub(crate) fn ephemeral(&self, id: &str) -> PathBuf {
        Path::new(&self.tmpdir).join(format!("tallystick-dev-{id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(home: Option<&str>, xdg: Option<&str>) -> UserDirs {
        UserDirs {
            home: home.map(PathBuf::from),
            xdg_data_home: xdg.map(PathBuf::from),
            xdg_cache_home: None,
            tmpdir: PathBuf::from("/tmp"),
        }
    }

    #[test]
    fn data_are_kept_where_the_xdg_specification_says() {
        let of = |home, xdg| dirs(home, xdg).lookup_persistent(false);
        assert_eq!(of(Some("/home/a"), Some("/data")), Some(PathBuf::from("/data/tallystick/dev")));
        let default = Some(PathBuf::from("/home/a/.local/share/tallystick/dev"));
        assert_eq!(of(Some("/home/a"), None), default);
        assert_eq!(of(Some("/home/a"), Some("relative")), default);
        assert_eq!(of(Some("/home/a"), Some("")), default);
        assert_eq!(of(None, None), None);
    }

    #[test]
    fn root_gets_a_directory_that_others_can_enter() {
        let dir = dirs(Some("/root"), None).lookup_persistent(true);
        assert_eq!(dir, Some(PathBuf::from("/var/lib/tallystick/dev")));
    }
}
