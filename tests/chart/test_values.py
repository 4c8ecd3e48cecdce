"""What the chart accepts and what it refuses: a refusal names the value, in words that say what to do."""

import unittest

import helm_python

import rendered

# Values, as a change of a sample, and what the refusal has to say.
REFUSED = [
    # A name that nobody knows, at any depth: a typing mistake must not pass silently.
    ("minimal", "replicas", 3, "additional properties 'replicas' not allowed"),
    ("minimal", "edge.replica", 3, "at '/edge': additional properties 'replica' not allowed"),
    ("minimal", "edge.apiKey.secret", "x", "at '/edge/apiKey': additional properties 'secret' not allowed"),
    ("minimal", "credits.resources.request", {}, "at '/credits/resources': additional properties 'request'"),
    # Another type or out of range.
    ("minimal", "credits.replicas", "two", "at '/credits/replicas': got string, want integer"),
    ("minimal", "credits.replicas", -1, "at '/credits/replicas': minimum: got -1, want 0"),
    ("minimal", "credits.lanes", 0, "at '/credits/lanes': minimum: got 0, want 1"),
    ("minimal", "credits.lanes", 65, "at '/credits/lanes': maximum: got 65, want 64"),
    ("minimal", "credits.readConnections", 513, "at '/credits/readConnections': maximum: got 513, want 512"),
    ("minimal", "shutdown.graceSeconds", 0, "at '/shutdown/graceSeconds': minimum: got 0, want 1"),
    ("minimal", "shutdown.graceSeconds", 601, "at '/shutdown/graceSeconds': maximum: got 601, want 600"),
    ("minimal", "shutdown.preStopSleepSeconds", 121, "at '/shutdown/preStopSleepSeconds': maximum"),
    ("minimal", "stripe.livemode", "yes", "at '/stripe/livemode': got string, want boolean"),
    ("minimal", "log.format", "xml", "at '/log/format': value must be one of 'json', 'text'"),
    ("minimal", "image.digest", "latest", "at '/image/digest': 'latest' does not match pattern"),
    ("minimal", "image.repository", "x/y tallystick", "at '/image/repository'"),
    ("minimal", "edge.service.port", 0, "at '/edge/service/port': minimum: got 0, want 1"),
    ("minimal", "edge.service.type", "ExternalName", "at '/edge/service/type': value must be one of"),
    ("minimal", "edge.creditsAddress", "credits.internal", "at '/edge/creditsAddress': 'credits.internal'"),
    ("minimal", "edge.creditsAddress", "https://a:1", "at '/edge/creditsAddress'"),
    ("minimal", "serviceMonitor.interval", "often", "at '/serviceMonitor/interval': 'often' does not match"),
    ("minimal", "podSecurityContext.runAsUser", 0, "at '/podSecurityContext/runAsUser': minimum: got 0, want 1"),
    ("minimal", "fullnameOverride", "Credits", "at '/fullnameOverride': 'Credits' does not match"),
    ("minimal", "credits.extraEnv", [{"value": "x"}], "at '/credits/extraEnv/0': missing property 'name'"),
    # A secret where the name of one belongs.
    ("minimal", "database.existingSecret", "postgres://u:p@db/x", "at '/database/existingSecret'"),
    ("minimal", "database.url", "postgres://u:p@db/x", "at '/database': additional properties 'url' not allowed"),
    # What a role cannot do without.
    ("minimal", "image.repository", "", "image.repository is required"),
    ("credits-only", "database.existingSecret", "", "database.existingSecret is required by the"),
    ("credits-only", "apiKeys.existingSecret", "", "apiKeys.existingSecret is required by the credits role"),
    ("credits-only", "catalogue.existingConfigMap", "", "catalogue.toml (or catalogue.existingConfigMap) is required"),
    ("edge-only", "stripe.webhookSecrets.existingSecret", "", "stripe.webhookSecrets.existingSecret is required"),
    ("edge-only", "edge.apiKey.existingSecret", "", "edge.apiKey.existingSecret is required by the edge role"),
    ("edge-only", "edge.creditsAddress", "", "edge.creditsAddress is required when credits.enabled is false"),
    ("edge-only", "migration.enabled", True, "database.existingSecret is required by the migration"),
    # Values that contradict each other.
    ("minimal", "catalogue.existingConfigMap", "x", "catalogue.toml and catalogue.existingConfigMap are both given"),
    ("full", "edge.autoscaling.maxReplicas", 1, "edge.autoscaling.minReplicas is more than edge.autoscaling.max"),
    ("full", "edge.ingress.host", "", "edge.ingress.host is required by edge.ingress"),
    # What the edge must not have does not come in by another door.
    ("minimal", "edge.extraEnv", [{"name": "TALLYSTICK_DATABASE_URL", "value": "x"}],
     "edge.extraEnv: TALLYSTICK_DATABASE_URL is set by a value of the chart"),
    ("minimal", "edge.extraEnv", [{"name": "PGPASSWORD", "value": "x"}], "edge.extraEnv: PGPASSWORD is set by"),
    ("minimal", "credits.extraEnv", [{"name": "TALLYSTICK_INSECURE_NO_AUTH", "value": "1"}], "credits.extraEnv"),
]


class Values(unittest.TestCase):
    def test_every_sample_is_linted_without_a_warning(self):
        for sample in rendered.SAMPLES:
            with self.subTest(sample):
                result = helm_python.lint(rendered.CHART, rendered.values(sample), strict=True)
                # 1 is a recommendation: an icon.
                worse = [message for message in result["messages"] if message["severity"] > 1]
                self.assertEqual((worse, result["errors"]), ([], []))

    def test_a_refused_value_is_named_with_what_is_wrong(self):
        for sample, path, value, expected in REFUSED:
            with self.subTest(path=path, value=value):
                with self.assertRaises(helm_python.HelmError) as refused:
                    rendered.texts(rendered.changed(sample, path, value))
                self.assertIn(expected, str(refused.exception))

    def test_the_defaults_alone_are_refused_by_the_first_missing_value(self):
        with self.assertRaises(helm_python.HelmError) as refused:
            rendered.texts({})
        self.assertIn(" is required", str(refused.exception))

    def test_a_release_whose_name_begins_with_a_digit_needs_a_name_for_its_services(self):
        with self.assertRaises(helm_python.HelmError) as refused:
            rendered.texts(rendered.values("minimal"), release="7-up")
        self.assertIn("fullnameOverride is required for the release \"7-up\"", str(refused.exception))
        named = rendered.changed("minimal", "fullnameOverride", "seven")
        self.assertTrue(rendered.objects_of(named, release="7-up"))

    def test_every_value_is_in_the_schema_and_in_the_defaults(self):
        with helm_python.Chart.load(rendered.CHART) as chart:
            schema, defaults = chart.schema, chart.values

        def compare(schema_part, default, path):
            schema_part = schema["definitions"].get(schema_part.get("$ref", "").rpartition("/")[2], schema_part)
            # Free maps, and resources, whose parts are optional.
            if schema_part.get("additionalProperties") is not False or path.endswith("resources"):
                return
            known = set(schema_part["properties"]) - {"global"}
            self.assertEqual(known, set(default), f"values.yaml and values.schema.json differ at {path or 'the top'}")
            for name in known:
                compare(schema_part["properties"][name], default[name], f"{path}.{name}".strip("."))

        compare(schema, defaults, "")

    def test_the_platform_may_choose_the_user(self):
        given = rendered.values("minimal")
        given["podSecurityContext"] = {"runAsUser": None, "runAsGroup": None, "fsGroup": 1000680000}
        deployments = [found for found in rendered.objects_of(given) if found["kind"] == "Deployment"]
        for deployment in deployments:
            self.assertEqual(deployment["spec"]["template"]["spec"]["securityContext"], {
                "runAsNonRoot": True, "fsGroup": 1000680000, "seccompProfile": {"type": "RuntimeDefault"}})

    def test_the_chart_works_below_another_one(self):
        given = rendered.changed("minimal", "global", {"anything": 1})
        self.assertTrue(rendered.objects_of(given))


if __name__ == "__main__":
    unittest.main()
