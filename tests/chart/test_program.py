"""The chart against the program: whatever a pod is told must be something that the program takes, and whatever the
program can be told must be something that the chart offers, or leaves out on purpose."""

import os
import pathlib
import re
import subprocess
import tempfile
import tomllib
import unittest

import rendered
from test_objects import containers, sources

PROGRAM = pathlib.Path(os.environ["TALLYSTICK_TEST_PROGRAM"]).resolve()
MOUNT = "/etc/tallystick"
DATABASE_URL = "postgres://sample:sample@127.0.0.1:1/sample"
CATALOGUE = "[units.credits]\nscale = 0\n"

# Settings of `serve` that the chart does not offer.
LEFT_OUT = {
    "TALLYSTICK_GATEWAY_ADDR": "a role that this version does not have",
    "TALLYSTICK_STRIPE_WEBHOOK_SECRETS": "secrets are mounted as files",
    "TALLYSTICK_EDGE_API_KEY": "secrets are mounted as files",
    "TALLYSTICK_MIGRATE": "the Job migrates, once for all pods",
    "TALLYSTICK_INSECURE_NO_AUTH": "not in a cluster, where everybody reaches the port",
}


def run(*words, env=None):
    return subprocess.run([PROGRAM, *words], env=env or {}, capture_output=True, text=True, timeout=30, check=False)


def settings(command):
    """Variable → flag, as the program's help tells them."""
    text = run(command, "--help").stdout
    # One part for each flag.
    parts = re.split(r"^\s+(?:-\w, )?--", text, flags=re.MULTILINE)[1:]
    named = [(re.match("[a-z-]+", part)[0], re.search(r"\[env: ([A-Z_]+)", part)) for part in parts]
    return {variable[1]: flag for flag, variable in named if variable}


class Program(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        keys = pathlib.Path(cls.folder.name) / "keys.toml"
        made = run("key", "new", "--id", "edge", "--scopes", "stripe", "--keys-file", str(keys))
        assert made.returncode == 0, made.stderr
        # What an operator would put into Secrets and ConfigMaps, by the file that it becomes.
        cls.contents = {"api-keys.toml": keys.read_text(), "edge-api-key": made.stdout, "catalogue.toml": CATALOGUE,
                        "webhook-secrets": "whsec_of_a_sample\n", "database-ca.crt": "not read before it connects\n"}

    def mount(self, sample, pod):
        """The pod's files in a folder."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder.name))
        config_maps = {found["metadata"]["name"]: found["data"] for found in rendered.objects(sample, "ConfigMap")}
        for _, name, key, path in sources(pod):
            text = config_maps[name][key] if name in config_maps else self.contents[path]
            (folder / path).write_text(text)
        return folder

    def told(self, container, folder):
        """Arguments and environment as the container gets them."""
        words = [word.replace(MOUNT, str(folder)) for word in container["args"]]
        env = {variable["name"]: variable.get("value", DATABASE_URL) for variable in container["env"]}
        return words, {name: value.replace(MOUNT, str(folder)) for name, value in env.items()}

    def test_the_program_accepts_what_every_server_is_told(self):
        expected = {
            ("minimal", "credits"): "role credits: units credits; 1 packs, 0 plans, 0 thresholds; callers have API keys; test mode, "
                                    "verifies signatures itself; 2 lanes, 16 read connections",
            ("minimal", "edge"): "role edge: credits role at demo-tallystick-credits.prod.svc:7070, with an API key",
            ("credits-only", "credits"): "role credits: units credits; 0 packs, 0 plans, 0 thresholds; callers have API keys; "
                                         "test mode; 2 lanes, 16 read connections",
            ("edge-only", "edge"): "role edge: credits role at credits.internal.example:7070, with an API key",
            ("full", "credits"): "role credits: units credits, seconds; 1 packs, 0 plans, 0 thresholds; callers have API keys; "
                                 "real money, verifies signatures itself; 8 lanes, 32 read connections",
            ("full", "edge"): "role edge: credits role at credits-prod-credits.prod.svc:7070, with an API key",
        }
        # A line for the role, and one for where traces go: the full sample names a collector.
        traces = {"full": "traces: as tallystick, share 1"}
        expected = {(sample, role): f"{line}\n{traces.get(sample, 'traces: none')}"
                    for (sample, role), line in expected.items()}
        said = {}
        for sample in rendered.SAMPLES:
            for component, pod in rendered.pods(sample):
                if component == "migrate":
                    continue
                container, = containers(pod)
                words, env = self.told(container, self.mount(sample, pod))
                self.assertEqual(words[0], "serve")
                checked = run("check-config", *words[1:], env=env)
                self.assertEqual(checked.returncode, 0, f"{sample} {component}: {checked.stderr}")
                said[sample, component] = checked.stdout.strip()
        self.assertEqual(said, expected)

    def test_the_program_misses_each_file_that_is_not_mounted(self):
        for component, pod in rendered.pods("minimal"):
            if component == "migrate":
                continue
            container, = containers(pod)
            for *_, path in sources(pod):
                folder = self.mount("minimal", pod)
                (folder / path).unlink()
                words, env = self.told(container, folder)
                checked = run("check-config", *words[1:], env=env)
                self.assertEqual(checked.returncode, 2)
                self.assertIn(path, checked.stderr)

    def test_the_migration_is_a_command_that_goes_to_the_database(self):
        for sample in rendered.SAMPLES:
            for component, pod in rendered.pods(sample):
                if component == "migrate":
                    container, = containers(pod)
                    words, env = self.told(container, self.mount(sample, pod))
                    tried = run(*words, env=env)
                    # 2 would be a mistake in the settings; nobody listens at the sample's address.
                    self.assertEqual(tried.returncode, 1, tried.stderr)
                    self.assertIn("Connection refused", tried.stderr)

    def test_every_variable_is_one_that_the_program_knows(self):
        known = {"credits": settings("serve"), "edge": settings("serve"), "migrate": settings("migrate")}
        for sample in rendered.SAMPLES:
            for component, pod in rendered.pods(sample):
                for container in containers(pod):
                    ours = {variable["name"] for variable in container["env"]
                            if variable["name"].startswith("TALLYSTICK_")}
                    self.assertLessEqual(ours, set(known[component]), f"{sample} {component}")

    def test_every_setting_of_the_program_is_offered_or_left_out_on_purpose(self):
        given = set()
        for component, pod in rendered.pods("full"):
            for container in containers(pod) if component != "migrate" else []:
                given |= {word.split("=")[0].removeprefix("--") for word in container["args"]}
                given |= {variable["name"] for variable in container["env"]}
        known = {variable: flag for variable, flag in settings("serve").items() if variable.startswith("TALLYSTICK_")}
        self.assertGreater(len(known), 15, "the help could not be read")
        offered = {variable for variable, flag in known.items() if flag in given or variable in given}
        self.assertEqual(set(known) - offered, set(LEFT_OUT), "offer it in values.yaml, or say why not in LEFT_OUT")

    def test_ports_are_the_documented_ones_and_the_programs_own(self):
        documented = (rendered.ROOT / "docs/operations.md").read_text(encoding="utf-8")
        help_text = run("serve", "--help").stdout
        for component, pod in rendered.pods("minimal"):
            if component == "migrate":
                continue
            container, = containers(pod)
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            self.assertIn(f"| every process | {ports.pop('ops')} operations |", documented)
            (_, port), = ports.items()
            self.assertRegex(documented, rf"\| `{component}` \| {port} ")
            self.assertRegex(help_text, rf"{component if component == 'edge' else 'grpc'}-addr[^-]*{port}")

    def test_the_path_of_the_ingress_is_the_edges(self):
        ingress, = rendered.objects("full", "Ingress")
        path = ingress["spec"]["rules"][0]["http"]["paths"][0]["path"]
        source = (rendered.ROOT / "services/edge/src/webhook.rs").read_text(encoding="utf-8")
        self.assertIn(f'pub const WEBHOOK_PATH: &str = "{path}";', source)

    def test_the_charts_version_is_the_programs(self):
        version = tomllib.loads((rendered.ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        chart = (rendered.CHART / "Chart.yaml").read_text()
        self.assertIn(f'appVersion: "{version}"', chart)


if __name__ == "__main__":
    unittest.main()
