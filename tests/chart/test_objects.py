"""Facts about the rendered objects that an operator relies on."""

import functools
import json
import re
import unittest

import helm_python
import kubernetes_validate

import rendered

# The oldest Kubernetes that Chart.yaml admits, and the newest whose schemas are at hand.
KUBERNETES = ["1.30", kubernetes_validate.latest_version()]
# Of the Prometheus operator; not of Kubernetes' schemas.
FOREIGN_KINDS = {"ServiceMonitor"}


def containers(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def sources(pod):
    """(kind, object, key, path) of every projected file."""
    for volume in pod["spec"].get("volumes", []):
        for source in volume["projected"]["sources"]:
            (kind, what), = source.items()
            for item in what["items"]:
                yield kind, what["name"], item["key"], item["path"]


def selects(selector, pod):
    labels = pod["metadata"]["labels"]
    return all(labels.get(name) == value for name, value in selector.items())


def for_each(*kinds):
    """Gives the test every object of these kinds, or of all, of every sample."""
    def over(test):
        @functools.wraps(test)
        def each(self):
            for sample in rendered.SAMPLES:
                for found in rendered.objects(sample, *kinds):
                    with self.subTest(sample=sample, kind=found["kind"], name=found["metadata"]["name"]):
                        test(self, sample, found)
        return each
    return over


def for_each_pod(*components):
    """Gives the test the pod template of these components in every sample."""
    def over(test):
        @functools.wraps(test)
        def each(self):
            for sample in rendered.SAMPLES:
                for component, pod in rendered.pods(sample):
                    if component in components:
                        with self.subTest(sample=sample, component=component):
                            test(self, component, pod)
        return each
    return over


class Objects(unittest.TestCase):
    @for_each()
    def test_kubernetes_accepts_every_object(self, _, found):
        if found["kind"] in FOREIGN_KINDS:
            return
        for version in KUBERNETES:
            kubernetes_validate.validate(found, version, strict=True)

    def test_each_role_has_a_deployment_of_its_own(self):
        names = {sample: [found["metadata"]["name"] for found in rendered.objects(sample, "Deployment")]
                 for sample in rendered.SAMPLES}
        self.assertEqual(names, {
            "minimal": ["demo-tallystick-credits", "demo-tallystick-edge"],
            "credits-only": ["demo-tallystick-credits"],
            "edge-only": ["demo-tallystick-edge"],
            "full": ["credits-prod-credits", "credits-prod-edge"],
        })

    @for_each_pod("edge")
    def test_the_edge_has_nothing_of_the_database(self, _, pod):
        text = json.dumps(pod["spec"]).lower()
        for word in ["database", "postgres", "pgssl", "api-keys.toml"]:
            self.assertNotIn(word, text)
        paths = sorted(path for *_, path in sources(pod))
        self.assertEqual(paths, ["edge-api-key", "webhook-secrets"])

    @for_each_pod("credits", "edge", "migrate")
    def test_credits_has_neither_the_edges_key_nor_a_stripe_api_key(self, component, pod):
        text = json.dumps(pod["spec"]).lower()
        if component != "edge":
            self.assertNotIn("edge-api-key", text)
        for word in ["stripe_api", "stripe-api", "sk_live", "sk_test"]:
            self.assertNotIn(word, text)

    def test_secrets_are_named_and_never_given(self):
        for sample in rendered.SAMPLES:
            self.assertEqual(rendered.objects(sample, "Secret"), [])
            for _, pod in rendered.pods(sample):
                for container in containers(pod):
                    for variable in container["env"]:
                        if re.search("URL|KEY|SECRET|PASSWORD|TOKEN", variable["name"]):
                            self.assertEqual(list(variable["valueFrom"]), ["secretKeyRef"], variable["name"])
                    self.assertNotRegex(" ".join(container["args"]), "postgres://|whsec_|tsk_")

    @for_each_pod("credits", "edge", "migrate")
    def test_every_container_is_confined_and_has_its_resources(self, component, pod):
        spec = pod["spec"]
        self.assertIs(spec["automountServiceAccountToken"], False)
        self.assertIs(spec["enableServiceLinks"], False)
        self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & set(spec))
        context = spec["securityContext"]
        self.assertIs(context["runAsNonRoot"], True)
        self.assertGreater(context["runAsUser"], 0)
        self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"})
        for container in containers(pod):
            self.assertEqual(container["securityContext"], {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "privileged": False,
                "capabilities": {"drop": ["ALL"]}})
            self.assertLessEqual({"cpu", "memory"}, set(container["resources"]["requests"]))
            self.assertIn("memory", container["resources"]["limits"])
            for mount in container.get("volumeMounts", []):
                self.assertIs(mount["readOnly"], True)
        for volume in spec.get("volumes", []):
            self.assertEqual(volume["projected"]["defaultMode"], 0o440)

    @for_each_pod("credits", "edge", "migrate")
    def test_every_server_is_probed_at_the_operations_port(self, component, pod):
        for container in containers(pod):
            probes = {name: probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")}
            at = lambda path: {"path": path, "port": "ops"}
            self.assertEqual(probes, {} if component == "migrate" else {
                "startupProbe": at("/healthz"), "livenessProbe": at("/healthz"), "readinessProbe": at("/readyz")})
            for name in probes:
                # A check of readiness may take 0.9 s.
                self.assertGreaterEqual(container[name]["timeoutSeconds"], 2)

    @for_each_pod("credits", "edge")
    def test_a_pod_may_end_within_its_grace_period(self, component, pod):
        container, = containers(pod)
        grace = next(int(word.removeprefix("--grace=")) for word in container["args"] if word.startswith("--grace="))
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        self.assertGreater(pod["spec"]["terminationGracePeriodSeconds"], grace + sleep)

    def test_without_a_pre_stop_sleep_there_is_no_hook(self):
        given = rendered.changed("minimal", "shutdown.preStopSleepSeconds", 0)
        for found in rendered.objects_of(given):
            if found["kind"] == "Deployment":
                container, = containers(found["spec"]["template"])
                self.assertNotIn("lifecycle", container)
                self.assertEqual(found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 25)

    @for_each("Job")
    def test_the_migration_runs_before_the_release_and_needs_nothing_of_it(self, sample, job):
        self.assertEqual(job["metadata"]["annotations"], {
            "helm.sh/hook": "pre-install,pre-upgrade", "helm.sh/hook-weight": "0",
            "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded"})
        made = {found["metadata"]["name"] for found in rendered.objects(sample) if found["kind"] != "Job"}
        pod = job["spec"]["template"]
        needed = {name for _, name, *_ in sources(pod)} | {pod["spec"].get("serviceAccountName")}
        for container in containers(pod):
            references = [variable.get("valueFrom") for variable in container["env"]]
            needed |= {reference["secretKeyRef"]["name"] for reference in references if reference}
        self.assertEqual(needed & made, set())
        self.assertEqual(pod["spec"]["restartPolicy"], "Never")
        self.assertIn("activeDeadlineSeconds", job["spec"])

    def test_the_migration_may_have_a_database_role_of_its_own(self):
        job, = rendered.objects("full", "Job")
        reference = containers(job["spec"]["template"])[0]["env"][0]["valueFrom"]["secretKeyRef"]
        self.assertEqual(reference, {"name": "tallystick-owner", "key": "url"})

    @for_each("Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment")
    def test_every_selector_finds_its_pods_and_no_others(self, sample, found):
        spec = found["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        selector = selector.get("matchLabels", selector)
        chosen = sorted(component for component, pod in rendered.pods(sample) if selects(selector, pod))
        component = found["metadata"]["labels"]["app.kubernetes.io/component"]
        if component == "metrics":
            # The Job is over before the Service is there; it has no port of that name.
            self.assertEqual(chosen, ["credits", "edge", "migrate"])
        else:
            self.assertEqual(chosen, [component])

    @for_each("Service")
    def test_services_lead_to_ports_that_exist(self, sample, service):
        selector = service["spec"]["selector"]
        for component, pod in rendered.pods(sample):
            if selects(selector, pod) and component != "migrate":
                open_ports = {port["name"] for container in containers(pod) for port in container["ports"]}
                for port in service["spec"]["ports"]:
                    self.assertIn(port["targetPort"], open_ports)

    @for_each("Service")
    def test_the_operations_port_is_offered_to_the_monitoring_only(self, sample, service):
        offered = {port["targetPort"] for port in service["spec"]["ports"]}
        is_metrics = service["metadata"]["name"].endswith("-metrics")
        self.assertEqual("ops" in offered, is_metrics)
        if is_metrics:
            monitor, = rendered.objects(sample, "ServiceMonitor")
            self.assertTrue(selects(monitor["spec"]["selector"]["matchLabels"], service))
            self.assertEqual(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"])

    def test_grpc_callers_find_one_address_or_all_pods(self):
        services = {found["metadata"]["name"]: found["spec"] for found in rendered.objects("minimal", "Service")}
        self.assertNotIn("clusterIP", services["demo-tallystick-credits"])
        self.assertEqual(services["demo-tallystick-credits-headless"]["clusterIP"], "None")
        for name in ["demo-tallystick-credits", "demo-tallystick-credits-headless"]:
            port, = services[name]["ports"]
            self.assertEqual((port["port"], port["appProtocol"]), (7070, "kubernetes.io/h2c"))

    def test_the_edge_may_reach_credits_and_names_only(self):
        for sample in ["full", "edge-only"]:
            policy = next(found for found in rendered.objects(sample, "NetworkPolicy")
                          if found["metadata"]["name"].endswith("-edge"))
            ports = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
            # 4317 is the collector of the sample.
            self.assertEqual(ports, {"full": ["grpc", 53, 53, 4317], "edge-only": [7070, 53, 53]}[sample])

    def test_replicas_are_the_autoscalers_where_there_is_one(self):
        scaler, = rendered.objects("full", "HorizontalPodAutoscaler")
        deployments = {found["metadata"]["name"]: found["spec"] for found in rendered.objects("full", "Deployment")}
        self.assertNotIn("replicas", deployments[scaler["spec"]["scaleTargetRef"]["name"]])
        self.assertEqual(deployments["credits-prod-credits"]["replicas"], 4)

    def test_another_catalogue_makes_other_pods_and_nothing_else_does(self):
        def templates(given):
            return {found["metadata"]["name"]: found["spec"]["template"] for found in rendered.objects_of(given)
                    if found["kind"] == "Deployment"}
        before = templates(rendered.values("minimal"))
        self.assertEqual(before, templates(rendered.values("minimal")))
        after = templates(rendered.changed("minimal", "catalogue.toml", "[units.credits]\nscale = 1\n"))
        self.assertNotEqual(before["demo-tallystick-credits"], after["demo-tallystick-credits"])
        self.assertEqual(before["demo-tallystick-edge"], after["demo-tallystick-edge"])

    def test_a_catalogue_arrives_as_it_was_written(self):
        for text in ["  # indented\n[units.credits]\nscale = 0\n", "[units.credits]\nscale = 0", "a = \"{{ x }}\"\n\n"]:
            config, = [found for found in rendered.objects_of(rendered.changed("minimal", "catalogue.toml", text))
                       if found["kind"] == "ConfigMap"]
            self.assertEqual(config["data"], {"catalogue.toml": text})

    def test_the_longest_release_name_makes_names_that_kubernetes_takes(self):
        for release in ["a" * 53, "tallystick-" + "b" * 42, "a" * 39 + "-" + "b" * 13]:
            for found in rendered.objects_of(rendered.values("full") | {"fullnameOverride": ""}, release=release):
                self.assertRegex(found["metadata"]["name"], "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")

    def test_the_notes_name_what_is_there(self):
        for sample in rendered.SAMPLES:
            notes = rendered.texts(rendered.values(sample))["NOTES.txt"]
            made = {f"{found['kind'].lower()}/{found['metadata']['name']}" for found in rendered.objects(sample)}
            named = set(re.findall("(?:deployment|service)/[-a-z0-9]+", notes))
            self.assertLessEqual(named, made)
            self.assertNotIn("<no value>", notes)
        notes = rendered.texts(rendered.values("full"))["NOTES.txt"]
        self.assertIn("https://hooks.example.com/api/v1/webhooks/stripe", notes)

    def test_the_package_holds_what_an_installation_needs_and_no_more(self):
        with helm_python.Chart.load(rendered.CHART) as chart:
            names = sorted(found["name"] for found in chart.files)
        self.assertEqual(names, [".helmignore", "README.md"])


if __name__ == "__main__":
    unittest.main()
