//! What each role needs, checked as a whole. Everything missing or wrong is refused here, with the flag that sets it.

use std::net::SocketAddr;
use std::sync::Arc;

use credits::{ApiKey, Authentication, KeyRing, MAX_KEYS_FILE_BYTES, Principal, UnitPolicy};
use signature::Secrets;
use stripe::Catalogue;
use tonic::transport::Endpoint;

use super::{Role, ServeArgs};
use crate::client::endpoint;
use crate::clock;
use crate::error::Error;
use crate::process::service::{CreditsRole, EdgeRole, StreamLimits};
use crate::settings::{catalogue_file, secret_file, text_file};

const KEYS_FILE: &str = "--api-keys-file";
const EDGE_KEY: &str = "TALLYSTICK_EDGE_API_KEY";
const EDGE_KEY_FILE: &str = "--edge-api-key-file";

/// Roles with everything that they need.
#[derive(Debug)]
pub(super) struct Settings {
    credits: Option<CreditsSettings>,
    edge: Option<EdgeSettings>,
}

#[derive(Debug)]
struct CreditsSettings {
    database_url: String,
    catalogue: Catalogue,
    authentication: Authentication,
    livemode: bool,
    lanes: u32,
    read_connections: u32,
    streams: StreamLimits,
    secrets: Option<Secrets>,
}

#[derive(Debug)]
struct EdgeSettings {
    secrets: Secrets,
    /// `None`: in this process.
    credits: Option<Endpoint>,
    api_key: Option<edge::ApiKey>,
}

impl Settings {
    /// # Errors
    /// [`Error::Config`] or [`Error::File`] for the first thing that is missing or wrong.
    pub(super) fn try_read(args: &ServeArgs) -> Result<Self, Error> {
        let has = |role| args.roles.contains(&role);
        let secrets = args.secrets.try_read()?;
        let mut own_key = None;
        let credits = if has(Role::Credits) {
            // An edge in this process needs no key of the operator's: it gets one that lives as long as the process.
            own_key = (has(Role::Edge) && !args.credits.insecure_no_auth)
                .then(|| ApiKey::new(clock::random_bytes()));
            Some(credits(args, secrets.clone(), own_key.as_ref())?)
        } else {
            None
        };
        let edge = if has(Role::Edge) { Some(edge(args, secrets, own_key.as_ref())?) } else { None };
        Ok(Self { credits, edge })
    }

    /// A line for each role. Shows no secret and no database URL.
    pub(super) fn summary(&self) -> Vec<String> {
        let credits = self.credits.as_ref().map(CreditsSettings::summary);
        let edge = self.edge.as_ref().map(EdgeSettings::summary);
        credits.into_iter().chain(edge).collect()
    }

    pub(super) fn has_credits(&self) -> bool {
        self.credits.is_some()
    }

    pub(super) fn has_edge(&self) -> bool {
        self.edge.is_some()
    }

    pub(super) fn database_url(&self) -> Option<&str> {
        self.credits.as_ref().map(|credits| credits.database_url.as_str())
    }

    /// The roles; `inside` is where this process reaches its own credits role.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no address for the edge to forward to, which [`Settings::try_read`] rules out.
    pub(super) fn into_roles(
        self,
        inside: Option<SocketAddr>,
    ) -> Result<(Option<CreditsRole>, Option<EdgeRole>), Error> {
        let credits = self.credits.map(CreditsSettings::into_role);
        let Some(edge) = self.edge else { return Ok((credits, None)) };
        let is_remote = edge.credits.is_some();
        let endpoint = match (edge.credits, inside) {
            (Some(endpoint), _) => endpoint,
            (None, Some(inside)) => endpoint("--grpc-addr", &inside.to_string())?,
            (None, None) => return Err(missing("--credits-addr", "when the credits role is elsewhere")),
        };
        let edge = EdgeRole { secrets: edge.secrets, api_key: edge.api_key, credits: endpoint, is_remote };
        Ok((credits, Some(edge)))
    }
}

impl CreditsSettings {
    fn summary(&self) -> String {
        let Self { catalogue, authentication, .. } = self;
        let units: Vec<&str> = catalogue.units().map(|(unit, _)| unit.as_str()).collect();
        let callers = match authentication {
            Authentication::Keys(_) => "callers have API keys",
            Authentication::None { .. } => "everybody is accepted",
        };
        let money = if self.livemode { "real money" } else { "test mode" };
        let signatures = if self.secrets.is_some() { ", verifies signatures itself" } else { "" };
        format!(
            "role credits: units {}; {} packs, {} plans, {} thresholds; {callers}; {money}{signatures}; {} lanes, \
             {} read connections",
            units.join(", "),
            catalogue.packs().count(),
            catalogue.plans().count(),
            catalogue.thresholds().len(),
            self.lanes,
            self.read_connections,
        )
    }

    fn into_role(self) -> CreditsRole {
        let units = self.catalogue.units().map(|(unit, _)| unit.clone()).collect();
        CreditsRole {
            database_url: self.database_url,
            lanes: self.lanes,
            read_connections: self.read_connections,
            streams: self.streams,
            sandbox: false,
            authentication: self.authentication,
            units: UnitPolicy::Declared(units),
            catalogue: self.catalogue,
            livemode: self.livemode,
            secrets: self.secrets,
        }
    }
}

impl EdgeSettings {
    fn summary(&self) -> String {
        let credits = match &self.credits {
            Some(endpoint) => {
                format!("credits role at {}", endpoint.uri().authority().map_or("", |a| a.as_str()))
            }
            None => "credits role in this process".to_owned(),
        };
        let key = if self.api_key.is_some() { "with an API key" } else { "without an API key" };
        format!("role edge: {credits}, {key}")
    }
}

fn missing(setting: &'static str, why: &str) -> Error {
    Error::Config { setting, problem: format!("is required {why}") }
}

fn credits(
    args: &ServeArgs,
    secrets: Option<Secrets>,
    own_key: Option<&ApiKey>,
) -> Result<CreditsSettings, Error> {
    let own = &args.credits;
    // An empty variable is a variable that is not set.
    let database_url = own.database_url.clone().filter(|url| !url.trim().is_empty());
    let database_url = database_url
        .ok_or_else(|| missing("--database-url", "by role credits (or TALLYSTICK_DATABASE_URL)"))?;
    let path = own.catalogue.as_deref();
    let path =
        path.ok_or_else(|| missing("--catalogue", "by role credits: it declares units, packs and plans"))?;
    let catalogue = catalogue_file::read(path)?;
    let authentication = match (&own.api_keys_file, own.insecure_no_auth) {
        (Some(_), true) => {
            let problem =
                "cannot be given beside --api-keys-file: either callers have keys, or nobody does".to_owned();
            return Err(Error::Config { setting: "--insecure-no-auth", problem });
        }
        (None, true) => Authentication::None { principal: Arc::new(Principal::anonymous()) },
        (Some(path), false) => {
            let text = text_file::read(KEYS_FILE, path, MAX_KEYS_FILE_BYTES)?;
            let fault = |error: credits::KeysError| Error::File {
                setting: KEYS_FILE,
                path: path.clone(),
                problem: error.to_string(),
            };
            // Read once as it is, so that faults name its own lines.
            let ring = KeyRing::parse(&text).map_err(fault)?;
            let ring = match own_key {
                Some(key) => KeyRing::parse(&with_edge(&text, key)).map_err(fault)?,
                None => ring,
            };
            Authentication::Keys(Arc::new(ring))
        }
        (None, false) => {
            return Err(missing(
                KEYS_FILE,
                "by role credits: make keys with `tallystick key new`, or give --insecure-no-auth to accept everybody",
            ));
        }
    };
    Ok(CreditsSettings {
        database_url,
        catalogue,
        authentication,
        livemode: own.livemode,
        lanes: own.lanes,
        read_connections: own.read_connections,
        streams: StreamLimits { process: own.max_streams, per_key: own.max_streams_per_caller },
        secrets,
    })
}

/// The keys file with the key of the edge in this process.
fn with_edge(text: &str, key: &ApiKey) -> String {
    format!("{text}\n[[keys]]\nid = \"edge\"\nhash = \"{}\"\nscopes = [\"stripe\"]\n", key.hash())
}

fn edge(args: &ServeArgs, secrets: Option<Secrets>, own_key: Option<&ApiKey>) -> Result<EdgeSettings, Error> {
    let secrets = secrets.ok_or_else(|| {
        missing("TALLYSTICK_STRIPE_WEBHOOK_SECRETS", "by role edge (or --stripe-webhook-secrets-file)")
    })?;
    let own = &args.edge;
    if args.roles.contains(&Role::Credits) {
        if own.credits_addr.is_some() {
            let problem =
                "is for an edge whose credits role is elsewhere; here it runs in this process".to_owned();
            return Err(Error::Config { setting: "--credits-addr", problem });
        }
        let api_key = own_key.map(|key| usable(EDGE_KEY, &key.text())).transpose()?;
        return Ok(EdgeSettings { secrets, credits: None, api_key });
    }
    let addr = own.credits_addr.as_deref();
    let addr =
        addr.ok_or_else(|| missing("--credits-addr", "by role edge when the credits role is elsewhere"))?;
    let api_key = match (&own.edge_api_key_file, &own.edge_api_key) {
        (Some(path), _) => Some(usable(EDGE_KEY_FILE, &secret_file::read_one(EDGE_KEY_FILE, path)?)?),
        (None, Some(key)) => Some(usable(EDGE_KEY, key)?),
        // The credits role may run with --insecure-no-auth; otherwise it refuses every event, loudly.
        (None, None) => {
            tracing::warn!("no API key for the credits role ({EDGE_KEY_FILE} or {EDGE_KEY})");
            None
        }
    };
    Ok(EdgeSettings { secrets, credits: Some(endpoint("--credits-addr", addr)?), api_key })
}

fn usable(setting: &'static str, text: &str) -> Result<edge::ApiKey, Error> {
    edge::ApiKey::try_new(text)
        .map_err(|error| Error::Config { setting, problem: format!("cannot be used: {error}") })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;
    use tempfile::NamedTempFile;

    use super::*;
    use crate::cli::{Cli, Command};

    fn read(words: &[&str]) -> Result<Settings, String> {
        let cli =
            Cli::try_parse_from(["tallystick", "serve"].iter().chain(words)).map_err(|e| e.to_string())?;
        let Command::Serve(args) = cli.command else { panic!("another command") };
        Settings::try_read(&args).map_err(|error| {
            assert_eq!(error.exit_code(), 2, "{error}");
            error.to_string()
        })
    }

    fn file(text: &str) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn catalogue() -> NamedTempFile {
        file("[units.credits]\nscale = 0\n")
    }

    fn keys() -> NamedTempFile {
        let hash = ApiKey::new([7; 32]).hash();
        file(&format!("[[keys]]\nid = \"billing\"\nhash = \"{hash}\"\nscopes = [\"read\"]"))
    }

    fn path(file: &NamedTempFile) -> &str {
        file.path().to_str().unwrap()
    }

    const SECRETS: [&str; 2] = ["--stripe-webhook-secrets", "whsec_a"];
    const URL: [&str; 2] = ["--database-url", "postgres://hidden@localhost/x"];

    #[test]
    fn the_credits_role_needs_a_database_a_catalogue_and_keys() {
        let (catalogue, keys) = (catalogue(), keys());
        let error = read(&["--roles", "credits"]).unwrap_err();
        assert!(error.starts_with("--database-url is required"), "{error}");
        let error = read(&["--roles", "credits", URL[0], URL[1]]).unwrap_err();
        assert!(error.starts_with("--catalogue is required"), "{error}");
        let mut words = vec!["--roles", "credits", URL[0], URL[1], "--catalogue", path(&catalogue)];
        let error = read(&words).unwrap_err();
        assert!(
            error.starts_with("--api-keys-file is required") && error.contains("--insecure-no-auth"),
            "{error}"
        );
        words.extend(["--api-keys-file", path(&keys)]);
        assert!(read(&words).unwrap().has_credits());
    }

    #[test]
    fn everybody_is_accepted_only_when_it_is_asked_for() {
        let (catalogue, keys) = (catalogue(), keys());
        let words =
            ["--roles", "credits", URL[0], URL[1], "--catalogue", path(&catalogue), "--insecure-no-auth"];
        let settings = read(&words).unwrap();
        assert!(matches!(settings.credits.unwrap().authentication, Authentication::None { .. }));
        let both = [&words[..], &["--api-keys-file", path(&keys)]].concat();
        assert!(read(&both).unwrap_err().contains("cannot be given beside"));
    }

    #[test]
    fn an_edge_alone_needs_no_database() {
        let words = ["--roles", "edge", SECRETS[0], SECRETS[1], "--credits-addr", "credits:7070"];
        let settings = read(&words).unwrap();
        assert!(settings.has_edge() && !settings.has_credits() && settings.database_url().is_none());
        let (credits, edge) = settings.into_roles(None).unwrap();
        assert!(credits.is_none() && edge.unwrap().is_remote);
    }

    #[test]
    fn an_edge_needs_secrets_and_an_address() {
        let error = read(&["--roles", "edge", "--credits-addr", "credits:7070"]).unwrap_err();
        assert!(error.starts_with("TALLYSTICK_STRIPE_WEBHOOK_SECRETS is required"), "{error}");
        let error = read(&["--roles", "edge", SECRETS[0], SECRETS[1]]).unwrap_err();
        assert!(error.starts_with("--credits-addr is required"), "{error}");
        let error =
            read(&["--roles", "edge", SECRETS[0], SECRETS[1], "--credits-addr", "credits"]).unwrap_err();
        assert!(error.starts_with("--credits-addr \"credits\" must be host:port"), "{error}");
    }

    #[test]
    fn blank_secrets_and_the_one_of_dev_are_refused() {
        for (secrets, words) in
            [("", "empty or blank"), ("whsec_a, ", "empty or blank"), ("whsec_tallystick_dev", "everybody")]
        {
            let given =
                ["--roles", "edge", "--stripe-webhook-secrets", secrets, "--credits-addr", "credits:7070"];
            let error = read(&given).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn an_unusable_key_of_the_edge_is_refused() {
        let words = ["--roles", "edge", SECRETS[0], SECRETS[1], "--credits-addr", "credits:7070"];
        for key in ["", " ", "a b"] {
            let error = read(&[&words[..], &["--edge-api-key", key]].concat()).unwrap_err();
            assert!(error.starts_with("TALLYSTICK_EDGE_API_KEY cannot be used"), "{error}");
        }
        let blank = file("\n");
        let error = read(&[&words[..], &["--edge-api-key-file", path(&blank)]].concat()).unwrap_err();
        assert!(error.starts_with("--edge-api-key-file"), "{error}");
    }

    #[test]
    fn an_edge_beside_its_credits_role_gets_a_key_of_its_own() {
        let (catalogue, keys) = (catalogue(), keys());
        let words = [
            "--roles",
            "credits,edge",
            URL[0],
            URL[1],
            SECRETS[0],
            SECRETS[1],
            "--catalogue",
            path(&catalogue),
            "--api-keys-file",
            path(&keys),
        ];
        let (credits, edge) = read(&words).unwrap().into_roles(Some(([127, 0, 0, 1], 7070).into())).unwrap();
        let edge = edge.unwrap();
        assert!(credits.is_some() && edge.api_key.is_some() && !edge.is_remote);
        let elsewhere = [&words[..], &["--credits-addr", "credits:7070"]].concat();
        assert!(read(&elsewhere).unwrap_err().starts_with("--credits-addr"));
    }

    #[test]
    fn a_summary_names_what_was_read_and_no_secret() {
        let (catalogue, keys) = (catalogue(), keys());
        let words = [
            &["--roles", "credits,edge", "--catalogue", path(&catalogue), "--api-keys-file", path(&keys)],
            &URL[..],
            &SECRETS,
        ];
        let lines = read(&words.concat()).unwrap().summary();
        assert_eq!(
            lines,
            [
                "role credits: units credits; 0 packs, 0 plans, 0 thresholds; callers have API keys; test mode, verifies \
                 signatures itself; 2 lanes, 16 read connections",
                "role edge: credits role in this process, with an API key",
            ]
        );
        let edge = ["--roles", "edge", SECRETS[0], SECRETS[1], "--credits-addr", "credits:7070"];
        assert_eq!(
            read(&edge).unwrap().summary(),
            ["role edge: credits role at credits:7070, without an API key"]
        );
    }

    #[test]
    fn faults_in_files_name_flag_file_and_line() {
        let (bad_catalogue, catalogue, bad_keys) =
            (file("[units.Bad]\nscale = 0\n"), catalogue(), file("[[keys]]\n"));
        let words = ["--roles", "credits", URL[0], URL[1], "--insecure-no-auth", "--catalogue"];
        let error = read(&[&words[..], &[path(&bad_catalogue)]].concat()).unwrap_err();
        assert!(error.starts_with("--catalogue ") && error.contains("line 1"), "{error}");
        let words =
            ["--roles", "credits", URL[0], URL[1], "--catalogue", path(&catalogue), "--api-keys-file"];
        let error = read(&[&words[..], &[path(&bad_keys)]].concat()).unwrap_err();
        assert!(error.starts_with("--api-keys-file ") && error.contains("line 1"), "{error}");
    }

    #[test]
    fn no_settings_are_printed_with_their_secrets() {
        let (catalogue, keys) = (catalogue(), keys());
        let words = [
            "--roles",
            "credits",
            URL[0],
            URL[1],
            "--catalogue",
            path(&catalogue),
            "--api-keys-file",
            path(&keys),
        ];
        let settings = format!("{:?}", read(&words).unwrap().credits.unwrap().authentication);
        assert!(settings.contains("redacted"), "{settings}");
    }
}
